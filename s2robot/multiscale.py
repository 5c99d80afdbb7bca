"""S² (Scaling on Scales, arXiv 2403.13043) as pure tensor functions; nothing here knows an encoder.

Images are ``(B, C, H, W)``, grids of features are ``(B, h, w, C)``. Tiles of an image are ordered
row by row, with the tile as the slow and the image as the fast index of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from s2robot.utils.validation import check_place

OUTPUT_SHAPES = ("bnc", "bchw")


def multiscale_forward(  # noqa: PLR0913
    model: Callable[[Tensor], Tensor],
    input: Tensor,  # noqa: A002
    scales: Sequence[float] | None = None,
    img_sizes: Sequence[int] | None = None,
    max_split_size: int | None = None,
    resize_output_to_idx: int = 0,
    num_prefix_token: int = 0,
    output_shape: str = "bnc",
    split_forward: bool = False,
) -> Tensor:
    """Run ``model`` on several scales of an image and concatenate the features on channels.

    A drop-in for ``s2wrapper.forward`` (paper, Section 3.1), with gradients. Crops of all scales
    that have one size go through the model in one call, so a model whose output depends on the
    rest of its batch (batch norm in training) differs from one call a scale.

    Args:
        model: maps crops ``(N, C, h, w)`` to tokens ``(N, P + n, D)`` or maps ``(N, D, h', w')``.
        input: square images ``(B, C, S, S)``, normalized as the model wants them.
        scales: image sizes as multiples of S.
        img_sizes: image sizes [px]; they take the place of ``scales``.
        max_split_size: largest side of a crop [px]; S when not given.
        resize_output_to_idx: index of the scale whose grid the output has; -1 keeps most detail.
        num_prefix_token: tokens (class, registers) before the grid's, averaged over crops.
        output_shape: what the model returns: "bnc" (tokens) or "bchw" (maps).
        split_forward: run crop by crop, which needs less memory.

    Returns:
        ``(B, P + n, D · scales)`` or ``(B, D · scales, h', w')``, in the model's dtype.

    Raises:
        ValueError: an argument is out of its range, or an image does not divide into crops.

    Examples:
        >>> model = torch.nn.Conv2d(3, 8, 16, stride=16)
        >>> images = torch.zeros(2, 3, 64, 64)
        >>> tuple(multiscale_forward(model, images, scales=(1, 2), output_shape="bchw").shape)
        (2, 16, 4, 4)
    """
    _check_arguments(input, num_prefix_token, output_shape)
    sizes = _image_sizes(input.shape[-1], scales, img_sizes)
    check_index(resize_output_to_idx, len(sizes))
    splits = [count_splits(size, max_split_size or input.shape[-1]) for size in sizes]
    images = [enlarge(input, (size, size)) for size in sizes]
    tiles = [split_tiles(image, n, n) for image, n in zip(images, splits, strict=True)]
    limit = len(input) if split_forward else None
    outputs = map_tiles(model, tiles, limit)
    if output_shape == "bchw":
        outputs = [out.permute(0, 2, 3, 1) for out in outputs]
        return concatenate(outputs, splits, resize_output_to_idx).permute(0, 3, 1, 2).contiguous()
    grids = [square_grid(out[:, num_prefix_token:]) for out in outputs]
    tokens = concatenate(grids, splits, resize_output_to_idx).flatten(1, 2)  # (B, n, D · scales)
    if num_prefix_token == 0:
        return tokens
    prefixes = [out[:, :num_prefix_token] for out in outputs]
    means = [mean_over_tiles(p, n * n) for p, n in zip(prefixes, splits, strict=True)]
    return torch.cat([torch.cat(means, dim=-1), tokens], dim=1)


def _check_arguments(images: Tensor, num_prefix_token: int, output_shape: str) -> None:
    if images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ValueError(
            f"input must be square images (B, C, S, S); got shape {tuple(images.shape)}: "
            "crop or resize them first"
        )
    if output_shape not in OUTPUT_SHAPES:
        raise ValueError(f"output_shape must be one of {OUTPUT_SHAPES}; got {output_shape!r}")
    if num_prefix_token < 0 or (num_prefix_token and output_shape == "bchw"):
        raise ValueError(
            f"num_prefix_token is {num_prefix_token}; it must be 0 with output_shape 'bchw' "
            "(maps hold no prefix tokens) and may not be negative"
        )


def _image_sizes(
    base: int, scales: Sequence[float] | None, img_sizes: Sequence[int] | None
) -> list[int]:
    sizes = list(img_sizes or [int(base * scale) for scale in scales or ()])
    if not sizes or min(sizes) < 1:
        raise ValueError(
            f"scales {scales} and img_sizes {img_sizes} give images of sides {sizes} px; "
            "give at least one, such as scales (1, 2), each making an image of at least 1 px"
        )
    return sizes


def check_index(index: int, scales: int) -> None:
    """Raise ValueError unless ``index`` picks one of so many scales; -1 is the last."""
    check_place("resize_output_to_idx", index, scales, "scales")


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


def enlarge(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Bicubic resize without antialiasing, ``(B, C, H, W)`` to ``(B, C, *shape)``."""
    if tuple(images.shape[-2:]) == tuple(shape):
        return images
    resized = F.interpolate(images.float(), size=tuple(shape), mode="bicubic")
    return resized.to(images.dtype)


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


def square_grid(tokens: Tensor) -> Tensor:
    """Tokens ``(B, n², C)`` as a grid ``(B, n, n, C)``."""
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise ValueError(
            f"the model returned {tokens.shape[1]} tokens a crop after its prefix tokens, which "
            "is no square grid; num_prefix_token must count the class and register tokens"
        )
    return tokens.unflatten(1, (side, side))


def resize_grid(grid: Tensor, size: Sequence[int]) -> Tensor:
    """Area-resize ``(B, h, w, C)`` to ``(B, *size, C)``: average when smaller, repeat when larger.

    Computed in float32, returned in the grid's dtype.
    """
    if tuple(grid.shape[1:3]) == tuple(size):
        return grid
    images = grid.float().permute(0, 3, 1, 2)
    resized = F.interpolate(images, size=tuple(size), mode="area")
    return resized.permute(0, 2, 3, 1).to(grid.dtype)


def concatenate(grids: Sequence[Tensor], splits: Sequence[int], index: int) -> Tensor:
    """Merge every scale's tiles, resize to the grid of scale ``index``, concatenate channels."""
    merged = [merge_tiles(grid, n, n) for grid, n in zip(grids, splits, strict=True)]
    size = merged[index].shape[1:3]
    return torch.cat([resize_grid(grid, size) for grid in merged], dim=-1)
