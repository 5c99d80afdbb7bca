"""Whole frames within squares: where the frame lies, and how much of it each grid token sees."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from s2robot.backbones import Preprocessing
from s2robot.preprocessing.resize import resize

Box = tuple[float, float, float, float]
"""(top, left, bottom, right) of the frame within its image [px]."""


def frame_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Return the box of a frame whose longer side is ``size`` px, centered in the square.

    Where the rest is odd, the pixel over is at the bottom or at the right.
    """
    longer = max(height, width)
    rows, columns = (max(1, round(side * size / longer)) for side in (height, width))
    top, left = (size - rows) // 2, (size - columns) // 2
    return top, left, top + rows, left + columns


def pad(frames: Tensor, size: int, pixels: Preprocessing) -> Tensor:
    """Bring frames ``(B, 3, H, W)`` uint8 to squares ``(B, 3, size, size)`` with nothing cut off.

    Around the frame is the mean color of ``pixels``, which normalizes to 0; it is rounded where
    the resized frame is uint8.
    """
    top, left, bottom, right = frame_box(frames.shape[-2], frames.shape[-1], size)
    resized = resize(frames, (bottom - top, right - left), pixels)
    canvas = resized.new_empty(len(frames), 3, size, size)
    for channel, mean in enumerate(pixels.mean):
        level = mean * 255
        canvas[:, channel] = level if resized.is_floating_point() else round(level)
    canvas[..., top:bottom, left:right] = resized
    return canvas


@functools.cache  # one tensor for each arrangement, by which ``placed`` knows it
def frame_coverage(
    box: Box, rows: int, columns: int, tile_size: int, stride: int, side: int
) -> Tensor:
    """Return the share of frame of each grid token, ``(rows · side, columns · side)`` in 0-1.

    Args:
        box: of the frame within the image.
        rows: tiles from top to bottom.
        columns: tiles from left to right.
        tile_size: side of a tile [px].
        stride: pixels a token; the last token of a tile reaches to the tile's end.
        side: tokens a side of a tile.
    """
    top, left, bottom, right = box
    down = _coverage(top, bottom, rows, tile_size, stride, side)
    across = _coverage(left, right, columns, tile_size, stride, side)
    return down[:, None] * across


def _coverage(
    start: float, stop: float, tiles: int, tile_size: int, stride: int, side: int
) -> Tensor:
    """Return the share ``(tiles · side,)`` of each token's side between ``start`` and ``stop``."""
    edges = torch.tensor([*(stride * i for i in range(side)), tile_size], dtype=torch.float64)
    corners = torch.arange(tiles)[:, None] * tile_size
    low, high = (corners + edges[:-1]).flatten(), (corners + edges[1:]).flatten()
    inside = high.clamp(max=stop) - low.clamp(min=start)
    return (inside.clamp(min=0) / (high - low)).float()


@functools.cache
def placed(coverage: Tensor, device: torch.device) -> Tensor:
    """Return ``frame_coverage`` on a device, copied there once and never forgotten.

    A recorded CUDA graph may not copy, and reads it in place.
    """
    return coverage.to(device)
