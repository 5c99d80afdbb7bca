"""A tiny recipe of pre-training and frames for it."""

from __future__ import annotations

import numpy as np

from s2robot.pretraining.config import ModelConfig

TINY = ModelConfig(
    img_size=32,
    embed_dim=24,
    depth=2,
    num_heads=2,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=2,
)


def square(i: int) -> np.ndarray:
    """A frame with one bright square, cheap to draw."""
    rng = np.random.default_rng(i)
    frame = np.full((96, 96, 3), rng.integers(0, 120), dtype=np.uint8)
    top, left = rng.integers(0, 64, size=2)
    frame[top : top + 32, left : left + 32] = rng.integers(120, 255, size=3)
    return frame
