"""Frames to embeddings: tiles, tokens, pooling; whole, streaming, selective and single-frame."""
