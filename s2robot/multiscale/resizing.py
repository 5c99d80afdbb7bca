"""Resizing of images ``(B, C, H, W)`` and of grids of features ``(B, h, w, C)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def enlarge(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bicubic resize without antialiasing, ``(B, C, H, W)`` to ``(B, C, *shape)``."""
    if tuple(images.shape[-2:]) == tuple(shape):
        return images
    resized = F.interpolate(images.float(), size=tuple(shape), mode="bicubic")
    return resized.to(images.dtype)


def resize_grid(grid: Tensor, size: Sequence[int]) -> Tensor:
    """Area-resize ``(B, h, w, C)`` to ``(B, *size, C)``: average when smaller, repeat when larger.

    Computed in float32, returned in the grid's dtype.
    """
    if tuple(grid.shape[1:3]) == tuple(size):
        return grid
    images = grid.float().permute(0, 3, 1, 2)
    resized = F.interpolate(images, size=tuple(size), mode="area")
    return resized.permute(0, 2, 3, 1).to(grid.dtype)
