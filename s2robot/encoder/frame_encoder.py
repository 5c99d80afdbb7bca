"""The encoder that users make: by name, from a module or from a spec; frames to embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from s2robot.backbones import load_backbone
from s2robot.backbones.from_module import backbone_from_module
from s2robot.backbones.in_memory.own_forward import ModuleOptions, check_tiles
from s2robot.encoder.layout import EmbeddingLayout, spec_of, spec_of_card
from s2robot.encoder.multi_camera import as_cameras, packs
from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.regions import Region
from s2robot.encoder.scale_layout import ScaleLayout
from s2robot.encoder.single_frame import SingleFrame
from s2robot.encoder.spec import (
    RENAMED,
    EncoderOptions,
    EncoderSpec,
    check_option_names,
)
from s2robot.encoder.streaming import FrameStream
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.encoder.tile_selection import SelectiveEncoder
from s2robot.multiscale.tiles import group_tiles
from s2robot.preprocessing.frame_input import Frames, as_frames, frame_chunks
from s2robot.runtimes import Calibration, Runtime, calibrate
from s2robot.runtimes.calibrations import identity_of, tiles_digest
from s2robot.runtimes.int8 import parted
from s2robot.utils.deprecation import renamed_keywords


class FrameEncoder(TileEncoder):
    """A frozen backbone on several scales: camera frames to embeddings.

    The encoder stays in evaluation mode after ``train()``, and no parameter takes gradients unless
    ``requires_grad_(True)`` is called; then embeddings carry gradients to the weights.

    Examples:
        >>> import numpy as np
        >>> encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2), device="cpu")
        >>> frames = np.zeros((2, 480, 640, 3), np.uint8)  # RGB
        >>> tuple(encoder(frames).shape)
        (2, 384)
    """

    def __repr__(self) -> str:
        """Describe the encoder in one line; ``encoder.backbone`` has its layers."""
        spec = self.layout.spec
        scales = ",".join(f"{scale:g}" for scale in spec.scales)
        return (
            f"FrameEncoder({spec.backbone!r}, scales [{scales}], readout {spec.readout}, "
            f"{self.embedding_dim} values a frame, {spec.dtype}, runtime {self.runtime.name}, "
            f"{self.device})"
        )

    @classmethod
    @renamed_keywords(RENAMED)
    def from_name(
        cls,
        name: str,
        scales: Sequence[float] | float | str = (1,),
        readout: str = "published",
        *,
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        runtime: str = "auto",
        max_tiles_per_batch: int = 128,
        aspect_of: tuple[int, int] | None = None,
        **options: Unpack[EncoderOptions],
    ) -> FrameEncoder:
        """Load a backbone by name and make an encoder of it.

        Args:
            name: of a backbone, see ``s2robot.backbones.load_backbone``.
            scales: image sizes as multiples of the base size, such as (1, 2) or "[1,2]".
            readout: "published", "cls", "mean" or "spatial_softmax".
            weights: file with the weights; without it they are downloaded if need be.
            device: "auto" (a GPU where there is one), "cpu", "cuda", ...
            runtime: see ``use_runtime``.
            max_tiles_per_batch: most tiles in one call of the backbone.
            aspect_of: (height, width) of the frames [px]; the largest scale then gets the tiling
                nearest to their aspect ratio, in place of ``tilings``. Needs geometry "full".
            options: the other options of ``EncoderChoice``: input_mode, geometry, layers, ...

        Returns:
            The encoder, on the device.

        Raises:
            ValueError: a name or an option is unknown, or they do not go together.
        """
        spec = spec_of(
            name, scales, readout, weights=weights, device=device, aspect_of=aspect_of, **options
        )
        backbone = load_backbone(name, weights)
        spec = dataclasses.replace(spec, weights_digest=backbone.weights_digest)
        return cls(spec, backbone, device, max_tiles_per_batch, runtime)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        name: str | None = None,
        scales: Sequence[float] | float | str = (1,),
        readout: str = "published",
        *,
        device: str | torch.device = "auto",
        runtime: str = "auto",
        max_tiles_per_batch: int = 128,
        input_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        layout: str | None = None,
        prefix_tokens: int = 0,
        **options: Unpack[EncoderOptions],
    ) -> FrameEncoder:
        """Make an encoder of a model in memory, with a copy of its weights.

        Published models get the card of their weights. Of any other the own forward pass is run,
        with all that its maker changed: ``module(images)`` where ``layout`` is given.

        Args:
            module: what ``r3m.load_r3m``, ``mvp.load``, ``vip.load_vip``, ``liv.load_liv``,
                ``mcr.load_mcr`` or ``vc_models`` return; a model of timm; a ResNet, ConvNeXt or
                vision transformer of torchvision; with ``layout`` and ``input_size``, any module.
            name: of the backbone whose weights it holds, where the module alone does not tell it
                (MVP's small models).
            scales: as for ``from_name``.
            readout: as for ``from_name``. "published" is what the module returns: of maps the
                grid, of tokens the first prefix token if there is one, else the grid.
            input_size: side of the images that the module takes [px].
            mean: of RGB in 0-1; None is ImageNet's, or what timm's model says.
            std: as ``mean``.
            layout: what the module returns for images ``(N, 3, h, w)``: "bchw" (maps
                ``(N, C, h', w')``), "tokens" (``(N, P + h'·w', C)``, the grid row by row) or
                "vector" (``(N, C)``).
            prefix_tokens: P of the layout "tokens".
            device: as for ``from_name``.
            runtime: as for ``from_name``.
            max_tiles_per_batch: as for ``from_name``.
            options: as for ``from_name``.

        Raises:
            ValueError: no such module is known, or it does not return what ``layout`` says.
            MismatchError: the module is not the named backbone.

        Examples:
            >>> patches = torch.nn.Conv2d(3, 8, 16, stride=16)
            >>> call = {"layout": "bchw", "input_size": 64}
            >>> encoder = FrameEncoder.from_module(patches, scales=(1, 2), readout="mean", **call)
            >>> tuple(encoder(torch.zeros(2, 96, 96, 3, dtype=torch.uint8)).shape)
            (2, 16)
        """
        check_option_names(options)
        call = ModuleOptions(input_size, mean, std, layout, prefix_tokens)
        backbone = backbone_from_module(module, name, call)
        spec = spec_of_card(
            backbone.card, scales, readout, backbone.weights_digest, device=device, **options
        )
        if backbone.card.origin == "module":
            layouts = EmbeddingLayout(spec, backbone.card).scales.values()
            check_tiles(backbone, [each.tile_size for each in layouts])
        return cls(spec, backbone, device, max_tiles_per_batch, runtime)

    @classmethod
    def from_spec(
        cls,
        spec: EncoderSpec,
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | None = None,
        max_tiles_per_batch: int = 128,
        runtime: str = "auto",
    ) -> FrameEncoder:
        """Make the encoder that a spec describes.

        Args:
            spec: of a policy file or a report.
            weights: file to take the weights from; without it they are searched among the
                weights that this machine has loaded before, then downloaded.
            device: as for ``from_name``.
            dtype: precision in place of the spec's. "auto" is the spec's, but float32 where the
                spec says bfloat16 and this processor is slower with it, by a measurement.
            max_tiles_per_batch: as for ``from_name``.
            runtime: as for ``from_name``.

        Raises:
            MismatchError: the weights are not those of the spec.
        """
        backbone = load_backbone(spec.backbone, weights, spec.weights_digest)
        if dtype == "auto":
            dtype = spec.dtype
            if dtype == "bfloat16":
                full = dataclasses.replace(spec, dtype="float32")
                made = cls(full, backbone, device, max_tiles_per_batch)
                dtype = made.faster_dtype(runtime)
        spec = dataclasses.replace(spec, dtype=dtype or spec.dtype)
        return cls(spec, backbone, device, max_tiles_per_batch, runtime)

    def calibrate(self, frames: Frames) -> dict[str, Calibration]:
        """Make the int8 model of this encoder from frames and store it for "openvino-int8".

        A calibration is kept for its frames, beside those on other frames. This encoder's
        "openvino-int8" is its own; others name it, ``openvino-int8:IDENTITY``, where this machine
        has several. Frames that are unlike those of the calibration raise a CalibrationWarning,
        once.

        Args:
            frames: ``(B, H, W, 3)`` uint8 of the task and the camera; some hundred frames of
                several episodes. For several cameras, give frames of all. With frames of another
                camera a policy may fail on the int8 embeddings, even where the returned cosines
                are high.

        Returns:
            Measurements on held-out tiles, by tile size ("128x128"); ``identity`` is that of the
            calibration.

        Raises:
            ValueError: too few frames.
            RuntimeMissingError: OpenVINO or NNCF is not installed.
            RuntimeFailedError: int8 is far from float32.
        """
        scale_layouts = self.scale_layouts
        chunks = [self.tiles(chunk, scale_layouts) for chunk in as_frames(frames).split(16)]
        batches = group_tiles([torch.cat(column) for column in zip(*chunks, strict=True)])
        names = ["x".join(map(str, batch.shape[-2:])) for batch in batches]
        identity = identity_of([tiles_digest(parted(batch)[0]) for batch in batches])
        made = [calibrate(self.token_model, batch, identity) for batch in batches]
        self.calibrations = tuple(dict.fromkeys([*self.calibrations, identity]))
        return dict(zip(names, made, strict=True))

    def forward(self, frames: Frames) -> Tensor:
        """Embed frames.

        Args:
            frames: RGB ``(H, W, 3)`` or ``(B, H, W, 3)`` of any size, uint8 or floats in 0-1; or
                channels first; a Pillow image; the path of a picture or a video; a list or an
                iterator of single frames, whose sizes may differ. See ``frame_chunks``. With the
                geometry "published", the square that the authors' rule cuts is embedded.

        Returns:
            ``(B, D)`` float32 on ``self.device``; B = 1 for a single frame, and 0 for none.

        Raises:
            ValueError: the frames have another type or shape.
            NonFiniteError: the embedding of a frame is NaN or infinite.
        """
        return self.merge(self.encode_scales(frames))

    def encode_cameras(self, frames: Mapping[str, Frames]) -> dict[str, Tensor]:
        """Embed frames of several cameras in shared calls of the backbone.

        With a named runtime, results are bit-identical to ``forward`` where arithmetic does not
        depend on the rest of a batch, as with transformers in float32 on the processors tried;
        convolutions differ in the last bits.

        Args:
            frames: of each camera, as for ``forward``; sizes and numbers may differ.

        Returns:
            ``{camera: (B, D)}`` float32.

        Raises:
            ValueError: frames have another type or shape; the message names the camera.
            NonFiniteError: the embedding of a frame is NaN or infinite.
        """
        cameras = as_cameras(frames)
        scale_layouts = self.scale_layouts
        chunks: dict[str, list[list[Tensor]]] = {name: [] for name in cameras}
        runtime = self.runtime_for(sum(len(images) for images in cameras.values()))
        for pack in packs(cameras, max(1, self.max_tiles_per_batch // self.tiles_per_frame)):
            done = {name: sum(len(chunk[0]) for chunk in chunks[name]) for name in pack}
            for name, features in self._encode(pack, scale_layouts, done, runtime).items():
                chunks[name].append(features)
        return {
            name: self.merge(self._joined(found, scale_layouts)) for name, found in chunks.items()
        }

    def encode_scales(
        self, frames: Frames, scales: Sequence[float] | None = None
    ) -> dict[float, Tensor]:
        """Return the features of each scale, before they are merged.

        Args:
            frames: as for ``forward``.
            scales: some of the encoder's scales; None for all.

        Returns:
            ``{scale: (B, *stored_shape)}`` float32, see ``EmbeddingLayout.scales``.

        Raises:
            ValueError: the frames are invalid, or the encoder lacks a scale.
            NonFiniteError: features of a frame are NaN or infinite.
        """
        known = self.layout.spec.scales
        wanted = known if scales is None else tuple(scales)
        if not wanted or not set(wanted) <= set(known):
            raise ValueError(f"scales must be some of {known}; got {wanted}")
        scale_layouts = [self.layout.scales[scale] for scale in wanted]
        tiles = sum(scale_layout.tiles for scale_layout in scale_layouts)
        step = max(1, self.max_tiles_per_batch // tiles)
        chunks, done, runtime = [], 0, None
        for chunk in frame_chunks(frames, step):
            runtime = runtime or self.runtime_for(len(chunk))  # one for all chunks
            chunks.append(self._encode({"": chunk}, scale_layouts, {"": done}, runtime)[""])
            done += len(chunk)
        return self._joined(chunks, scale_layouts)

    def stream(self, tolerance: float = 0.0, refresh_every: int | None = None) -> FrameStream:
        """Return a stream, which encodes only the tiles that changed since the last frame.

        Args:
            tolerance: largest difference of a pixel (0-255) that is no change; 0 is exact.
            refresh_every: encode a tile again after that many frames, changed or not.

        See ``s2robot.encoder.streaming.FrameStream``.
        """
        return FrameStream(self, tolerance, refresh_every)

    def selective(
        self,
        budget: int,
        choose: str = "motion",
        region: Region | None = None,
        stale: str | None = None,
        refresh_every: int = 16,
        seed: int = 0,
    ) -> SelectiveEncoder:
        """Return an encoder of fixed cost: at most ``budget`` tiles above the smallest scale.

        Args:
            budget: most tiles a frame.
            choose: see ``SelectiveEncoder``, as for the other arguments.
            region: see there.
            stale: see there.
            refresh_every: see there.
            seed: see there.
        """
        return SelectiveEncoder(self, budget, choose, region, stale, refresh_every, seed)

    def single_frame(self, height: int, width: int) -> SingleFrame:
        """Return a faster path for single frames of one size; see ``SingleFrame``.

        Args:
            height: of the frames [px].
            width: of the frames [px].
        """
        return SingleFrame(self, height, width)

    def _encode(
        self,
        cameras: Mapping[str, Tensor],
        scale_layouts: Sequence[ScaleLayout],
        done: Mapping[str, int],
        runtime: Runtime,
    ) -> dict[str, list[Tensor]]:
        """Encode frames of some cameras to the features of each scale, in shared calls.

        ``done`` is the number of earlier frames of each camera, for error messages.
        """
        tiles = {name: self.tiles(f.to(self.device), scale_layouts) for name, f in cameras.items()}
        batches = [batch for of_camera in tiles.values() for batch in of_camera]
        tokens = iter(self.tokens_of_batches(batches, runtime))
        features = {
            name: [
                self.pool(next(tokens), scale_layout, _shape(frames))
                for scale_layout in scale_layouts
            ]
            for name, frames in cameras.items()
        }
        if not all_finite([feature for found in features.values() for feature in found]):
            name = next(name for name, found in features.items() if not all_finite(found))
            raise non_finite(self, features[name], tiles[name], name, done[name])
        return features

    def _joined(
        self, chunks: Sequence[Sequence[Tensor]], scale_layouts: Sequence[ScaleLayout]
    ) -> dict[float, Tensor]:
        """Join the features of successive chunks of frames, by scale; there may be no chunks."""
        if not chunks:
            return self.no_features(scale_layouts)
        columns = zip(scale_layouts, zip(*chunks, strict=True), strict=True)
        return {layout.scale: torch.cat(column) for layout, column in columns}


def _shape(frames: Tensor) -> tuple[int, int]:
    """Return the (height, width) of frames ``(B, H, W, 3)``."""
    return frames.shape[1], frames.shape[2]
