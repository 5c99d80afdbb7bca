"""Images cut into tiles, and the tiles' features laid together again.

Images are ``(B, C, H, W)``, grids of features are ``(B, h, w, C)``. Tiles of an image are ordered
row by row, with the tile as the slow and the image as the fast index of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor


def count_splits(size: int, max_split_size: int) -> int:
    """Crops a side that an image of ``size`` px needs for crops of at most ``max_split_size`` px.

    Raises:
        ValueError: the image does not divide into that many equal crops.
    """
    if max_split_size < 1:
        raise ValueError(f"max_split_size must be at least 1 px; got {max_split_size}")
    splits = math.ceil(size / max_split_size)
    if size % splits:
        below, above = size // splits * splits, -(-size // splits) * splits
        raise ValueError(
            f"an image of {size} px does not divide into {splits}×{splits} equal crops of at most "
            f"{max_split_size} px; take {below} or {above} px, or another max_split_size"
        )
    return splits


def nearest_tiling(frame_shape: tuple[int, int], max_tiles: int) -> tuple[int, int]:
    """Return the tiling by squares whose aspect ratio is nearest to that of a frame.

    Nearest by the logarithm of the ratio, so that tall and wide frames are treated alike; among
    equally near ones the tiling with most tiles. This is how dynamic S² chooses (NVILA,
    arXiv 2412.04468).

    Args:
        frame_shape: (height, width) of the frame [px].
        max_tiles: most tiles of the tiling.

    Returns:
        (rows, columns), at most ``max_tiles`` tiles together.

    Raises:
        ValueError: the frame has no pixels, or no tile is allowed.

    Examples:
        >>> nearest_tiling((480, 640), 12)
        (3, 4)
    """
    height, width = frame_shape
    if min(height, width) < 1:
        raise ValueError(f"frame_shape {frame_shape} must be (height, width) of at least 1 px each")
    if max_tiles < 1:
        raise ValueError(f"max_tiles must be at least 1; got {max_tiles}")

    def order(tiling: tuple[int, int]) -> tuple[Fraction, int]:
        ratio = Fraction(tiling[1] * height, tiling[0] * width)
        return max(ratio, 1 / ratio), -tiling[0] * tiling[1]  # exact, so that ties are ties

    fitting = ((r, c) for r in range(1, max_tiles + 1) for c in range(1, max_tiles // r + 1))
    return min(fitting, key=order)


def split_tiles(images: Tensor, rows: int, columns: int) -> Tensor:
    """Cut ``(B, C, r·h, c·w)`` into r rows of c tiles ``(r·c·B, C, h, w)``."""
    batch, channels, height, width = images.shape
    tiles = images.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return tiles.permute(2, 4, 0, 1, 3, 5).flatten(0, 2)


def merge_tiles(grids: Tensor, rows: int, columns: int) -> Tensor:
    """Lay the grids ``(r·c·B, h, w, C)`` of tiles together to ``(B, r·h, c·w, C)``."""
    tiles = grids.unflatten(0, (rows, columns, -1)).permute(2, 0, 3, 1, 4, 5)  # (B, r, h, c, w, C)
    return tiles.flatten(3, 4).flatten(1, 2)


def mean_over_tiles(prefix: Tensor, tiles: int, counted: Sequence[int] | None = None) -> Tensor:
    """Average the prefix tokens ``(n·B, P, C)`` of an image's n tiles: ``(B, P, C)``.

    Only of the tiles numbered in ``counted``, where it is given.
    """
    by_tile = prefix.unflatten(0, (tiles, -1))  # (n, B, P, C)
    if counted is not None and len(counted) < tiles:
        by_tile = torch.stack([by_tile[i] for i in counted])  # on a GPU, without waiting for it
    return by_tile.mean(dim=0)


def group_tiles(tiles: Sequence[Tensor]) -> list[Tensor]:
    """Batches of tiles ``(N_i, C, h_i, w_i)`` joined to one batch a tile size."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for batch in tiles:
        groups.setdefault(batch.shape[-2:], []).append(batch)
    return [torch.cat(members) for members in groups.values()]


def map_tiles(
    model: Callable[[Tensor], Tensor], tiles: Sequence[Tensor], limit: int | None = None
) -> list[Tensor]:
    """Run ``model`` on several batches of tiles at once.

    Args:
        model: maps ``(N, C, h, w)`` to a tensor with N rows.
        tiles: batches ``(N_i, C, h_i, w_i)``; those of one tile size share a call.
        limit: most tiles in a call; no limit when not given.

    Returns:
        The model's output for each of ``tiles``, in their order.
    """
    groups: dict[torch.Size, list[int]] = {}
    for i, batch in enumerate(tiles):
        groups.setdefault(batch.shape[-2:], []).append(i)
    outputs: dict[int, Tensor] = {}
    for members in groups.values():
        batch = torch.cat([tiles[i] for i in members])
        result = torch.cat([model(part) for part in batch.split(limit or len(batch))])
        parts = result.split([len(tiles[i]) for i in members])
        outputs.update(zip(members, parts, strict=True))
    return [outputs[i] for i in range(len(tiles))]
