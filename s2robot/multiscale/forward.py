"""The operator: several scales of an image through one model, features joined on channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from s2robot.multiscale.resizing import enlarge, resize_grid
from s2robot.multiscale.tiles import (
    count_splits,
    map_tiles,
    mean_over_tiles,
    merge_tiles,
    split_tiles,
)
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


def square_grid(tokens: Tensor) -> Tensor:
    """Tokens ``(B, n², C)`` as a grid ``(B, n, n, C)``."""
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1]:
        raise ValueError(
            f"the model returned {tokens.shape[1]} tokens a crop after its prefix tokens, which "
            "is no square grid; num_prefix_token must count the class and register tokens"
        )
    return tokens.unflatten(1, (side, side))


def concatenate(grids: Sequence[Tensor], splits: Sequence[int], index: int) -> Tensor:
    """Merge every scale's tiles, resize to the grid of scale ``index``, concatenate channels."""
    merged = [merge_tiles(grid, n, n) for grid, n in zip(grids, splits, strict=True)]
    size = merged[index].shape[1:3]
    return torch.cat([resize_grid(grid, size) for grid in merged], dim=-1)
