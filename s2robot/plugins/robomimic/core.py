"""A frozen encoder as one of robomimic's encoder cores."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from robomimic.models.obs_core import EncoderCore
from torch import Tensor

from s2robot.backbones import Backbone
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.errors import MismatchError

OWN_OPTIONS = ("backbone", "weights", "runtime", "save_backbone")
"""Entries of ``core_kwargs`` besides the options of the encoder."""

_shared: weakref.WeakValueDictionary[str, FrameEncoder] = weakref.WeakValueDictionary()
"""Encoders by their options: cameras with equal ones share one, and its memory."""


class SmallFrameWarning(UserWarning):
    """Frames are smaller than the image of a scale, which then holds interpolated pixels alone."""


class S2Core(EncoderCore):
    """A frozen S² encoder: images ``(B, 3, H, W)`` in 0-1 to embeddings ``(B, D)``.

    Images are those that robomimic hands over, 8-bit pixels divided by 255; they are brought back
    to 8 bits, so embeddings equal those of the frames. The backbone is no submodule: no optimizer
    sees it, ``set_train()`` leaves it in evaluation mode, and checkpoints hold its digest, or also
    its weights. Cores with equal options share one backbone.

    robomimic applies a ReLU to what cores return. It is left out for this one, as it is for
    low-dimensional observations: so a policy sees the same in the network and from a cache.

    Args:
        input_shape: (3, H, W) of the images, filled in by robomimic.
        backbone: name of a backbone, see `s2robot encoders`.
        weights: file with its weights; None downloads them if need be.
        runtime: see ``FrameEncoder.use_runtime``.
        save_backbone: whether checkpoints hold the backbone's weights too.
        options: those of ``EncoderSpec``: scales, readout, input_mode, layers, ... The device is
            that of the images.

    Raises:
        ValueError: an option is unknown or out of its range, or images have another shape.

    Examples:
        >>> core = S2Core((3, 144, 144), backbone="random/vitt16-128", scales=[1], readout="mean")
        >>> tuple(core(torch.zeros(2, 3, 144, 144)).shape), core.output_shape()
        ((2, 192), [192])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        backbone: str = "s2r-vitt16-128",
        weights: str | None = None,
        runtime: str = "auto",
        save_backbone: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(input_shape=list(input_shape))
        if len(input_shape) != 3 or input_shape[0] != 3:
            raise ValueError(
                f"S2Core takes RGB images of shape (3, height, width); the observation has the "
                f"shape {tuple(input_shape)}. Give it to the keys of modality rgb alone"
            )
        self.save_backbone, self._runtime = save_backbone, runtime
        arguments = {"backbone": backbone, "weights": weights, "runtime": runtime, **options}
        self._held = (_encoder_of(arguments),)  # in a tuple: not a submodule
        warn_of_small_frames(self.encoder, *input_shape[1:])

    @property
    def encoder(self) -> FrameEncoder:
        """The encoder, which cores with equal options share."""
        return self._held[0]

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Return embeddings ``(B, D)`` of images ``(B, 3, H, W)``, float in 0-1.

        Raises:
            ValueError: images have another shape or type.
        """
        if tuple(inputs.shape[1:]) != tuple(self.input_shape):
            raise ValueError(
                f"S2Core was made for images {tuple(self.input_shape)} and got "
                f"{tuple(inputs.shape[1:])}: is the camera another one, or of another size?"
            )
        if self.encoder.device != inputs.device:
            self.encoder.to(inputs.device)
            self.encoder.use_runtime(self._runtime)  # those of one device do not serve another
        found = self.encoder(inputs.permute(0, 2, 3, 1).contiguous())
        found._s2robot_embedding = True  # pyright: ignore[reportAttributeAccessIssue]
        return found

    def output_shape(self, input_shape: Sequence[int] | None = None) -> list[int]:
        """Return [D], whatever the images' size."""
        del input_shape
        return [self.encoder.embedding_dim]

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the spec as JSON, and by choice the weights."""
        state: dict[str, Any] = {"spec": json.dumps(self.encoder.spec.to_dict(), sort_keys=True)}
        if self.save_backbone:
            state["weights"] = self.encoder.backbone.model.state_dict()
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Compare a checkpoint's encoder with this one.

        Raises:
            MismatchError: the checkpoint is of another encoder, or of other weights.
        """
        there, here = json.loads(state["spec"]), self.encoder.spec.to_dict()
        if "weights" in state and there["weights_digest"] != here["weights_digest"]:
            self._held = (_with_weights(self.encoder, there["weights_digest"], state["weights"]),)
            here = self.encoder.spec.to_dict()
        differing = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        if differing:
            listed = "; ".join(
                f"{key}: there {there.get(key)}, here {here.get(key)}" for key in differing
            )
            raise MismatchError(
                f"the checkpoint was trained with another encoder than this S2Core has ({listed}). "
                "Give core_kwargs the options and the weights that it was trained with"
            )

    def __repr__(self) -> str:
        """Describe the core in one line."""
        return f"S2Core({self.encoder!r})"


