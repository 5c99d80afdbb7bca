"""Specs by name; shapes that follow from a spec and a card, and the pooling of tokens to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from s2robot.backbones import BackboneCard, get_card
from s2robot.backbones.intermediate_layers import with_layers
from s2robot.encoder import readout as readouts
from s2robot.encoder.scale_layout import (
    ScaleLayout,
    aspect_tilings,
    image_splits,
    tile_of,
    tiles_of_frame,
)
from s2robot.encoder.spec import EncoderOptions, EncoderSpec, check_option_names, scale_set
from s2robot.multiscale.tiles import mean_over_tiles, merge_tiles
from s2robot.preprocessing.padding import frame_box, frame_coverage, placed
from s2robot.utils.devices import resolve_dtype

MOST_TILES = 256
"""Most tiles of all scales that a frame may be cut into."""


class EmbeddingLayout:
    """Shapes of tiles, features and embeddings, which follow from a spec and a card.

    Args:
        spec: of the encoder.
        card: of the backbone; no weights are needed.

    Raises:
        ValueError: a scale gives no tiles that suit the backbone, there are too many of them, or
            the readout does not suit the backbone.

    Examples:
        >>> from s2robot.backbones import get_card
        >>> spec = EncoderSpec("vc1-vitb", "", scales=(1, 2), readout="mean")
        >>> layout = EmbeddingLayout(spec, get_card("vc1-vitb"))
        >>> layout.tiles, layout.embedding_dim, layout.scales[2].image_shape
        (5, 1536, (448, 448))
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
        merged = spec.copies * (len(spec.scales) if spec.merge == "concat" else 1)
        self.output_shape = readouts.embedding_shape(self.pooling, self.target, width, merged)

    def _tilings(self) -> tuple[tuple[int, int], ...]:
        """Return the (rows, columns) of each scale, from the spec's tilings or from its scales."""
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
        """Number of tiles of a frame, of all scales."""
        return sum(scale_layout.tiles for scale_layout in self.scales.values())

    def is_base(self, scale_layout: ScaleLayout) -> bool:
        """Return whether a scale has the base size, from which "interpolate" makes the others."""
        base = self.card.preprocessing.image_size
        return scale_layout.image_shape == (base, base)

    def is_square(self, scale_layout: ScaleLayout) -> bool:
        """Return whether a scale has the square tiling that it has without ``tilings``."""
        splits = image_splits(scale_layout.scale, self.card.preprocessing.image_size)
        return scale_layout.rows == scale_layout.columns == splits

    def frame_coverage(
        self, scale_layout: ScaleLayout, frame_shape: tuple[int, int] | None
    ) -> Tensor | None:
        """Return the share of each token's area that is frame, for the geometry "padded".

        Args:
            scale_layout: one of ``scales``.
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
        size, base = scale_layout.image_shape[0], self.card.preprocessing.image_size
        drawn = size if self.spec.input_mode == "native" else base  # the size it was padded at
        top, left, bottom, right = (x * size / drawn for x in frame_box(height, width, drawn))
        side = self.card.grid_side(scale_layout.tile_size)
        return frame_coverage(
            (top, left, bottom, right),
            scale_layout.rows,
            scale_layout.columns,
            scale_layout.tile_size,
            self.card.stride,
            side,
        )

    def pool(
        self, tokens: Tensor, scale_layout: ScaleLayout, frame_shape: tuple[int, int] | None = None
    ) -> Tensor:
        """Reduce the tokens of one scale to its features.

        Args:
            tokens: ``(n · B, P + g, C)`` of the scale's tiles, from ``TileEncoder.tokens``.
            scale_layout: one of ``scales``.
            frame_shape: (height, width) of the frames [px], which geometry "padded" needs.

        Returns:
            ``(B, *stored_shape)``, see ``scales``.
        """
        coverage = self.frame_coverage(scale_layout, frame_shape)
        counted = None if coverage is None else tiles_of_frame(coverage, scale_layout)
        coverage = None if coverage is None else placed(coverage, tokens.device)
        if self.pooling == "head":  # one token a tile, which all share
            return mean_over_tiles(tokens, scale_layout.tiles, counted)[:, 0]
        prefix, grid = tokens.tensor_split([self.card.num_prefix_tokens], dim=1)
        side = self.card.grid_side(scale_layout.tile_size)
        whole = merge_tiles(
            grid.unflatten(1, (side, side)), scale_layout.rows, scale_layout.columns
        )
        prefix = mean_over_tiles(prefix, scale_layout.tiles, counted)
        return readouts.pool(self.pooling, prefix, whole, scale_layout.stored_shape, coverage)

    def merge(self, features: Mapping[float, Tensor]) -> Tensor:
        """Merge features ``{scale: (B, *stored_shape)}`` to embeddings ``(B, D)``.

        Raises:
            ValueError: the features of a scale are missing.
        """
        missing = [scale for scale in self.scales if scale not in features]
        if missing:
            raise ValueError(
                f"features of scales {missing} are missing; got those of {sorted(features)}"
            )
        ordered = [features[scale] for scale in self.scales]
        spec = self.spec
        how = (spec.merge, spec.scale_weights, spec.copies)
        return readouts.join(self.pooling, ordered, self.target, *how)


def spec_of(
    name: str,
    scales: Sequence[float] | float | str = (1,),
    readout: str = "published",
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    aspect_of: tuple[int, int] | None = None,
    **options: Unpack[EncoderOptions],
) -> EncoderSpec:
    """Return the spec of an encoder by name, checked against its card, before weights are loaded.

    Args are those of ``FrameEncoder.from_name``. The spec's ``weights_digest`` is empty.

    Raises:
        ValueError: a name or an option is unknown, or they do not go together.
    """
    check_option_names(options)
    card = get_card(name, weights)
    if aspect_of is not None:
        tilings = tuple(options.get("tilings", ()))
        if tilings:
            raise ValueError(f"give tilings {tilings} or aspect_of {aspect_of}, not both")
        base = card.preprocessing.image_size
        options["tilings"] = aspect_tilings(scale_set(scales), base, aspect_of)
    spec = spec_of_card(card, scales, readout, device=device, **options)
    EmbeddingLayout(spec, card)
    return spec


def spec_of_card(
    card: BackboneCard,
    scales: Sequence[float] | float | str = (1,),
    readout: str = "published",
    weights_digest: str = "",
    *,
    device: str | torch.device = "auto",
    **options: Unpack[EncoderOptions],
) -> EncoderSpec:
    """Return the spec of an encoder of a card, with the precision that suits the device.

    Args are those of ``FrameEncoder.from_name``, and ``Backbone.weights_digest``.

    Raises:
        ValueError: an option is out of its range, or options do not go together.
    """
    content: dict[str, Any] = {"scales": scale_set(scales), "readout": readout, **options}
    content["dtype"] = resolve_dtype(options.get("dtype", "auto"), device, readout)
    return EncoderSpec(card.name, weights_digest, **content)


def _times(tiling: tuple[int, int], side: int) -> tuple[int, int]:
    return tiling[0] * side, tiling[1] * side
