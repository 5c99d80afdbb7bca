"""The one path from pixels to embeddings: frames, pyramid, tiles, backbone, merge, readout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s2robot import readout as readouts
from s2robot.backbones import Backbone, get_card, load_backbone
from s2robot.backbones.foreign import backbone_from_module
from s2robot.errors import MismatchError
from s2robot.pixels import as_frames, image_of
from s2robot.reuse import FrameStream
from s2robot.scaling import (
    enlarge,
    map_tiles,
    mean_over_tiles,
    merge_tiles,
    split_tiles,
)
from s2robot.spec import EmbeddingLayout, EncoderSpec, ScaleLayout


class FrameEncoder(nn.Module):
    """Frames to embeddings with a frozen backbone on several scales.

    It stays in evaluation mode whatever ``train()`` says, and no parameter takes gradients.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        backbone: Backbone,
        device: str | torch.device = "auto",
        max_tiles_per_batch: int = 128,
    ) -> None:
        super().__init__()
        if max_tiles_per_batch < 1:
            raise ValueError(f"max_tiles_per_batch must be at least 1; got {max_tiles_per_batch}")
        if spec.weights_digest != backbone.weights_digest:
            raise MismatchError(
                f"the weights of {spec.backbone} are not those of the spec: digest "
                f"{backbone.weights_digest[:12]} instead of {spec.weights_digest[:12]}; "
                "give the file that the spec was made with as weights=PATH"
            )
        self.spec = spec
        self.backbone = backbone
        self.layout = EmbeddingLayout(spec, backbone.card)
        self.max_tiles_per_batch = max_tiles_per_batch
        pixels = backbone.card.preprocessing
        self.register_buffer("mean", _channels(pixels.mean), persistent=False)
        self.register_buffer("std", _channels(pixels.std), persistent=False)
        self.to(resolve_device(device)).eval()

    @classmethod
    def from_name(
        cls,
        name: str,
        scales: Sequence[float] = (1,),
        readout: str = "published",
        input_mode: str = "native",
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        resize_output_to_idx: int = 0,
        max_tiles_per_batch: int = 128,
        geometry: str = "published",
        taps: Sequence[int] = (),
        taps_merge: str = "concat",
    ) -> FrameEncoder:
        """Load a backbone by name and describe what it is used for.

        Args:
            name: of a backbone, see ``s2robot.backbones.load_backbone``.
            scales: image sizes as multiples of the base size, such as (1, 2).
            readout: "published", "cls", "mean" or "spatial_softmax".
            input_mode: "native" or "interpolate".
            weights: file to take the weights from; without it they are downloaded where need be.
            device: "auto" (a GPU where there is one), "cpu", "cuda", ...
            dtype: "auto" (bfloat16 on a GPU unless the readout is "published", else float32),
                "float32", "bfloat16".
            resize_output_to_idx: index of the scale whose grid the embedding has.
            max_tiles_per_batch: most tiles in one call of the backbone.
            geometry: "published" or "full"; see ``EncoderSpec``.
            taps: layers in place of the last one's normalised output, such as (5, -1).
            taps_merge: "concat" or "mean".
        """
        spec = EncoderSpec(
            name,
            "",
            tuple(scales),
            input_mode,
            readout,
            resize_output_to_idx,
            _resolve_dtype(dtype, device, readout),
            geometry,
            tuple(taps),
            taps_merge,
        )
        EmbeddingLayout(spec, get_card(name, weights))  # refuses what cannot be, before loading
        backbone = load_backbone(name, weights)
        spec = dataclasses.replace(spec, weights_digest=backbone.weights_digest)
        return cls(spec, backbone, device, max_tiles_per_batch)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        name: str | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        max_tiles_per_batch: int = 128,
        **settings: Any,
    ) -> FrameEncoder:
        """Wrap a model that another package has loaded, its weights taken over.

        Args:
            module: what ``r3m.load_r3m``, ``mvp.load``, ``vip.load_vip``, ``liv.load_liv``,
                ``mcr.load_mcr`` or ``vc_models`` return, or a timm model.
            name: of the backbone it is, where the module alone does not tell (MVP's small models).
            device: as for ``from_name``.
            dtype: as for ``from_name``.
            max_tiles_per_batch: as for ``from_name``.
            settings: of ``EncoderSpec``: scales, readout, input_mode, geometry, taps, ...

        Raises:
            ValueError: no such module is known.
            MismatchError: it is not the named backbone.
        """
        backbone = backbone_from_module(module, name)
        settings = {"readout": "published", **settings}
        settings["dtype"] = _resolve_dtype(dtype, device, settings["readout"])
        spec = EncoderSpec(backbone.card.name, backbone.weights_digest, **settings)
        return cls(spec, backbone, device, max_tiles_per_batch)

    @classmethod
    def from_spec(
        cls,
        spec: EncoderSpec,
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | None = None,
        max_tiles_per_batch: int = 128,
    ) -> FrameEncoder:
        """Rebuild the encoder that a spec describes.

        Args:
            spec: as it came with a policy or a report.
            weights: file to take the weights from; without it they are looked for among those
                that were loaded on this machine, then downloaded.
            device: as for ``from_name``.
            dtype: precision in place of the spec's; most CPUs are slow in bfloat16.
            max_tiles_per_batch: as for ``from_name``.

        Raises:
            MismatchError: the weights at hand are not the ones of the spec.
        """
        spec = dataclasses.replace(spec, dtype=dtype or spec.dtype)
        backbone = load_backbone(spec.backbone, weights, spec.weights_digest)
        return cls(spec, backbone, device, max_tiles_per_batch)

    def train(self, mode: bool = True) -> FrameEncoder:
        del mode
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the backbone runs and embeddings lie."""
        return self.get_buffer("mean").device

    @property
    def output_shape(self) -> tuple[int, ...]:
        """``(gh, gw, C)`` of the flattened grid (spatial_softmax), else ``(C,)``."""
        return self.layout.output_shape

    @property
    def embedding_dim(self) -> int:
        """D of the embeddings ``(B, D)``."""
        return self.layout.embedding_dim

    @property
    def parameters_count(self) -> int:
        """Number of weights."""
        return self.backbone.parameters_count

    @property
    def tiles_per_frame(self) -> int:
        """Crops of all scales."""
        return sum(part.splits**2 for part in self.layout.scales.values())

    @property
    def gflops_per_frame(self) -> float:
        """10⁹ floating-point operations a frame; a multiply-add counts as two."""
        parts = self.layout.scales.values()
        return sum(self.backbone.gflops(part.splits**2, part.tile_size) for part in parts)

    def forward(self, frames: np.ndarray | Tensor) -> Tensor:
        """Embed frames.

        Args:
            frames: uint8 RGB ``(H, W, 3)`` or ``(B, H, W, 3)`` of any size. With the geometry
                "published", what is outside of the square that the authors' rule cuts is not seen.

        Returns:
            ``(B, D)`` float32 on ``self.device``; B = 1 for a single frame.

        Raises:
            ValueError: not such frames.
        """
        return self.merge(self.encode_scales(frames))

    def encode_scales(
        self, frames: np.ndarray | Tensor, scales: Sequence[float] | None = None
    ) -> dict[float, Tensor]:
        """Embed frames as in ``forward``, each scale (of ``scales``, else all) apart.

        Returns:
            ``{scale: (B, *stored_shape)}`` float32, see ``EmbeddingLayout.scales``.

        Raises:
            ValueError: not such frames, or scales that the encoder has not.
        """
        images = as_frames(frames)
        wanted = self.spec.scales if scales is None else tuple(scales)
        if not wanted or not set(wanted) <= set(self.spec.scales):
            raise ValueError(f"scales must be some of {self.spec.scales}; got {wanted}")
        parts = [self.layout.scales[scale] for scale in wanted]
        tiles = sum(part.splits**2 for part in parts)
        step = max(1, self.max_tiles_per_batch // tiles)
        chunks = [self._encode(chunk.to(self.device), parts) for chunk in images.split(step)]
        return {p.scale: torch.cat([chunk[i] for chunk in chunks]) for i, p in enumerate(parts)}

    def merge(self, parts: Mapping[float, Tensor]) -> Tensor:
        """Parts as from ``encode_scales`` to embeddings ``(B, D)``."""
        return self.layout.merge(parts)

    def stream(self, tolerance: float = 0.0, refresh_every: int | None = None) -> FrameStream:
        """Embed frames that follow each other, encoding only the tiles that changed.

        Args:
            tolerance: largest difference of a pixel (0-255) that does not count; 0 is exact.
            refresh_every: encode a tile again after that many frames whatever it shows.

        See ``s2robot.reuse.FrameStream``.
        """
        return FrameStream(self, tolerance, refresh_every)

    def _encode(self, frames: Tensor, parts: Sequence[ScaleLayout]) -> list[Tensor]:
        tiles = self.tiles(frames, parts)
        tokens = map_tiles(self.tokens, tiles, self.max_tiles_per_batch)
        return [self.pool(t, part) for t, part in zip(tokens, parts, strict=True)]

    def tiles(self, frames: Tensor, parts: Sequence[ScaleLayout]) -> list[Tensor]:
        """Frames ``(B, H, W, 3)`` uint8 to each scale's tiles ``(n · B, 3, h, w)`` in 0-255.

        Tiles run row by row as the slow index, frames as the fast one.
        """
        images = self._images(frames.permute(0, 3, 1, 2), [part.image_size for part in parts])
        return [split_tiles(i, part.splits) for i, part in zip(images, parts, strict=True)]

    def _images(self, frames: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The pyramid: frames ``(B, 3, H, W)`` to one ``(B, 3, size, size)`` a size, in 0-255."""
        pixels, geometry = self.backbone.card.preprocessing, self.spec.geometry
        if self.spec.input_mode == "native":
            return [image_of(frames, pixels, size, geometry) for size in sizes]
        base = image_of(frames, pixels, pixels.image_size, geometry)
        return [base if s == pixels.image_size else enlarge(base.float(), s) for s in sizes]

    @torch.inference_mode()
    def tokens(self, tiles: Tensor) -> Tensor:
        """Tiles ``(N, 3, h, w)`` in 0-255 to float32 tokens ``(N, P + gh·gw, C)``."""
        crops = (tiles.float() - self.get_buffer("mean")) / self.get_buffer("std")
        low = self.spec.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return self._run(crops).float()

    def _run(self, crops: Tensor) -> Tensor:
        if self.layout.stage == "head":
            return self.backbone.forward_head(crops).unsqueeze(1)
        if self.spec.taps:
            return self.backbone.forward_taps(crops, self.spec.taps, self.spec.taps_merge)
        return self.backbone(crops)

    def pool(self, tokens: Tensor, part: ScaleLayout) -> Tensor:
        """A scale's tokens ``(n · B, P + g, C)`` to what is stored of it ``(B, *stored_shape)``."""
        card = self.layout.card
        if self.layout.stage == "head":  # one token a tile, which all share
            return mean_over_tiles(tokens, part.splits)[:, 0]
        prefix, grid = tokens.tensor_split([card.num_prefix_tokens], dim=1)
        side = card.grid_side(part.tile_size)
        whole = merge_tiles(grid.unflatten(1, (side, side)), part.splits)
        prefix = mean_over_tiles(prefix, part.splits)
        return readouts.pool(self.layout.stage, prefix, whole, part.stored_shape)


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1) * 255


def _resolve_dtype(dtype: str, device: str | torch.device, readout: str) -> str:
    """The precision of a name; "auto" keeps the published output as published."""
    if dtype != "auto":
        return dtype
    fast = resolve_device(device).type == "cuda" and readout != "published"
    return "bfloat16" if fast else "float32"


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" is a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)
