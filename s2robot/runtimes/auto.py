"""Choice of a runtime: by name, or the fastest exact one by a measurement that is stored."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2robot.backbones.checkpoints import changes_of
from s2robot.errors import S2RobotError, install_command
from s2robot.runtimes.base import Runtime, RuntimeMissingError, TokenModel
from s2robot.runtimes.cuda_graph import CudaGraphRuntime
from s2robot.runtimes.eager import CompiledRuntime, EagerRuntime
from s2robot.runtimes.int8 import Int8Runtime
from s2robot.runtimes.measurement import identity, measured, remembered
from s2robot.runtimes.names import AUTO, checked_name
from s2robot.runtimes.onnx import OnnxRuntime
from s2robot.runtimes.openvino import OpenVinoRuntime
from s2robot.runtimes.other_work import BUSY
from s2robot.utils.console import MESSAGES
from s2robot.utils.provenance import optional_versions

MAKERS: dict[str, Callable[[TokenModel, bool], Runtime]] = {
    "eager": EagerRuntime,
    "compile": CompiledRuntime,
    "cuda-graph": CudaGraphRuntime,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVinoRuntime,
    "openvino-int8": Int8Runtime,
}
CANDIDATES = {"cpu": ("eager", "openvino", "onnxruntime"), "cuda": ("eager", "cuda-graph")}
"""What "auto" measures: exact, and ready within seconds, which ``torch.compile`` is not."""
_STAND_INS = {"onnxruntime": "openvino"}
"""Runtimes that are measured only where another one cannot be used, which was never slower."""
FIXED = "S2ROBOT_RUNTIME"
"""Environment variable with the name of the exact runtime that "auto" takes unmeasured."""
_SILENT_S = 1.0
"""A measurement that took longer is told in a line."""
logger = logging.getLogger("s2robot")
Size = tuple[int, int, int]
"""Number of tiles of one call, and their height and width [px]."""


def make_runtime(name: str, model: TokenModel, bf16: bool) -> Runtime:
    """Make a runtime by name.

    Args:
        name: one of ``RUNTIMES``, or "openvino-int8:CALIBRATION" for one calibration of several.
        model: the model to run.
        bf16: in bfloat16 rather than float32.

    Raises:
        ValueError: the name is unknown.
        RuntimeMissingError: the runtime is not installed, or not for that device.

    Examples:
        >>> import torch
        >>> from s2robot.backbones import load_backbone
        >>> model = TokenModel(load_backbone("random/vitt16-128"), "grid")
        >>> runtime = make_runtime("eager", model, False)
        >>> tuple(runtime(torch.zeros(2, 3, 128, 128)).shape)
        (2, 65, 192)
    """
    kind, _, calibration = checked_name(name).partition(":")
    if kind == AUTO and candidates(model.device.type) != ("eager",):
        return AutoRuntime(model, bf16)
    if kind == AUTO:
        return EagerRuntime(model, bf16)
    if calibration:
        return Int8Runtime(model, bf16, calibration)
    return MAKERS[kind](model, bf16)


class AutoRuntime:
    """The fastest exact runtime for each number of tiles, measured at the first call of its size.

    Numbers of tiles from one power of two to the next share a measurement, which is kept on the
    machine. Weights that take gradients, or were changed since this object was made, are run by
    eager PyTorch, which follows every change at no cost.

    Any thread may call it.
    """

    name = AUTO
    exact = True

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        self.model = model
        self.bf16 = bf16
        self.candidates = candidates(model.device.type)
        self._made: dict[str, Runtime] = {}
        self._chosen: dict[tuple[Size, ...], Runtime] = {}
        self._changes = self._seen_changes()
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[AutoRuntime], tuple[TokenModel, bool]]:
        """Copy and pickle the model; a copy makes its own runtimes."""
        return AutoRuntime, (self.model, self.bf16)

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the float32 tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)`` in 0-255."""
        count, _, height, width = tiles.shape
        return self.for_tiles([(count, height, width)])(tiles)

    def for_tiles(self, sizes: Sequence[Size]) -> Runtime:
        """Return the fastest runtime for calls of these sizes, one call for each tile size.

        Args:
            sizes: number, height and width of the tiles of each call.
        """
        asks = any(parameter.requires_grad for parameter in self.model.parameters())
        if asks or len(self.candidates) == 1 or not all(count for count, _, _ in sizes):
            return self.named(self.candidates[0] if not asks else "eager")
        with self._lock:
            if self._seen_changes() != self._changes:
                return self.named("eager")
            key = tuple((_bucket(count), height, width) for count, height, width in sizes)
            if key not in self._chosen:
                self._chosen[key] = self._fastest(sizes, key)
            return self._chosen[key]

    def named(self, name: str) -> Runtime:
        """Return the runtime of a name; it is made once, so that graphs are shared.

        Raises:
            RuntimeMissingError: it is not installed, or not for that device.
        """
        with self._lock:
            if name not in self._made:
                self._made[name] = MAKERS[name](self.model, self.bf16)
            return self._made[name]

    def usable(self) -> list[Runtime]:
        """Return the candidates that are installed; none is converted yet."""
        found = []
        for name in self.candidates:
            try:
                found.append(self.named(name))
            except RuntimeMissingError:
                continue
        return found

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def _seen_changes(self) -> tuple[tuple[int, int], ...]:
        return changes_of([*self.model.parameters(), *self.model.buffers()])

    def _fastest(self, sizes: Sequence[Size], key: Sequence[Size]) -> Runtime:
        names = self.candidates
        asked = {
            **identity(self.model, [[count, 3, height, width] for count, height, width in key]),
            "bfloat16": self.bf16,
            "candidates": list(names),
        }
        started = time.perf_counter()
        fresh: list[bool] = []

        def measure() -> dict[str, Any]:
            fresh.append(True)
            device = self.model.device
            batches = [torch.zeros(n, 3, h, w, device=device) for n, h, w in sizes]
            makers = {name: functools.partial(self.named, name) for name in names}
            return measured(makers, batches, _STAND_INS)

        known = remembered(asked, names, measure, again_when_quiet=True)
        logger.info("runtime %s of %s", known["fastest"], known["milliseconds"])
        if fresh and time.perf_counter() - started > _SILENT_S:
            self._tell(known, sum(count for count, _, _ in sizes))
        return self.named(known["fastest"])

    def _tell(self, known: dict[str, Any], tiles: int) -> None:
        times = sorted(known["milliseconds"].items(), key=lambda item: item[1])
        listed = ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in times)
        count = "1 tile" if tiles == 1 else f"{tiles} tiles"
        text = f"runtime auto: {listed} for {count} of {self.model.backbone.card.name}"
        if "cannot be imported" in known["left_out"].get("openvino", ""):
            text += f"; OpenVINO is often faster: {install_command('runtimes')}"
        kept = "kept for this machine"
        if known["other_work"] > BUSY:
            share = f"{known['other_work']:.0%}"
            kept = f"other programs had {share} of the cores, so it is measured again without them"
        MESSAGES.print(f"{text}; {kept}")


def candidates(device: str) -> tuple[str, ...]:
    """Return the names of the exact runtimes that "auto" chooses from.

    Args:
        device: class of the device, "cpu" or "cuda".

    Raises:
        S2RobotError: ``S2ROBOT_RUNTIME`` names no such runtime.
    """
    names = CANDIDATES.get(device, ("eager",))
    fixed = os.environ.get(FIXED)
    if not fixed:
        return names
    if fixed not in names:
        raise S2RobotError(
            f"the environment variable {FIXED} is {fixed!r}; allowed on the device {device}: "
            f"{', '.join(names)}, or unset it so that runtime auto measures"
        )
    return (fixed,)


def exact_descriptions() -> list[tuple[str, dict[str, Any]]]:
    """Return the device and the description of each exact runtime that "auto" may take.

    Those of a GPU come first. No runtime is made for it.
    """
    installed = optional_versions()
    return [
        (device, {"name": name, **({name: installed[name]} if name in installed else {})})
        for device in reversed(CANDIDATES)
        for name in CANDIDATES[device]
    ]


def _bucket(count: int) -> int:
    """Return the power of two at or below a number of tiles."""
    return 1 << (count.bit_length() - 1)
