"""bfloat16 or float32 on a processor: decided by a measurement, which is kept on the machine.

Some processors multiply bfloat16 faster than float32, others more slowly.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from s2robot.errors import PrecisionWarning, S2RobotError
from s2robot.runtimes.auto import AutoRuntime, make_runtime
from s2robot.runtimes.base import Runtime, RuntimeMissingError, TokenModel
from s2robot.runtimes.measurement import identity, machine, measured, remembered
from s2robot.utils.provenance import cpu_flags

FIXED = "S2ROBOT_DTYPE"
"""Environment variable that keeps dtype "auto" at float32 on processors, with the value float32."""
_TIMED_AS = {"compile": "eager"}
"""Runtimes that are too slow to set up for a measurement, and which is timed in their place."""
_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Instruction sets with products of bfloat16: of x86 (the first two), of ARM."""
_ROUNDS = 5
_PRECISIONS = ("bfloat16", "float32")


def has_bfloat16() -> bool:
    """Return whether this processor has instructions for products of bfloat16.

    Others compute bfloat16 as well, several times more slowly than float32. Outside of Linux, where
    instruction sets are not known, the answer is no.
    """
    return not _INSTRUCTIONS.isdisjoint(cpu_flags())


def is_fixed_to_float32() -> bool:
    """Return whether the environment keeps dtype "auto" at float32 on processors.

    Raises:
        S2RobotError: ``S2ROBOT_DTYPE`` is neither unset nor float32.
    """
    fixed = os.environ.get(FIXED)
    if fixed not in (None, "", "float32"):
        raise S2RobotError(
            f"the environment variable {FIXED} is {fixed!r}; allowed: float32, or unset it so that "
            "dtype auto takes bfloat16 where the processor is faster with it"
        )
    return bool(fixed)


def precision_times(name: str, model: TokenModel, batches: Sequence[Tensor]) -> dict[str, Any]:
    """Return the times of a frame in both precisions by a runtime on a processor.

    Args:
        name: of the runtime, see ``make_runtime``.
        model: the model to run.
        batches: tiles of one frame, one batch for each tile size.

    Returns:
        ``milliseconds`` by precision ("bfloat16", "float32"), ``left_out``: why one is missing, and
        ``fastest``.
    """
    timed = _TIMED_AS.get(name, name)

    def in_bfloat16() -> Runtime:
        runtime = _named(timed, model, True, batches)
        for batch in batches:
            runtime(batch)
        if runtime.describe().get("precision", "bf16") != "bf16":
            raise RuntimeMissingError(
                f"runtime {runtime.name} computes in float32 on this processor, although bfloat16 "
                "is asked for"
            )
        return runtime

    makers = {
        "bfloat16": in_bfloat16,
        "float32": lambda: _named(timed, model, False, batches),
    }
    key = {**identity(model, [batch.shape for batch in batches]), "precisions_of": timed}
    return remembered(key, tuple(makers), lambda: measured(makers, batches))


def _named(name: str, model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> Runtime:
    """Return the runtime of a name; for "auto", the one that it takes for these batches."""
    runtime = make_runtime(name, model, bf16)
    if not isinstance(runtime, AutoRuntime):
        return runtime
    return runtime.for_tiles([(len(b), b.shape[-2], b.shape[-1]) for b in batches])


def faster_dtype(name: str, model: TokenModel, batches: Sequence[Tensor]) -> str:
    """Return "bfloat16" unless a runtime is slower with it on this processor, then "float32".

    Args are those of ``precision_times``.
    """
    return precision_times(name, model, batches)["fastest"] or "float32"


def warn_if_slow(name: str, model: TokenModel, batches: Sequence[Tensor]) -> None:
    """Warn if bfloat16 is slower than float32 on this processor, or is not computed at all.

    Args are those of ``precision_times``.
    """
    times = precision_times(name, model, batches)
    if times["fastest"] == "bfloat16":
        return
    milliseconds = times["milliseconds"]
    if "bfloat16" in milliseconds:
        low, full = milliseconds["bfloat16"], milliseconds["float32"]
        text = (
            f"bfloat16 takes {low / full:.1f} times as long as float32 here: {low:.0f} against "
            f"{full:.0f} ms a frame of {model.backbone.card.name} with runtime {name}, measured on "
            "this processor; dtype float32 is faster"
        )
    else:
        text = f"{times['left_out']['bfloat16']}; dtype float32 says so in the results"
    warnings.warn(text, PrecisionWarning, stacklevel=2)


def bfloat16_trains_faster() -> bool:
    """Return whether this processor is faster with bfloat16 in a training step's matrix products.

    The products of a small transformer's layer are timed, forward and backward.
    """
    key = {**machine(), "measured": "training products"}
    return remembered(key, _PRECISIONS, _training_products)["fastest"] == "bfloat16"


def _training_products() -> dict[str, Any]:
    shortest: dict[str, float] = {}
    layers = nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384))
    tokens = torch.ones(1024, 384)
    for _ in range(_ROUNDS):
        for name in _PRECISIONS:
            took = _step_milliseconds(layers, tokens, name == "bfloat16")
            shortest[name] = min(took, shortest.get(name, took))
    fastest = min(shortest, key=lambda name: shortest[name])
    return {"fastest": fastest, "milliseconds": shortest, "left_out": {}}


@torch.enable_grad()
def _step_milliseconds(layers: nn.Module, tokens: Tensor, bf16: bool) -> float:
    started = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = layers(tokens)
    out.float().sum().backward()
    return round((time.perf_counter() - started) * 1000, 3)
