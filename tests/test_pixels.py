"""Checks of frames, and the square that is cut from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from s2robot.backbones import Preprocessing
from s2robot.pixels import as_frames, centre_square


def test_frames_keep_their_pixels_without_a_copy() -> None:
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    tensor = as_frames(frames)
    assert tensor.data_ptr() == frames.ctypes.data
    assert torch.equal(as_frames(frames[1]), tensor[1:])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "must be uint8.*got float32"),
        (torch.zeros(8, 8, 3), "must be uint8.*got float32"),
        (np.zeros((8, 8), np.uint8), "repeat a grey channel"),
        (np.zeros((2, 8, 8, 1), np.uint8), "repeat a grey channel"),
        (np.zeros((8, 8, 4), np.uint8), "drop the alpha channel"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels last"),
        (np.zeros((0, 8, 8, 3), np.uint8), "at least one pixel"),
        (np.zeros((8, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros((1, 1, 8, 8, 3), np.uint8), r"\(B, H, W, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8)], r"got list.*np\.stack"),
    ],
)
def test_bad_frames(frames: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_frames(frames)


def test_crop_fraction() -> None:
    images = torch.arange(100).view(1, 1, 10, 10)
    cut = Preprocessing(10, crop_fraction=0.8)
    assert torch.equal(centre_square(images, cut), images[..., 1:9, 1:9])
    kept = dataclasses.replace(cut, crop_at_base_size=False)
    assert torch.equal(centre_square(images, kept), images)
    assert centre_square(images.repeat(1, 1, 2, 2), kept).shape[-1] == 16
