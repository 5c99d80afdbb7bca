"""Tiles of a scale: their size, their number, and which of them show any of the frame.

``TileEncoder.tiles`` cuts a frame into them, with ``s2robot.multiscale.split_tiles``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from s2robot.backbones import BackboneCard
from s2robot.multiscale.tiles import nearest_tiling


@dataclass(frozen=True)
class ScaleLayout:
    """Layout of one scale: its image, its tiles and the shape of its stored features."""

    scale: float
    image_shape: tuple[int, int]
    """(height, width) of the image that is cut [px]."""
    rows: int
    """Tiles from top to bottom."""
    columns: int
    """Tiles from left to right."""
    stored_shape: tuple[int, ...]

    @property
    def tiles(self) -> int:
        """Tiles of a frame."""
        return self.rows * self.columns

    @property
    def tile_shape(self) -> tuple[int, int]:
        """(height, width) of a tile [px]; as ``EmbeddingLayout`` makes them, tiles are square."""
        return self.image_shape[0] // self.rows, self.image_shape[1] // self.columns

    @property
    def tile_size(self) -> int:
        """Side of a tile [px]."""
        return self.tile_shape[0]


def image_splits(scale: float, base: int) -> int:
    """Return the tiles along one side of a scale's square image.

    Args:
        scale: multiple of the base size.
        base: largest side of a tile [px].
    """
    return max(1, -(-int(base * scale) // base))


def tile_of(scale: float, card: BackboneCard) -> int:
    """Return the side of a scale's tiles [px].

    The scale's image, ``int(base · scale)`` px, is cut into as few equal tiles as are no larger
    than the base size. Where they are no whole number of the backbone's cells, the nearest side
    that is takes their place (the larger of two equally near): scale 1.3 of 224 px in cells of
    16 px is 291 px, and becomes 288 px in 2x2 tiles of 144 px.

    Raises:
        ValueError: the image is smaller than one cell.
    """
    base = card.preprocessing.image_size
    size = int(base * scale)
    step = 1 if card.partial_cells else card.stride
    if size < step:
        raise ValueError(
            f"scale {scale:g} of {card.name} is an image of {size} px, less than one cell of its "
            f"grid ({step} px); the smallest scale is {step / base:.3g}"
        )
    wanted = size / image_splits(scale, base)
    below = max(step, int(wanted // step) * step)
    sides = [side for side in (below, below + step) if side <= base]
    return min([*sides, base], key=lambda side: (abs(side - wanted), -side))


def aspect_tilings(
    scales: Sequence[float], base: int, frame_shape: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Return the tilings of dynamic S²: the largest scale follows the frame, others are square.

    Args:
        scales: of an ``EncoderSpec``.
        base: the backbone's image size [px].
        frame_shape: (height, width) of the frames [px].

    Returns:
        ``EncoderSpec.tilings``; the largest scale has the tiling nearest to the frame's aspect
        ratio with at most as many tiles as its square one.
    """
    splits = [image_splits(scale, base) for scale in scales]
    tilings = [(n, n) for n in splits]
    largest = max(range(len(scales)), key=lambda index: scales[index])
    tilings[largest] = nearest_tiling(frame_shape, splits[largest] ** 2)
    return tuple(tilings)


@functools.lru_cache(maxsize=64)
def tiles_of_frame(coverage: Tensor, scale_layout: ScaleLayout) -> list[int]:
    """Return the indices of a scale's tiles that show any of the frame.

    Args:
        coverage: as ``EmbeddingLayout.frame_coverage`` returns it.
        scale_layout: the scale.
    """
    tiles = coverage.unflatten(0, (scale_layout.rows, -1)).unflatten(
        2, (scale_layout.columns, -1)
    )  # (r, h, c, w)
    return (tiles > 0).any(dim=3).any(dim=1).flatten().nonzero().flatten().tolist()
