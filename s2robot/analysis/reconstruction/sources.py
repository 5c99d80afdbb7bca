"""Encoders of a reconstruction: one for all scales of a source, and tokens of the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import MismatchError, unknown
from s2robot.multiscale import resize_grid

TOKENS = {"grid": "spatial_softmax", "cls": "cls", "mean": "mean"}
"""What of a frame is reconstructed: all places of the grid, the class token, or the average; and
the readout that gives it."""


@dataclass(frozen=True)
class Source:
    """An encoder that is mapped from, made for all scales, and the scale sets to compare."""

    name: str
    encoder: FrameEncoder
    scale_sets: tuple[tuple[float, ...], ...] = ((1,),)
    reference: bool = False
    """Whether it is the still larger model, whose information the others' is a ratio of."""

    def __post_init__(self) -> None:
        have = self.encoder.spec.scales
        for scales in self.scale_sets:
            if not scales or len(set(scales)) < len(scales) or not set(scales) <= set(have):
                raise ValueError(f"scales {scales} must be different ones of {self.name}'s {have}")

    @property
    def width(self) -> int:
        """Channels of one scale."""
        return self.total_width // len(self.encoder.spec.scales)

    @property
    def total_width(self) -> int:
        """Channels of all scales."""
        return self.encoder.layout.output_shape[-1]

    def channels(self, scales: Sequence[float]) -> np.ndarray:
        """Numbers of the channels of some scales among those of all."""
        first = [self.encoder.spec.scales.index(scale) * self.width for scale in scales]
        return np.concatenate([np.arange(start, start + self.width) for start in first])

    def gflops(self, scales: Sequence[float]) -> float:
        """10⁹ floating-point operations a frame; a multiply-add counts as two."""
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
    """Load an encoder by name for all scales of some sets; a target is one of one set.

    Every encoder sees the whole frame (geometry "full"), so that token (i, j) of one shows what
    token (i, j) of another does.

    Args:
        name: see ``FrameEncoder.from_name``.
        scale_sets: such as ((1,), (1, 2)).
        tokens: one of ``TOKENS``.
        reference: see ``Source``.
        layers: layers in place of the last one's output.
        settings: further ones of ``from_name``: dtype, device, input_mode, weights, ...

    Raises:
        ValueError: an unknown name, or tokens that the backbone has not.
    """
    if tokens not in TOKENS:
        raise unknown("tokens", tokens, TOKENS)
    sets = tuple(dict.fromkeys(tuple(float(scale) for scale in scales) for scales in scale_sets))
    union = sorted({scale for scales in sets for scale in scales})
    encoder = FrameEncoder.from_name(
        name,
        union,
        TOKENS[tokens],
        geometry="full",
        resize_output_to_idx=union.index(1.0) if 1.0 in union else 0,
        layers=layers,
        **{"dtype": "float32", **settings},
    )
    return Source(name, encoder, sets, reference)


def common_grid(encoders: Sequence[FrameEncoder]) -> tuple[int, int] | None:
    """(rows, columns) that all tokens are brought to: the coarsest grid of any; None if no grids.

    Raises:
        MismatchError: some give grids and others one token a frame, or not the whole frame.
    """
    stages = {encoder.layout.pooling for encoder in encoders}
    geometries = {encoder.spec.geometry for encoder in encoders}
    if len(stages) > 1 or geometries != {"full"}:
        raise MismatchError(
            f"all encoders need the same readout and geometry 'full' to be compared place by "
            f"place; got {sorted(stages)} and {sorted(geometries)}"
        )
    if stages != {"grid"}:
        return None
    grids = [encoder.layout.target for encoder in encoders]
    return min(rows for rows, _ in grids), min(columns for _, columns in grids)


def tokens_of(
    encoder: FrameEncoder, frames: np.ndarray, grid: tuple[int, int] | None
) -> np.ndarray:
    """Frames ``(B, H, W, 3)`` to tokens ``(B · rows · columns, C · scales)``, scales side by side.

    Each scale's grid is brought to ``grid`` by area averages, as S² does it.
    """
    parts = list(encoder.encode_scales(frames).values())  # (B, h, w, C) or (B, C)
    if grid is not None:
        parts = [resize_grid(part, grid).flatten(0, 2) for part in parts]
    return np.concatenate([part.detach().cpu().numpy() for part in parts], axis=1)
