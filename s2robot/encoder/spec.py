"""The spec of an encoder: every option that decides an embedding, without the weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2robot.backbones.intermediate_layers import LAYER_MERGES
from s2robot.encoder import readout as readouts
from s2robot.errors import MismatchError, unknown
from s2robot.multiscale import check_index
from s2robot.preprocessing.image_pyramid import GEOMETRIES
from s2robot.utils.deprecation import renamed_keywords
from s2robot.utils.io import digest_of

INPUT_MODES = ("native", "interpolate")
DTYPES = ("float32", "bfloat16")
_STORED = {"layers": "taps", "layers_merge": "taps_merge"}
"""Fields whose stored name is older than their own: digests of stores and policies hold it."""
RENAMED = {old: new for new, old in _STORED.items()}
"""Fields by the names that they had before, which are still taken with a warning."""
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
    """Image sizes as multiples of the backbone's base size, in the order of their channels. Where
    a size does not divide into equal tiles of whole cells, the nearest that does is taken; see
    ``tile_of``."""
    input_mode: str = "native"
    """"native": every scale is reduced from the native frame; "interpolate": from the base size."""
    readout: str = "published"
    """One of ``s2robot.encoder.readout.READOUTS``."""
    resize_output_to_idx: int = 0
    """Index of the scale whose grid the embedding has; -1 keeps most detail."""
    dtype: str = "float32"
    """Precision of the backbone's arithmetic; embeddings are float32 either way."""
    geometry: str = "published"
    """"published": the field of view of the authors' rule, at every scale; "full": the whole frame
    at any aspect ratio, both sides brought to the image size; "padded": the whole frame with its
    aspect ratio kept, on a square of the mean colour. Padded, the readouts leave out tokens and
    tiles without any of the frame, and a token counts in a mean by its share of frame; within a
    tile, tokens of the frame still attend to those of the padding."""
    layers: tuple[int, ...] = ()
    """Layers whose outputs take the place of the last one's, by index."""
    layers_merge: str = "concat"
    """How several layers become one token: "concat" or "mean"."""
    tilings: tuple[tuple[int, int], ...] = ()
    """(rows, columns) of tiles of each scale, as in dynamic S² (NVILA): the whole frame is brought
    to as many tiles of the size that the scale has anyway. Empty: the squares that follow from the
    scales. Tilings that are not square need the geometry "full"."""
    merge: str = "concat"
    """How the scales become one embedding: "concat" (on channels), "sum" or "mean"."""
    scale_weights: tuple[float, ...] = ()
    """Factor of each scale's features before they are merged; empty: all 1."""
    pixel_path: int = PIXEL_PATH

    def __post_init__(self) -> None:
        scales = tuple(_whole(scale) for scale in self.scales)
        object.__setattr__(self, "scales", scales)
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        object.__setattr__(self, "tilings", tuple(_pair(tiling) for tiling in self.tilings))
        object.__setattr__(self, "scale_weights", tuple(_whole(w) for w in self.scale_weights))
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
            ("layers_merge", LAYER_MERGES),
            ("merge", readouts.SCALE_MERGES),
        ):
            if getattr(self, field) not in allowed:
                raise unknown(field, getattr(self, field), allowed)
        if self.layers and self.readout == "published":
            raise ValueError(
                f"readout 'published' is the model's own output, not that of its layers "
                f"{self.layers}; take cls, mean or spatial_softmax"
            )
        self._check_tilings()
        self._check_weights()
        if self.pixel_path != PIXEL_PATH:
            raise MismatchError(
                f"this encoder was described by version {self.pixel_path} of the pixel path and "
                f"this is version {PIXEL_PATH}: features and policies must be made again"
            )

    def _check_tilings(self) -> None:
        tilings = self.tilings
        if not tilings:
            return
        if len(tilings) != len(self.scales) or not all(_is_tiling(tiling) for tiling in tilings):
            raise ValueError(
                f"tilings {tilings} must be one pair (rows, columns) of whole numbers from 1 for "
                f"each of the scales {self.scales}, such as ((1, 1), (2, 3)), or empty"
            )
        if self.geometry != "full" and any(rows != columns for rows, columns in tilings):
            raise ValueError(
                f"tilings {tilings} are not all square, which needs geometry 'full' (the whole "
                f"frame); geometry is {self.geometry!r}"
            )

    def _check_weights(self) -> None:
        weights = self.scale_weights
        right = all(0 <= weight < math.inf for weight in weights) and any(weights)
        if weights and (len(weights) != len(self.scales) or not right):
            raise ValueError(
                f"scale_weights {weights} must be one number from 0 for each of the scales "
                f"{self.scales}, not all 0, or empty"
            )

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-able values.

        ``tilings``, ``merge`` and ``scale_weights`` are there only where they are used, so that
        specs without them keep the digests they had before there were such fields.
        """
        content = {_STORED.get(k, k): v for k, v in dataclasses.asdict(self).items()}
        for name in ("scales", "taps", "scale_weights"):
            content[name] = list(content[name])
        content["tilings"] = [list(tiling) for tiling in self.tilings]
        unused = {"tilings": [], "merge": "concat", "scale_weights": []}
        return {k: v for k, v in content.items() if k not in unused or v != unused[k]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EncoderSpec:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: fields are unknown or missing.
        """
        content = {RENAMED.get(name, name): value for name, value in content.items()}
        fields = {field.name for field in dataclasses.fields(cls)}
        if not {"backbone", "weights_digest"} <= content.keys() <= fields:
            raise ValueError(
                f"an encoder spec has backbone, weights_digest and some of {sorted(fields)}; "
                f"got {sorted(content)}"
            )
        return cls(**content)

    def digest(self) -> str:
        """SHA-256 of the spec."""
        return digest_of(self.to_dict())

    @property
    def tag(self) -> str:
        """Backbone and digest in short, ``name@0123456789abcdef``, to mark messages with."""
        return f"{self.backbone}@{self.digest()[:16]}"


EncoderSpec.__init__ = renamed_keywords(RENAMED)(EncoderSpec.__init__)


def _whole(scale: float) -> float:
    return int(scale) if float(scale).is_integer() else float(scale)


def _pair(tiling: Any) -> tuple[Any, ...]:
    return tuple(tiling) if isinstance(tiling, (list, tuple)) else (tiling,)


def _is_tiling(tiling: Sequence[Any]) -> bool:
    return len(tiling) == 2 and all(isinstance(n, int) and n >= 1 for n in tiling)
