"""Camera frames to the images that a backbone was trained on: resize, crop, pad, pyramid."""

GEOMETRIES = ("published", "full", "padded")
"""Fields of view; ``image_pyramid.image_of`` says what each keeps of a frame."""
