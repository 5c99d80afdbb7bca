"""Choice of a runtime: by name, or the fastest exact one by a measurement that is stored."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

from torch import Tensor

from s2robot.errors import unknown
from s2robot.runtimes.base import Runtime, TokenModel
from s2robot.runtimes.cuda_graph import CudaGraphRuntime
from s2robot.runtimes.eager import CompiledRuntime, EagerRuntime
from s2robot.runtimes.int8 import Int8Runtime
from s2robot.runtimes.measurement import identity, measured, remembered
from s2robot.runtimes.onnx import OnnxRuntime
from s2robot.runtimes.openvino import OpenVinoRuntime

MAKERS: dict[str, Callable[[TokenModel, bool], Runtime]] = {
    "eager": EagerRuntime,
    "compile": CompiledRuntime,
    "cuda-graph": CudaGraphRuntime,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVinoRuntime,
    "openvino-int8": Int8Runtime,
}
RUNTIMES = ("auto", *MAKERS)
"""Names of all runtimes."""
CANDIDATES = {"cpu": ("eager", "openvino", "onnxruntime"), "cuda": ("eager", "cuda-graph")}
"""What "auto" measures: exact, and ready within seconds, which ``torch.compile`` is not."""
logger = logging.getLogger("s2robot")


def make_runtime(name: str, model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> Runtime:
    """Make a runtime by name.

    Args:
        name: one of ``RUNTIMES``, or "openvino-int8:CALIBRATION" for one calibration of several.
        model: the model to run.
        bf16: in bfloat16 rather than float32.
        batches: tiles of one frame, one batch for each tile size;
            "auto" is measured on them.

    Raises:
        ValueError: the name is unknown.
        RuntimeMissingError: the runtime is not installed, or not for that device.

    Examples:
        >>> import torch
        >>> from s2robot.backbones import load_backbone
        >>> model = TokenModel(load_backbone("random/vitt16-128"), "grid")
        >>> tiles = torch.zeros(2, 3, 128, 128)
        >>> runtime = make_runtime("eager", model, False, [tiles])
        >>> tuple(runtime(tiles).shape)
        (2, 65, 192)
    """
    kind, _, calibration = checked_name(name).partition(":")
    if kind == "auto":
        return _fastest(model, bf16, batches)
    if calibration:
        return Int8Runtime(model, bf16, calibration)
    return MAKERS[kind](model, bf16)


def checked_name(name: str) -> str:
    """Return the name of a runtime, such as "auto" or "openvino-int8:CALIBRATION".

    Raises:
        ValueError: no runtime has this name, or it takes no calibration.
    """
    kind, colon, calibration = name.partition(":")
    if kind not in RUNTIMES:
        raise unknown("runtime", kind, RUNTIMES)
    if colon and (kind != Int8Runtime.name or not calibration):
        raise ValueError(
            f"runtime {name!r}: only {Int8Runtime.name} takes the identity of a calibration, as "
            f"{Int8Runtime.name}:IDENTITY; `encoder.calibrate(frames)` returns it"
        )
    return name


def _fastest(model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> Runtime:
    names = CANDIDATES.get(model.device.type, ("eager",))
    key = {**identity(model, batches), "bfloat16": bf16, "candidates": list(names)}
    makers = {name: functools.partial(MAKERS[name], model, bf16) for name in names}
    known = remembered(key, names, lambda: measured(makers, batches))
    logger.info("runtime %s of %s", known["fastest"], known["milliseconds"])
    return MAKERS[known["fastest"]](model, bf16)
