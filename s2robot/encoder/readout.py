"""From tokens to what is stored of one scale, and from the scales' parts to one embedding.

Everything here is frozen. The trainable part of ``spatial_softmax`` lives with the policy; what
is computed here for it is the token grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2robot.backbones import BackboneCard
from s2robot.errors import unknown
from s2robot.multiscale import resize_grid

READOUTS = ("published", "cls", "mean", "spatial_softmax")
SCALE_MERGES = ("concat", "sum", "mean")
"""How the parts of all scales become one embedding."""


def pooling_of(readout: str, card: BackboneCard) -> str:
    """What a readout needs: "cls", "mean" or "grid" of the tokens, or the model's own "head".

    Raises:
        ValueError: unknown readout, or class token wanted of a backbone that has none.
    """
    if readout not in READOUTS:
        raise unknown("readout", readout, READOUTS)
    if readout == "cls" and not card.num_prefix_tokens:
        raise ValueError(
            f"readout 'cls' needs a class token, which {card.name} has not; "
            "take published, mean or spatial_softmax"
        )
    return {"published": card.published, "spatial_softmax": "grid"}.get(readout, readout)


def width_of(pooling: str, card: BackboneCard) -> int:
    """Channels that a stage has on each scale."""
    return card.head_dim if pooling == "head" and card.head_dim else card.dim


def stored_shape(
    pooling: str, grid: tuple[int, int], target: tuple[int, int], dim: int
) -> tuple[int, ...]:
    """Shape of what is stored of one scale: the smaller of its own grid and the target grid.

    Grids are (rows, columns), of which each is the smaller one.
    """
    return (min(grid[0], target[0]), min(grid[1], target[1]), dim) if pooling == "grid" else (dim,)


def embedding_shape(
    pooling: str, target: tuple[int, int], dim: int, scales: int
) -> tuple[int, ...]:
    """Shape of the embedding of all scales: ``(gh, gw, C · scales)`` or ``(C · scales,)``."""
    return (*target, dim * scales) if pooling == "grid" else (dim * scales,)


def pool(
    pooling: str, prefix: Tensor, grid: Tensor, shape: Sequence[int], coverage: Tensor | None = None
) -> Tensor:
    """Reduce one scale's tokens to what is stored of it.

    Args:
        pooling: as ``stage_of`` gives it, "head" apart.
        prefix: ``(B, P, C)``, averaged over the scale's tiles, class token first.
        grid: ``(B, h, w, C)``, the scale's whole grid.
        shape: as ``stored_shape`` gives it.
        coverage: ``(h, w)``, share of each token's area that is frame and not padding. Means are
            weighted by it, and cells of the grid that see no frame become 0.

    Returns:
        ``(B, *shape)``
    """
    if pooling == "cls":
        return prefix[:, 0]
    if pooling == "mean":
        return grid.mean(dim=(1, 2)) if coverage is None else _weighted_mean(grid, coverage)
    if coverage is None:
        return resize_grid(grid, shape[:2])
    return _resize_frame(grid, shape[:2], coverage[None, :, :, None])


def _weighted_mean(grid: Tensor, coverage: Tensor) -> Tensor:
    weights = coverage / coverage.sum()
    return torch.einsum("bhwc,hw->bc", grid, weights.to(grid.dtype))


def _resize_frame(grid: Tensor, size: Sequence[int], coverage: Tensor) -> Tensor:
    """As ``resize_grid``, each cell averaging what it sees of the frame, or 0 if that is nothing.

    Of a grid that keeps its size, the cells that see any of the frame stay as they are.
    """
    if tuple(grid.shape[1:3]) == tuple(size):
        return torch.where(coverage > 0, grid, 0)
    weights = resize_grid(coverage, size)
    return torch.where(weights > 0, resize_grid(grid * coverage, size) / weights, 0)


def join(
    pooling: str,
    parts: Sequence[Tensor],
    target: tuple[int, int],
    merge: str = "concat",
    weights: Sequence[float] = (),
) -> Tensor:
    """Make the scales' parts one, grids brought to the target grid first.

    Args:
        pooling: as ``stage_of`` gives it.
        parts: ``(B, *stored_shape)`` of each scale.
        target: (rows, columns) of the embedding's grid.
        merge: "concat" (on channels), "sum" or "mean".
        weights: factor of each part; all 1 where there are none.

    Returns:
        ``(B, D)``; of grids the flattened ``(gh, gw, C)``, with C · scales channels for "concat".
    """
    if pooling == "grid":
        parts = [resize_grid(part, target) for part in parts]
    if weights:
        parts = [part * weight for part, weight in zip(parts, weights, strict=True)]
    if merge == "concat":
        return torch.cat(list(parts), dim=-1).flatten(1)
    stacked = torch.stack(list(parts))
    return (stacked.sum(dim=0) if merge == "sum" else stacked.mean(dim=0)).flatten(1)