def warn_of_small_frames(encoder: FrameEncoder, height: int, width: int) -> None:
    """Warn where frames are smaller than the image of a scale.

    Args:
        encoder: of the frames.
        height: of the frames [px].
        width: of the frames [px].
    """
    spec, layouts = encoder.spec, encoder.layout.scales.values()
    largest = max(side for layout in layouts for side in layout.image_shape)
    if spec.input_mode == "native" and min(height, width) < largest:
        warnings.warn(
            f"images of {height} x {width} px are smaller than the {largest} px that scales "
            f"{list(spec.scales)} of {spec.backbone} look at: the larger ones see interpolated "
            "pixels alone. Record larger images, or take fewer scales",
            SmallFrameWarning,
            stacklevel=3,
        )


def _signature() -> inspect.Signature:
    """Return the signature with the encoder's options by name, from which robomimic filters."""
    own = list(inspect.signature(S2Core.__init__).parameters.values())[:-1]
    kind = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(name, kind, default=described.default)
        for name, described in ENCODER_OPTIONS.items()
    ]
    return inspect.Signature([*own, *options])


S2Core.__init__.__signature__ = _signature()  # pyright: ignore[reportFunctionMemberAccess]


def _encoder_of(arguments: dict[str, Any]) -> FrameEncoder:
    """Return the encoder of a core's options, one for all cores that have the same."""
    key = json.dumps(arguments, sort_keys=True, default=str)
    found = _shared.get(key)
    if found is None:
        found = _made(**arguments)
        _shared[key] = found
    return found


def _with_weights(encoder: FrameEncoder, digest: str, weights: dict[str, Tensor]) -> FrameEncoder:
    """Return an encoder with other weights, one for all cores that load the same ones."""
    key = json.dumps([encoder.spec.to_dict(), encoder.runtime.name, digest], sort_keys=True)
    found = _shared.get(key)
    if found is None:
        model = copy.deepcopy(encoder.backbone.model)
        model.load_state_dict(weights)
        backbone = Backbone(encoder.backbone.card, model)
        spec = dataclasses.replace(encoder.spec, weights_digest=backbone.weights_digest)
        found = FrameEncoder(spec, backbone, encoder.device, runtime=encoder.runtime.name)
        _shared[key] = found
    return found


def _made(
    backbone: str, weights: str | None, runtime: str, scales: Any = (1,), **options: Any
) -> FrameEncoder:
    make: Callable[..., FrameEncoder] = FrameEncoder.from_name
    options = {name: _tuples(value) for name, value in options.items()}
    path = None if weights is None else Path(weights)
    return make(backbone, scales, weights=path, device="cpu", runtime=runtime, **options)


def _tuples(value: Any) -> Any:
    """Return lists of JSON as tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
