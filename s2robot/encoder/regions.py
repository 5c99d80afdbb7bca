"""Regions of the image as weights of tiles, for ``tile_selection``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Region = Sequence[float] | np.ndarray
"""A box (left, top, right, bottom) in fractions of the image, or a boolean mask (h, w) over it."""


def region_map(region: Region) -> tuple[Tensor, Tensor, Tensor]:
    """Return a region as weights ``(h, w)`` and the edges of its cells from top and from left.

    Raises:
        ValueError: neither a box in fractions of the image nor a boolean mask.
    """
    if isinstance(region, np.ndarray) and region.ndim != 1:
        if region.ndim != 2 or region.dtype != bool or not region.any():
            raise ValueError(
                f"a region given as a mask must be boolean (h, w), with any True; got "
                f"{region.dtype} of shape {region.shape}"
            )
        return (
            torch.from_numpy(region).float(),
            cell_edges(region.shape[0]),
            cell_edges(region.shape[1]),
        )
    box = [float(value) for value in region]
    if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise ValueError(
            f"region {tuple(box)} must be (left, top, right, bottom) in fractions of the image, "
            "0 <= left < right <= 1 and 0 <= top < bottom <= 1, or a boolean mask (h, w)"
        )
    left, top, right, bottom = box
    return torch.ones(1, 1), torch.tensor([top, bottom]), torch.tensor([left, right])


def cell_edges(cells: int) -> Tensor:
    """Return the edges ``(cells + 1,)`` of equal cells between 0 and 1."""
    return torch.linspace(0, 1, cells + 1)


def tile_overlap(tiles: int, edges: Tensor) -> Tensor:
    """Return the share ``(n, m)`` of each cell that lies in each of n tiles.

    Args:
        tiles: n, along one side of the image.
        edges: of the cells, ``(m + 1,)`` in fractions of the side.
    """
    borders = cell_edges(tiles)
    low = torch.maximum(borders[:-1, None], edges[None, :-1])
    high = torch.minimum(borders[1:, None], edges[None, 1:])
    return (high - low).clamp(min=0) / edges.diff()
