"""Encoders of a reconstruction, and their tokens at the same places of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.analysis.reconstruction import TOKENS
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import MismatchError, unknown
from s2robot.multiscale.resizing import resize_grid


@dataclass(frozen=True)
class Source:
    """An encoder whose tokens are mapped to those of the target, and its scale sets to compare."""

    name: str
    encoder: FrameEncoder
    scale_sets: tuple[tuple[float, ...], ...] = ((1,),)
    reference: bool = False
    """True for the still larger model that the others are divided by, as a ratio."""

    def __post_init__(self) -> None:
        have = self.encoder.layout.spec.scales
        for scales in self.scale_sets:
            if not scales or len(set(scales)) < len(scales) or not set(scales) <= set(have):
                raise ValueError(f"scales {scales} must be different ones of {self.name}'s {have}")

    @property
    def width(self) -> int:
        """Number of channels of one scale."""
        return self.total_width // len(self.encoder.layout.spec.scales)

    @property
    def total_width(self) -> int:
        """Number of channels of all scales together."""
        return self.encoder.layout.output_shape[-1]

    def channels(self, scales: Sequence[float]) -> np.ndarray:
        """Return the indices of the channels of some scales."""
        first = [self.encoder.layout.spec.scales.index(scale) * self.width for scale in scales]
        return np.concatenate([np.arange(start, start + self.width) for start in first])

    def gflops(self, scales: Sequence[float]) -> float:
        """Return the cost of a frame [10⁹ operations]; a multiply-add counts as two."""
        parts = [self.encoder.layout.scales[scale] for scale in scales]
        backbone = self.encoder.backbone
        return sum(backbone.gflops(part.tiles, part.tile_size) for part in parts)


def source_of(
    name: str,
    scale_sets: Sequence[Sequence[float]] = ((1,),),
    tokens: str = "grid",
    reference: bool = False,
    layers: Sequence[int] = (),
    **settings: Any,
) -> Source:
    """Load an encoder for all scales of some scale sets; a target has one scale set.

    The geometry is always "full", so that token (i, j) shows the same place for all encoders.

    Args:
        name: see ``FrameEncoder.from_name``.
        scale_sets: sets of scales, such as ((1,), (1, 2)).
        tokens: a key of ``TOKENS``.
        reference: see ``Source``.
        layers: indices of intermediate layers; default the output of the last layer.
        settings: further arguments of ``from_name``: dtype, device, input_mode, weights, ...

    Raises:
        ValueError: the name is unknown, or the backbone does not have such tokens.
    """
    if tokens not in TOKENS:
        raise unknown("tokens", tokens, TOKENS)
    sets = tuple(dict.fromkeys(tuple(float(scale) for scale in scales) for scales in scale_sets))
    union = sorted({scale for scales in sets for scale in scales})
    options: dict[str, Any] = {"dtype": "float32", **settings}
    encoder = FrameEncoder.from_name(
        name,
        union,
        TOKENS[tokens],
        geometry="full",
        resize_output_to_idx=union.index(1.0) if 1.0 in union else 0,
        layers=layers,
        **options,
    ).for_batches_of()
    return Source(name, encoder, sets, reference)


def common_grid(encoders: Sequence[FrameEncoder]) -> tuple[int, int] | None:
    """Return (rows, columns) of the coarsest grid; None if the encoders return one token a frame.

    Raises:
        MismatchError: the encoders have different readouts, or a geometry other than "full".
    """
    stages = {encoder.layout.pooling for encoder in encoders}
    geometries = {encoder.layout.spec.geometry for encoder in encoders}
    if len(stages) > 1 or geometries != {"full"}:
        raise MismatchError(
            f"encoders can be compared only with the same readout and geometry 'full'; "
            f"got {sorted(stages)} and {sorted(geometries)}"
        )
    if stages != {"grid"}:
        return None
    grids = [encoder.layout.target for encoder in encoders]
    return min(rows for rows, _ in grids), min(columns for _, columns in grids)


def tokens_of(
    encoder: FrameEncoder, frames: np.ndarray, grid: tuple[int, int] | None
) -> np.ndarray:
    """Return the tokens of some frames; the channels of all scales are concatenated.

    Args:
        encoder: the encoder.
        frames: ``(B, H, W, 3)`` uint8.
        grid: (rows, columns) that the grid of each scale is resized to by area averages, as in S²;
            None for encoders that return one token a frame.

    Returns:
        ``(B · rows · columns, C · scales)``.
    """
    parts = list(encoder.encode_scales(frames).values())  # (B, h, w, C) or (B, C)
    if grid is not None:
        parts = [resize_grid(part, grid).flatten(0, 2) for part in parts]
    return np.concatenate([part.detach().cpu().numpy() for part in parts], axis=1)
