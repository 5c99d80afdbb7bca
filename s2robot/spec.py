"""What an encoder computes, without its weights: the spec that travels, and its shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from s2robot import readout as readouts
from s2robot.backbones import BackboneCard
from s2robot.backbones.taps import MERGES, tapped
from s2robot.errors import MismatchError, unknown
from s2robot.files import digest_of
from s2robot.pixels import GEOMETRIES
from s2robot.scaling import check_index, count_splits

INPUT_MODES = ("native", "interpolate")
DTYPES = ("float32", "bfloat16")
PIXEL_PATH = 2
"""Version of the arithmetic; raised whenever the same frame would embed differently."""


@dataclass(frozen=True)
class EncoderSpec:
    """All that decides the embedding of a frame, as it travels in policies, stores and reports."""

    backbone: str
    """Name for ``load_backbone``."""
    weights_digest: str
    """``Backbone.weights_digest``: architecture, preprocessing and weights."""
    scales: tuple[float, ...] = (1,)
    """Image sizes as multiples of the backbone's base size, in the order of their channels."""
    input_mode: str = "native"
    """"native": every scale is reduced from the native frame; "interpolate": from the base size."""
    readout: str = "published"
    """One of ``s2robot.readout.READOUTS``."""
    resize_output_to_idx: int = 0
    """Index of the scale whose grid the embedding has; -1 keeps most detail."""
    dtype: str = "float32"
    """Precision of the backbone's arithmetic; embeddings are float32 either way."""
    geometry: str = "published"
    """"published": the field of view of the authors' rule, at every scale; "full": the whole frame
    at any aspect ratio, both sides brought to the image size."""
    taps: tuple[int, ...] = ()
    """Layers whose outputs take the place of the last one's; see ``Backbone.forward_taps``."""
    taps_merge: str = "concat"
    """How several taps become one token: "concat" or "mean"."""
    pixel_path: int = PIXEL_PATH

    def __post_init__(self) -> None:
        scales = tuple(_whole(scale) for scale in self.scales)
        object.__setattr__(self, "scales", scales)
        object.__setattr__(self, "taps", tuple(int(tap) for tap in self.taps))
        if (
            not scales
            or len(set(scales)) < len(scales)
            or not all(0 < s < math.inf for s in scales)
        ):
            raise ValueError(
                f"scales {self.scales} must be different positive numbers, such as (1, 2)"
            )
        check_index(self.resize_output_to_idx, len(scales))
        for field, allowed in (
            ("input_mode", INPUT_MODES),
            ("readout", readouts.READOUTS),
            ("dtype", DTYPES),
            ("geometry", GEOMETRIES),
            ("taps_merge", MERGES),
        ):
            if getattr(self, field) not in allowed:
                raise unknown(field, getattr(self, field), allowed)
        if self.taps and self.readout == "published":
            raise ValueError(
                f"readout 'published' is the model's own output, not that of its layers "
                f"{self.taps}; take cls, mean or spatial_softmax"
            )
        if self.pixel_path != PIXEL_PATH:
            raise MismatchError(
                f"this encoder was described by version {self.pixel_path} of the pixel path and "
                f"this is version {PIXEL_PATH}: features and policies must be made again"
            )

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-able values."""
        return {**dataclasses.asdict(self), "scales": list(self.scales), "taps": list(self.taps)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EncoderSpec:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: fields are unknown or missing.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if not {"backbone", "weights_digest"} <= content.keys() <= fields:
            raise ValueError(
                f"an encoder spec has backbone, weights_digest and some of {sorted(fields)}; "
                f"got {sorted(content)}"
            )
        scales, taps = content.get("scales", (1,)), content.get("taps", ())
        return cls(**{**content, "scales": tuple(scales), "taps": tuple(taps)})

    def digest(self) -> str:
        """SHA-256 of the spec."""
        return digest_of(self.to_dict())


def _whole(scale: float) -> float:
    return int(scale) if float(scale).is_integer() else float(scale)


@dataclass(frozen=True)
class ScaleLayout:
    """How one scale is cut, and what is kept of it."""

    scale: float
    image_size: int
    """[px]"""
    splits: int
    """Tiles a side."""
    stored_shape: tuple[int, ...]

    @property
    def tile_size(self) -> int:
        """[px]"""
        return self.image_size // self.splits


class EmbeddingLayout:
    """Shapes of an encoder's work that follow from its spec and card, without its weights.

    Raises:
        ValueError: a scale does not divide into tiles that suit the backbone, or the readout does
            not suit it.
    """

    def __init__(self, spec: EncoderSpec, card: BackboneCard) -> None:
        base = card.preprocessing.image_size
        self.spec = spec
        self.card = card = tapped(card, spec.taps, spec.taps_merge)
        self.stage = readouts.stage_of(spec.readout, card)
        width = readouts.width_of(self.stage, card)
        sizes = {scale: int(base * scale) for scale in spec.scales}
        splits = {scale: count_splits(size, base) for scale, size in sizes.items()}
        sides = {s: splits[s] * card.grid_side(sizes[s] // splits[s]) for s in spec.scales}
        self.target_side = sides[spec.scales[spec.resize_output_to_idx]]
        self.scales = {
            s: ScaleLayout(
                s,
                sizes[s],
                splits[s],
                readouts.stored_shape(self.stage, sides[s], self.target_side, width),
            )
            for s in spec.scales
        }
        self.output_shape = readouts.embedding_shape(
            self.stage, self.target_side, width, len(sizes)
        )

    @property
    def embedding_dim(self) -> int:
        """D of the embeddings ``(B, D)``."""
        return math.prod(self.output_shape)

    def merge(self, parts: Mapping[float, Tensor]) -> Tensor:
        """Stored parts ``{scale: (B, *stored_shape)}`` to embeddings ``(B, D)``."""
        missing = [scale for scale in self.scales if scale not in parts]
        if missing:
            raise ValueError(f"no part for scales {missing}; got {sorted(parts)}")
        return readouts.join(self.stage, [parts[s] for s in self.scales], self.target_side)
