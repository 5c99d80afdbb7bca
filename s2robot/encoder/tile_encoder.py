"""The steps from frames to embeddings, each a method: tiles, tokens, pooling, merging."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from s2robot.backbones import Backbone
from s2robot.encoder.distinct_tiles import DistinctTiles
from s2robot.encoder.layout import EmbeddingLayout
from s2robot.encoder.scale_layout import ScaleLayout
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import MismatchError
from s2robot.multiscale.tiles import group_tiles, map_tiles, split_tiles
from s2robot.preprocessing.image_pyramid import pyramid
from s2robot.runtimes import (
    AUTO,
    AutoRuntime,
    Runtime,
    RuntimeMissingError,
    TokenModel,
    faster_dtype,
    make_runtime,
    warn_if_slow,
)
from s2robot.utils.devices import present_device


class TileEncoder(nn.Module):
    """A frozen backbone with the steps around it: frames to tiles, tokens, features, embeddings.

    ``FrameEncoder`` runs all steps for whole frames; streams, selective encoders and single-frame
    paths run the same steps on the tiles that they choose. The module stays in evaluation mode
    after ``train()``, and no parameter takes gradients unless ``requires_grad_(True)`` is called;
    then embeddings carry gradients to the weights.

    Args:
        spec: every option that decides the embeddings.
        backbone: with the weights that the spec names by their digest.
        device: "auto" (a GPU where there is one), "cpu", "cuda", ...
        max_tiles_per_batch: most tiles in one call of the backbone.
        runtime: see ``use_runtime``.

    Raises:
        ValueError: ``max_tiles_per_batch`` is below 1, or the spec does not suit the backbone.
        MismatchError: the backbone has other weights than the spec names.

    Examples:
        >>> from s2robot import FrameEncoder
        >>> encoder = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
        >>> frames = torch.zeros(1, 240, 320, 3, dtype=torch.uint8)
        >>> scale_layout = encoder.layout.scales[2]
        >>> (tiles,) = encoder.tiles(frames, [scale_layout])
        >>> tuple(tiles.shape)
        (4, 3, 128, 128)
        >>> tuple(encoder.pool(encoder.tokens(tiles), scale_layout).shape)
        (1, 192)
    """

    def __init__(
        self,
        spec: EncoderSpec,
        backbone: Backbone,
        device: str | torch.device = "auto",
        max_tiles_per_batch: int = 128,
        runtime: str = "auto",
    ) -> None:
        super().__init__()
        if max_tiles_per_batch < 1:
            raise ValueError(f"max_tiles_per_batch must be at least 1; got {max_tiles_per_batch}")
        if spec.weights_digest != backbone.weights_digest:
            raise MismatchError(
                f"the weights of {spec.backbone} are not those of the spec: digest "
                f"{backbone.weights_digest[:12]} instead of {spec.weights_digest[:12]}; "
                "give the file that the spec was made with as weights=PATH (or --weights PATH)"
            )
        self.backbone = backbone
        self._warned = backbone.loaded_digest
        self.layout = EmbeddingLayout(spec, backbone.card)
        self.max_tiles_per_batch = max_tiles_per_batch
        self.token_model = TokenModel(backbone, self.layout.pooling, spec.layers, spec.layers_merge)
        self.calibrations: tuple[str, ...] = ()
        """Identities of the int8 calibrations that were made with this encoder."""
        self._distinct = DistinctTiles()
        self.chosen_by_auto = False
        """Whether the runtime was chosen for a certain number of frames; see ``for_batches_of``."""
        self.to(present_device(device)).eval()
        self.use_runtime(runtime)

    def use_runtime(self, name: str) -> Self:
        """Run the backbone through another runtime from now on.

        Args:
            name: "eager" (PyTorch), "compile", "cuda-graph", "onnxruntime", "openvino",
                "openvino-int8" (approximate; see ``FrameEncoder.calibrate``), or "auto": the
                fastest of the exact runtimes that are installed, for each number of frames in a
                call. "auto" measures at the first call of a size, for some seconds, and stores
                the result on this machine; see ``for_batches_of``. "openvino-int8" takes the
                calibration that was made with this encoder, else the only one on this machine;
                "openvino-int8:IDENTITY" takes a certain one.

        Returns:
            The encoder itself.

        Raises:
            ValueError: the name is unknown.
            RuntimeMissingError: the runtime is not installed, not for this device, or not
                calibrated, or calibrated several times and none is named.
            RuntimeFailedError: the runtime cannot run this backbone, or gives other numbers than
                PyTorch.
        """
        bf16 = self.layout.spec.dtype == "bfloat16"
        self.runtime = make_runtime(self._named(name), self.token_model, bf16)
        if self.runtime.name not in ("eager", AUTO):
            for batch in self._tiles_of_a_frame():  # converted now: the first frame does not wait
                self.runtime(batch)
        if bf16 and self.device.type == "cpu" and self.runtime.exact:
            warn_if_slow(name, self.token_model, self._tiles_of_a_frame())
        return self

    def runtime_for(self, frames: int | None = None) -> Runtime:
        """Return the runtime of calls with some frames: the encoder's own, or what "auto" takes.

        Args:
            frames: number of frames in a call; None for as many as the backbone takes at once.
        """
        if not isinstance(self.runtime, AutoRuntime):
            return self.runtime
        tiles: dict[tuple[int, int], int] = {}
        for scale_layout in self.scale_layouts:
            shape = scale_layout.tile_shape
            tiles[shape] = tiles.get(shape, 0) + scale_layout.tiles
        most = max(1, self.max_tiles_per_batch // self.tiles_per_frame)
        frames = most if frames is None else min(frames, most)
        return self.runtime.for_tiles(
            [
                (min(frames * count, self.max_tiles_per_batch), height, width)
                for (height, width), count in tiles.items()
            ]
        )

    def for_batches_of(self, frames: int | None = None) -> Self:
        """Return an encoder whose runtime has a name, so that all that it embeds is made alike.

        With runtime "auto", embeddings of different calls may come from different runtimes and
        differ in the last digits. What is stored or compared is made by the returned encoder.

        Args:
            frames: number of frames in a call; None for as many as the backbone takes at once.

        Returns:
            The encoder itself, unless its runtime is "auto": then one that shares its weights.
        """
        return self._over(self.runtime_for(frames))

    def alternatives(self) -> list[Self]:
        """Return the encoder with each runtime that it may have: with "auto", each exact one.

        Nothing is measured or converted.
        """
        if not isinstance(self.runtime, AutoRuntime):
            return [self]
        return [self._over(runtime) for runtime in self.runtime.usable()]

    def _over(self, runtime: Runtime) -> Self:
        """Return an encoder over a runtime of this encoder's model."""
        if runtime is self.runtime:
            return self
        own = (self.spec, self.backbone, self.device, self.max_tiles_per_batch, AUTO)
        other = type(self)(*own)
        other.runtime, other.calibrations = runtime, self.calibrations
        other.chosen_by_auto = True
        return other

    def _tiles_of_a_frame(self) -> list[Tensor]:
        """Return the tiles of a black frame, one batch for each tile size."""
        base = self.backbone.card.preprocessing.image_size
        frame = torch.zeros(1, base, base, 3, dtype=torch.uint8, device=self.device)
        return group_tiles(self.tiles(frame, self.scale_layouts))

    def _named(self, runtime: str) -> str:
        """Return the name of a runtime with the calibration that was made with this encoder."""
        if runtime != "openvino-int8" or not self.calibrations:
            return runtime
        first, *more = self.calibrations
        if more:
            raise RuntimeMissingError(
                f"this encoder was calibrated on {len(self.calibrations)} sets of frames; name "
                "one: " + ", ".join(f"runtime={runtime}:{made}" for made in self.calibrations)
            )
        return f"{runtime}:{first}"

    def faster_dtype(self, runtime: str = "eager") -> str:
        """Return the faster precision of a runtime for one frame on this encoder's device.

        On a processor both are measured once for some seconds, and the result is stored on this
        machine. int8 does not depend on the precision.

        Args:
            runtime: see ``use_runtime``.

        Returns:
            "bfloat16" or "float32".
        """
        if self.device.type != "cpu":
            return "bfloat16"
        if runtime.startswith("openvino-int8"):
            return "float32"
        return faster_dtype(runtime, self.token_model, self._tiles_of_a_frame())

    def with_runtime(self, name: str) -> Self:
        """Return another encoder that shares the weights and has a runtime of its own.

        Args:
            name: see ``use_runtime``.
        """
        own = (self.spec, self.backbone, self.device, self.max_tiles_per_batch)
        other = type(self)(*own, self._named(name))
        other.calibrations = self.calibrations
        return other

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever ``mode`` is."""
        del mode
        return super().train(False)

    @property
    def spec(self) -> EncoderSpec:
        """Every option that decides the embeddings, and the digest of the weights as they are now.

        Weights that were trained further or edited are no longer those of the encoder's name: a
        warning tells so once for each state of them, since what is saved with such a spec cannot
        make the encoder again. ``layout.spec`` is the spec at the encoder's making.
        """
        spec, digest = self.layout.spec, self.backbone.weights_digest
        if digest not in (self.backbone.loaded_digest, self._warned):
            self._warned = digest
            warnings.warn(
                f"the weights of {spec.backbone} were changed after they were loaded: their digest "
                f"is {digest[:12]} instead of {self.backbone.loaded_digest[:12]}. What is saved "
                "with this encoder (policies, features, records) names weights that cannot be "
                "found by that name. To use it again, save encoder.backbone.model.state_dict() as "
                "a safetensors file with a model card, and load file:CARD.json",
                UserWarning,
                stacklevel=2,
            )
        return dataclasses.replace(spec, weights_digest=digest)

    # -------------------------------------------------------------------------------------- sizes
    @property
    def device(self) -> torch.device:
        """Device of the backbone and of the embeddings."""
        return self.token_model.device

    @property
    def inference(self) -> dict[str, Any]:
        """Runtime, precision in force and class of the device, JSON-able.

        They decide the last digits of an embedding; a runtime has its version, or the digests of
        its models. "resizing" tells a GPU's embeddings from those of earlier versions, which
        resized in floats there.
        """
        described = {k: v for k, v in self.runtime.describe().items() if k != "torch"}
        pixels = self.backbone.card.preprocessing
        if self.device.type != "cpu" and pixels.resampler == "uint8" and pixels.antialias:
            described["resizing"] = "int32"
        return {
            "runtime": {**described, "exact": self.runtime.exact},
            "dtype": self.layout.spec.dtype,
            "device": self.device.type,
        }

    @property
    def scale_layouts(self) -> list[ScaleLayout]:
        """Layout of each scale, in the spec's order."""
        return list(self.layout.scales.values())

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
        """Tiles of all scales."""
        return self.layout.tiles

    @property
    def gflops_per_frame(self) -> float:
        """10⁹ floating-point operations a frame; a multiply-add counts as two."""
        return sum(
            self.backbone.gflops(scale_layout.tiles, scale_layout.tile_size)
            for scale_layout in self.scale_layouts
        )

    # -------------------------------------------------------------------------------------- steps
    def tiles(self, frames: Tensor, scale_layouts: Sequence[ScaleLayout]) -> list[Tensor]:
        """Cut frames into the tiles of each scale.

        Args:
            frames: ``(B, H, W, 3)`` uint8 on the encoder's device.
            scale_layouts: some of ``layout.scales``.

        Returns:
            ``(n · B, 3, h, w)`` in 0-255 for each scale. Tiles run row by row as the slow index,
            frames as the fast one.
        """
        pixels, spec = self.backbone.card.preprocessing, self.layout.spec
        shapes = [scale_layout.image_shape for scale_layout in scale_layouts]
        images = pyramid(frames.permute(0, 3, 1, 2), shapes, pixels, spec.input_mode, spec.geometry)
        return [
            split_tiles(image, scale_layout.rows, scale_layout.columns)
            for image, scale_layout in zip(images, scale_layouts, strict=True)
        ]

    def no_features(self, scale_layouts: Sequence[ScaleLayout]) -> dict[float, Tensor]:
        """Return the features of no frames: ``(0, *stored_shape)`` float32 of each scale.

        Args:
            scale_layouts: some of ``layout.scales``.
        """
        return {p.scale: torch.zeros(0, *p.stored_shape, device=self.device) for p in scale_layouts}

    def tokens(self, tiles: Tensor, runtime: Runtime | None = None) -> Tensor:
        """Run the backbone on tiles.

        Args:
            tiles: ``(N, 3, h, w)`` in 0-255.
            runtime: as ``runtime_for`` returns it; None for the encoder's own.

        Returns:
            ``(N, P + gh · gw, C)`` float32: P prefix tokens, then the grid row by row.
        """
        # In one memory layout, or a patch embedding's last bits depend on how tiles were picked.
        runtime = self.runtime if runtime is None else runtime
        return runtime(tiles.contiguous())

    def tokens_of_batches(self, batches: Sequence[Tensor], runtime: Runtime) -> list[Tensor]:
        """Run the backbone on several batches of tiles, in as few calls as possible.

        On a CPU, tiles that are equal in every pixel are encoded once, where a check has shown that
        this changes no bit; see ``DistinctTiles``.

        Args:
            batches: ``(N_i, 3, h_i, w_i)`` in 0-255 each.
            runtime: as ``runtime_for`` returns it.

        Returns:
            The tokens ``(N_i, P + g_i, C)`` of each batch, as ``tokens`` returns them.
        """
        shares = self.device.type == "cpu" and runtime.exact and not self.token_model.trains

        def encode(tiles: Tensor) -> Tensor:
            parts = tiles.split(self.max_tiles_per_batch)
            return torch.cat([self.tokens(part, runtime) for part in parts])

        def encode_once(tiles: Tensor) -> Tensor:
            return self._distinct.encode(tiles.contiguous(), encode, runtime.name)

        return map_tiles(encode_once if shares else encode, batches)

    def pool(
        self,
        tokens: Tensor,
        scale_layout: ScaleLayout,
        frame_shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """Reduce the tokens of one scale to its features; see ``EmbeddingLayout.pool``.

        Args:
            tokens: ``(n · B, P + g, C)`` of the scale's tiles.
            scale_layout: one of ``layout.scales``.
            frame_shape: (height, width) of the frames [px], which geometry "padded" needs.

        Returns:
            ``(B, *stored_shape)`` float32.
        """
        return self.layout.pool(tokens, scale_layout, frame_shape)

    def merge(self, features: Mapping[float, Tensor]) -> Tensor:
        """Merge features by scale, as ``pool`` returns them, to embeddings ``(B, D)``."""
        return self.layout.merge(features)
