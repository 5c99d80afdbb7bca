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
from s2robot.scaling import resize_grid

READOUTS = ("published", "cls", "mean", "spatial_softmax")


def stage_of(readout: str, card: BackboneCard) -> str:
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


def width_of(stage: str, card: BackboneCard) -> int:
    """Channels that a stage has on each scale."""
    return card.head_dim if stage == "head" and card.head_dim else card.dim


def stored_shape(stage: str, grid_side: int, target_side: int, dim: int) -> tuple[int, ...]:
    """Shape of what is stored of one scale: the smaller of its own grid and the target grid."""
    side = min(grid_side, target_side)
    return (side, side, dim) if stage == "grid" else (dim,)


def embedding_shape(stage: str, target_side: int, dim: int, scales: int) -> tuple[int, ...]:
    """Shape of the embedding of all scales: ``(gh, gw, C · scales)`` or ``(C · scales,)``."""
    return (target_side, target_side, dim * scales) if stage == "grid" else (dim * scales,)


def pool(stage: str, prefix: Tensor, grid: Tensor, shape: Sequence[int]) -> Tensor:
    """Reduce one scale's tokens to what is stored of it.

    Args:
        stage: as ``stage_of`` gives it, "head" apart.
        prefix: ``(B, P, C)``, averaged over the scale's tiles, class token first.
        grid: ``(B, h, w, C)``, the scale's whole grid.
        shape: as ``stored_shape`` gives it.

    Returns:
        ``(B, *shape)``
    """
    if stage == "cls":
        return prefix[:, 0]
    if stage == "mean":
        return grid.mean(dim=(1, 2))
    return resize_grid(grid, shape[:2])


def join(stage: str, parts: Sequence[Tensor], target_side: int) -> Tensor:
    """Concatenate the scales' parts on channels, grids brought to the target grid first.

    Returns:
        ``(B, D)``; of grids the flattened ``(gh, gw, C · scales)``.
    """
    if stage == "grid":
        parts = [resize_grid(part, (target_side, target_side)) for part in parts]
    return torch.cat(list(parts), dim=-1).flatten(1)
