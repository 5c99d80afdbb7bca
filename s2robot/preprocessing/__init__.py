"""Camera frames to the images that a backbone was trained on: resize, crop, pad, pyramid."""
