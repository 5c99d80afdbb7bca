"""Choice of a runtime: by name, or the fastest exact one by a measurement that is stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2robot.errors import CorruptFileError, unknown
from s2robot.runtimes.base import Runtime, RuntimeFailedError, RuntimeMissingError, TokenModel
from s2robot.runtimes.eager import CompiledRuntime, CudaGraphRuntime, EagerRuntime
from s2robot.runtimes.int8 import Int8Runtime
from s2robot.runtimes.onnx import OnnxRuntime
from s2robot.runtimes.openvino import OpenVinoRuntime
from s2robot.utils.io import digest_of, jsonable, locked, read_json, write_json
from s2robot.utils.paths import home
from s2robot.utils.provenance import gpu_name, optional_versions, processor, versions
from s2robot.utils.records import record_of

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
_ROUNDS = 10
"""Candidates are timed in turn and the shortest time counts, so that other work on the machine does
not decide."""

logger = logging.getLogger("s2robot")


def make_runtime(name: str, model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> Runtime:
    """Make a runtime by name.

    Args:
        name: one of ``RUNTIMES``.
        model: the model to run.
        bf16: in bfloat16 rather than float32.
        batches: tiles of one frame, one batch for each tile size;
            "auto" is measured on them.

    Raises:
        ValueError: the name is unknown.
        RuntimeMissingError: the runtime is not installed, or not for that device.

    Examples:
        >>> from s2robot.backbones import load_backbone
        >>> model = TokenModel(load_backbone("random/vitt16-128"), "grid")
        >>> tiles = torch.zeros(2, 3, 128, 128)
        >>> runtime = make_runtime("eager", model, False, [tiles])
        >>> tuple(runtime(tiles).shape)
        (2, 65, 192)
    """
    if name not in RUNTIMES:
        raise unknown("runtime", name, RUNTIMES)
    if name == "auto":
        return _fastest(model, bf16, batches)
    return MAKERS[name](model, bf16)


def _fastest(model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> Runtime:
    identity = _identity(model, bf16, batches)
    path = home() / "runtimes" / f"{digest_of(identity)[:24]}.json"
    with locked(path):
        known = _read(path, identity, model)
        if known is None:
            known = {**identity, **_measure(model, bf16, batches)}
            write_json(path, known)
    logger.info("runtime %s of %s", known["fastest"], known["milliseconds"])
    return MAKERS[known["fastest"]](model, bf16)


@dataclass(frozen=True)
class _Measurement:
    """Those entries of a stored measurement that decide."""

    fastest: str
    milliseconds: dict[str, float]


def _read(path: Path, identity: dict[str, Any], model: TokenModel) -> dict[str, Any] | None:
    """Return a stored measurement; None where there is none of this model that can be read.

    An approximate runtime, which is no candidate, is never taken from a file.
    """
    try:
        known = read_json(path)
        times = record_of(_Measurement, known, path, "it is measured again").milliseconds
    except (FileNotFoundError, CorruptFileError):
        return None
    same = {key: known.get(key) for key in identity} == jsonable(identity)
    allowed = times and set(times) <= set(_candidates(model))
    return known if same and allowed and known["fastest"] in times else None


def _identity(model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> dict[str, Any]:
    """Return everything that the measurement depends on."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": gpu_name() if model.device.type == "cuda" else None,
        "architecture": model.backbone.card.architecture.to_dict(),
        "stage": model.pooling,
        "taps": list(model.layers),
        "bfloat16": bf16,
        "tiles": [list(batch.shape) for batch in batches],
        "packages": optional_versions(),
        "torch": versions()["torch"],
    }


def _candidates(model: TokenModel) -> tuple[str, ...]:
    return CANDIDATES.get(model.device.type, ("eager",))


def _measure(model: TokenModel, bf16: bool, batches: Sequence[Tensor]) -> dict[str, Any]:
    """Shortest milliseconds a frame of every candidate, and why the others were left out."""
    ready: dict[str, Runtime] = {}
    left_out: dict[str, str] = {}
    for name in _candidates(model):
        try:
            ready[name] = MAKERS[name](model, bf16)
            milliseconds_of(ready[name], batches)  # converts, sets itself up
        except (RuntimeMissingError, RuntimeFailedError) as error:
            ready.pop(name, None)
            left_out[name] = str(error)
    rounds = [{n: milliseconds_of(r, batches) for n, r in ready.items()} for _ in range(_ROUNDS)]
    shortest = {name: min(times[name] for times in rounds) for name in ready}
    fastest = min(shortest, key=lambda name: shortest[name])
    return {"fastest": fastest, "milliseconds": shortest, "left_out": left_out}


@torch.no_grad()
def milliseconds_of(runtime: Runtime, batches: Sequence[Tensor]) -> float:
    """Return the milliseconds that a runtime takes for the tiles of one frame.

    Args:
        runtime: to be timed.
        batches: tiles, one batch for each tile size.
    """
    started = time.perf_counter()
    for batch in batches:
        tokens = runtime(batch)
        if tokens.is_cuda:
            torch.cuda.synchronize(tokens.device)
    return round((time.perf_counter() - started) * 1000, 3)
