"""Token pooling: tokens to the stored features of a scale, and these to one embedding.

Nothing here is trained. The trainable part of ``spatial_softmax`` belongs to the policy; the token
grid for it is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2robot.backbones import BackboneCard
from s2robot.encoder.spec import READOUTS
from s2robot.errors import unknown
from s2robot.multiscale.resizing import resize_grid


def pooling_of(readout: str, card: BackboneCard) -> str:
    """Return the token pooling of a readout: "cls", "mean", "grid", or the model's own "head".

    Args:
        readout: one of ``READOUTS``.
        card: of the backbone.

    Raises:
        ValueError: the readout is unknown, or needs a class token that the backbone lacks.
    """
    if readout not in READOUTS:
        raise unknown("readout", readout, READOUTS)
    if readout == "cls" and not card.num_prefix_tokens:
        raise ValueError(
            f"readout 'cls' needs a class token, which {card.name} lacks; "
            "take published, mean or spatial_softmax"
        )
    return {"published": card.published, "spatial_softmax": "grid"}.get(readout, readout)


def width_of(pooling: str, card: BackboneCard) -> int:
    """Return the channels of each scale after a token pooling."""
    return card.head_dim if pooling == "head" and card.head_dim else card.dim


def stored_shape(
    pooling: str, grid: tuple[int, int], target: tuple[int, int], dim: int
) -> tuple[int, ...]:
    """Return the shape of the stored features of one scale.

    Args:
        pooling: as ``pooling_of`` returns it.
        grid: (rows, columns) of the scale.
        target: (rows, columns) of the embedding.
        dim: channels.

    Returns:
        The smaller of both grids in each direction and the channels, or the channels alone.
    """
    return (min(grid[0], target[0]), min(grid[1], target[1]), dim) if pooling == "grid" else (dim,)


def embedding_shape(
    pooling: str, target: tuple[int, int], dim: int, scales: int
) -> tuple[int, ...]:
    """Return the shape of an embedding: ``(gh, gw, C · scales)`` or ``(C · scales,)``.

    Args:
        pooling: as ``pooling_of`` returns it.
        target: (rows, columns) of the embedding's grid.
        dim: channels of one scale.
        scales: number of scales that are concatenated, times their copies.
    """
    return (*target, dim * scales) if pooling == "grid" else (dim * scales,)


def pool(
    pooling: str, prefix: Tensor, grid: Tensor, shape: Sequence[int], coverage: Tensor | None = None
) -> Tensor:
    """Reduce the tokens of one scale to its features.

    Args:
        pooling: as ``pooling_of`` returns it, "head" apart.
        prefix: ``(B, P, C)``, averaged over the scale's tiles, class token first.
        grid: ``(B, h, w, C)``, the scale's whole grid.
        shape: as ``stored_shape`` returns it.
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
    """Resize a grid by the average of the frame in each cell; 0 for cells without any frame.

    If the grid keeps its size, cells with any of the frame stay unchanged.
    """
    if tuple(grid.shape[1:3]) == tuple(size):
        return torch.where(coverage > 0, grid, 0)
    weights = resize_grid(coverage, size)
    return torch.where(weights > 0, resize_grid(grid * coverage, size) / weights, 0)


def join(
    pooling: str,
    features: Sequence[Tensor],
    target: tuple[int, int],
    merge: str = "concat",
    weights: Sequence[float] = (),
    copies: int = 1,
) -> Tensor:
    """Merge the features of all scales to embeddings; grids are resized to the target first.

    Args:
        pooling: as ``pooling_of`` returns it.
        features: ``(B, *stored_shape)`` of each scale.
        target: (rows, columns) of the embedding's grid.
        merge: "concat" (on channels), "sum" or "mean".
        weights: factor of each scale; empty for 1.
        copies: how often the merged channels are repeated.

    Returns:
        ``(B, D)``; of grids the flattened ``(gh, gw, C)``, with C · scales channels for "concat",
        times ``copies``.
    """
    if pooling == "grid":
        features = [resize_grid(feature, target) for feature in features]
    if weights:
        features = [feature * weight for feature, weight in zip(features, weights, strict=True)]
    if merge == "concat":
        return torch.cat(list(features) * copies, dim=-1).flatten(1)
    stacked = torch.stack(list(features))
    merged = stacked.sum(dim=0) if merge == "sum" else stacked.mean(dim=0)
    return torch.cat([merged] * copies, dim=-1).flatten(1)
