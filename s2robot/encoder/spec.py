"""What an encoder computes, without its weights: the spec that travels, and its shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from s2robot.backbones import BackboneCard
from s2robot.backbones.intermediate_layers import LAYER_MERGES, with_layers
from s2robot.encoder import readout as readouts
from s2robot.encoder.tiling import ScaleLayout, image_splits, tile_of, tiles_of_frame
from s2robot.errors import MismatchError, unknown
from s2robot.multiscale import check_index, mean_over_tiles, merge_tiles
from s2robot.preprocessing.image_pyramid import GEOMETRIES
from s2robot.preprocessing.padding import frame_box, frame_coverage, placed
from s2robot.utils.deprecation import renamed_keywords
from s2robot.utils.io import digest_of

INPUT_MODES = ("native", "interpolate")
DTYPES = ("float32", "bfloat16")
MOST_TILES = 256
"""Tiles of all scales that a frame may be cut into."""
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


class EmbeddingLayout:
    """Shapes of an encoder's work that follow from its spec and card, without its weights.

    Raises:
        ValueError: a scale gives no tiles that suit the backbone, there are too many of them, or
            the readout does not suit the backbone.
    """

    def __init__(self, spec: EncoderSpec, card: BackboneCard) -> None:
        self.spec = spec
        self.card = card = with_layers(card, spec.layers, spec.layers_merge)
        self.pooling = readouts.pooling_of(spec.readout, card)
        width = readouts.width_of(self.pooling, card)
        sides = {scale: tile_of(scale, card) for scale in spec.scales}
        tilings = dict(zip(spec.scales, self._tilings(), strict=True))
        grids = {s: _times(tilings[s], card.grid_side(sides[s])) for s in spec.scales}
        self.target = grids[spec.scales[spec.resize_output_to_idx]]
        self.scales = {
            s: ScaleLayout(
                s,
                _times(tilings[s], sides[s]),
                *tilings[s],
                readouts.stored_shape(self.pooling, grids[s], self.target, width),
            )
            for s in spec.scales
        }
        merged = len(spec.scales) if spec.merge == "concat" else 1
        self.output_shape = readouts.embedding_shape(self.pooling, self.target, width, merged)

    def _tilings(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each scale, as the spec gives them or as they follow from scales."""
        spec, base = self.spec, self.card.preprocessing.image_size
        splits = [image_splits(scale, base) for scale in spec.scales]
        tilings = spec.tilings or tuple((n, n) for n in splits)
        tiles = sum(rows * columns for rows, columns in tilings)
        if tiles > MOST_TILES:
            raise ValueError(
                f"scales {spec.scales} cut a frame into {tiles} tiles; at most {MOST_TILES} are "
                "allowed: take smaller scales, or tilings of fewer tiles"
            )
        return tilings

    @property
    def embedding_dim(self) -> int:
        """D of the embeddings ``(B, D)``."""
        return math.prod(self.output_shape)

    @property
    def tiles(self) -> int:
        """Tiles of a frame, of all scales."""
        return sum(part.tiles for part in self.scales.values())

    def is_base(self, part: ScaleLayout) -> bool:
        """Whether the scale shows the base image, from which "interpolate" makes the others."""
        base = self.card.preprocessing.image_size
        return part.image_shape == (base, base)

    def is_square(self, part: ScaleLayout) -> bool:
        """Whether the scale has the square tiling that follows from it without ``tilings``."""
        splits = image_splits(part.scale, self.card.preprocessing.image_size)
        return part.rows == part.columns == splits

    def frame_coverage(
        self, part: ScaleLayout, frame_shape: tuple[int, int] | None
    ) -> Tensor | None:
        """Share of each token's area that is frame, where the geometry is "padded".

        Args:
            part: one of ``scales``.
            frame_shape: (height, width) of the frames [px].

        Returns:
            ``(gh, gw)`` in 0-1 on the CPU, or None where all of the image is frame.

        Raises:
            ValueError: the geometry is "padded" and the frames' shape is not given.
        """
        if self.spec.geometry != "padded":
            return None
        if frame_shape is None:
            raise ValueError("geometry 'padded' depends on the frames: give their frame_shape")
        height, width = frame_shape
        if height == width:
            return None
        size, base = part.image_shape[0], self.card.preprocessing.image_size
        drawn = size if self.spec.input_mode == "native" else base  # the size it was padded at
        top, left, bottom, right = (x * size / drawn for x in frame_box(height, width, drawn))
        side = self.card.grid_side(part.tile_size)
        return frame_coverage(
            (top, left, bottom, right),
            part.rows,
            part.columns,
            part.tile_size,
            self.card.stride,
            side,
        )

    def pool(
        self, tokens: Tensor, part: ScaleLayout, frame_shape: tuple[int, int] | None = None
    ) -> Tensor:
        """A scale's tokens ``(n · B, P + g, C)`` to what is stored of it ``(B, *stored_shape)``.

        Args:
            tokens: of the scale's tiles, as ``FrameEncoder.tokens`` gives them.
            part: one of ``scales``.
            frame_shape: (height, width) of the frames [px], which geometry "padded" needs.
        """
        coverage = self.frame_coverage(part, frame_shape)
        counted = None if coverage is None else tiles_of_frame(coverage, part)
        coverage = None if coverage is None else placed(coverage, tokens.device)
        if self.pooling == "head":  # one token a tile, which all share
            return mean_over_tiles(tokens, part.tiles, counted)[:, 0]
        prefix, grid = tokens.tensor_split([self.card.num_prefix_tokens], dim=1)
        side = self.card.grid_side(part.tile_size)
        whole = merge_tiles(grid.unflatten(1, (side, side)), part.rows, part.columns)
        prefix = mean_over_tiles(prefix, part.tiles, counted)
        return readouts.pool(self.pooling, prefix, whole, part.stored_shape, coverage)

    def merge(self, parts: Mapping[float, Tensor]) -> Tensor:
        """Stored parts ``{scale: (B, *stored_shape)}`` to embeddings ``(B, D)``."""
        missing = [scale for scale in self.scales if scale not in parts]
        if missing:
            raise ValueError(f"no part for scales {missing}; got {sorted(parts)}")
        ordered = [parts[scale] for scale in self.scales]
        spec = self.spec
        return readouts.join(self.pooling, ordered, self.target, spec.merge, spec.scale_weights)


def _times(tiling: tuple[int, int], side: int) -> tuple[int, int]:
    return tiling[0] * side, tiling[1] * side
