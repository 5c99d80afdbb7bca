"""The encoders of a policy's cameras: frames by camera in, one embedding with all channels out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.policies.dataset import joined_shape, side_by_side
from s2robot.runtimes.base import Runtime


class CameraEncoders:
    """Encoders of several cameras, which share the backbone and may have scales of their own.

    Embeddings lie side by side: at each place of the grid, the channels of the first camera, then
    those of the next. All cameras have one runtime, precision and device.

    Args:
        encoders: by camera, in the policy's order, at least one.

    Raises:
        ValueError: the cameras' embeddings do not lie side by side.
    """

    def __init__(self, encoders: Mapping[str, FrameEncoder]) -> None:
        self.encoders = dict(encoders)
        self.output_shape = joined_shape(
            {name: encoder.output_shape for name, encoder in self.encoders.items()}
        )

    @property
    def first(self) -> FrameEncoder:
        """Encoder of the first camera, which names runtime, device and precision of all."""
        return next(iter(self.encoders.values()))

    @property
    def spec(self) -> EncoderSpec:
        """Spec of the first camera's encoder."""
        return self.first.spec

    @property
    def runtime(self) -> Runtime:
        """Runtime of all cameras."""
        return self.first.runtime

    @property
    def device(self) -> torch.device:
        """Device of all cameras."""
        return self.first.device

    @property
    def inference(self) -> dict[str, Any]:
        """Description of the arithmetic, as ``FrameEncoder.inference``."""
        return self.first.inference

    def __call__(self, frames: Mapping[str, Any]) -> torch.Tensor:
        """Return the embeddings ``(B, D)`` float32, on the device, of frames by camera.

        Args:
            frames: ``(B, H, W, 3)`` uint8 of each camera.

        Raises:
            KeyError: a camera is missing.
            ValueError: frames have another shape.
            NonFiniteError: the embedding of a frame is NaN or infinite.
        """
        return self.joined([each(frames[name]) for name, each in self.encoders.items()])

    def joined(self, embeddings: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the embeddings ``(B, D)`` float32 of all cameras side by side.

        Args:
            embeddings: of each camera, in order, ``(B, d)`` float32.
        """
        shapes = [each.output_shape for each in self.encoders.values()]
        return side_by_side(embeddings, *shapes)

    def stream(self) -> Callable[[Mapping[str, Any]], torch.Tensor]:
        """Return what encodes only the tiles that changed since each camera's last frame."""
        return self._with({name: each.stream() for name, each in self.encoders.items()})

    def selective(self, budget: int, choose: str) -> Callable[[Mapping[str, Any]], torch.Tensor]:
        """Return an encoder with a budget of tiles for each camera; see ``FrameEncoder.selective``.

        Args:
            budget: most tiles a frame of a camera.
            choose: how tiles are chosen.

        Raises:
            ValueError: tiles are chosen by the policy's attention.
        """
        check_choice(choose, budget, list(self.encoders))
        made = {name: each.selective(budget, choose) for name, each in self.encoders.items()}
        return self._with(made)

    def _with(
        self, encoders: Mapping[str, Callable[[Any], torch.Tensor]]
    ) -> Callable[[Mapping[str, Any]], torch.Tensor]:
        return lambda frames: self.joined([each(frames[name]) for name, each in encoders.items()])

    def with_runtime_of(self, first: FrameEncoder) -> CameraEncoders:
        """Return encoders with the runtime of another encoder of the first camera.

        Args:
            first: as ``FrameEncoder.with_runtime`` or ``for_batches_of`` returns it.
        """
        if first is self.first:
            return self
        made = {id(self.first): first}  # cameras of equal scales share an encoder
        for encoder in self.encoders.values():
            if id(encoder) not in made:
                made[id(encoder)] = encoder.with_runtime(first.runtime.name)
                made[id(encoder)].chosen_by_auto = first.chosen_by_auto
        return CameraEncoders({name: made[id(each)] for name, each in self.encoders.items()})


def check_choice(choice: str, budget: int | None, cameras: Sequence[str]) -> None:
    """Refuse a choice of tiles that several cameras do not have.

    Args:
        choice: how tiles are chosen.
        budget: most tiles a frame; None encodes all.
        cameras: names of several cameras.

    Raises:
        ValueError: tiles are chosen by the policy's attention.
    """
    if budget is not None and choice == "attention":
        raise ValueError(
            "rollout.tile_choice is attention, which belongs to the grid of one camera; the "
            f"policy has {len(cameras)}: {', '.join(cameras)}. Allowed: motion, random"
        )


def with_scales(encoder: FrameEncoder, scales: Sequence[float]) -> FrameEncoder:
    """Return an encoder with other scales, which shares the backbone.

    Args:
        encoder: any.
        scales: of the returned one.

    Raises:
        ValueError: an option of the encoder does not go with these scales.
    """
    if tuple(scales) == tuple(encoder.spec.scales):
        return encoder
    spec = dataclasses.replace(encoder.spec, scales=tuple(scales))
    own = (encoder.backbone, encoder.device, encoder.max_tiles_per_batch)
    calibration = getattr(encoder.runtime, "calibration", None)
    name = encoder.runtime.name
    made = FrameEncoder(spec, *own, f"{name}:{calibration}" if calibration else name)
    made.calibrations = encoder.calibrations
    return made


def encoders_of(
    encoder: FrameEncoder, cameras: Sequence[Mapping[str, Any]]
) -> FrameEncoder | CameraEncoders:
    """Return the encoder of a policy's cameras; that of one camera is the encoder itself.

    Args:
        encoder: with the scales of all cameras without their own.
        cameras: of the policy, as ``cameras_of`` returns them: name, and scales of its own.
    """
    if len(cameras) < 2:
        return encoder
    default, made = encoder.spec.scales, {tuple(encoder.spec.scales): encoder}
    for camera in cameras:
        scales = tuple(camera.get("scales", default))
        if scales not in made:
            made[scales] = with_scales(encoder, scales)
    return CameraEncoders({str(c["name"]): made[tuple(c.get("scales", default))] for c in cameras})
