"""Runtimes of the backbone behind one switch: PyTorch, CUDA graphs, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from s2robot.runtimes.names import AUTO, RUNTIMES, checked_name

if TYPE_CHECKING:
    from s2robot.runtimes.auto import AutoRuntime, exact_descriptions, make_runtime
    from s2robot.runtimes.base import (
        Runtime,
        RuntimeFailedError,
        RuntimeMissingError,
        TokenModel,
        difference,
    )
    from s2robot.runtimes.calibrations import Calibration
    from s2robot.runtimes.int8 import calibrate
    from s2robot.runtimes.precision import faster_dtype, warn_if_slow

_HOMES = {
    "AutoRuntime": "s2robot.runtimes.auto",
    "Calibration": "s2robot.runtimes.calibrations",
    "Runtime": "s2robot.runtimes.base",
    "RuntimeFailedError": "s2robot.runtimes.base",
    "RuntimeMissingError": "s2robot.runtimes.base",
    "TokenModel": "s2robot.runtimes.base",
    "calibrate": "s2robot.runtimes.int8",
    "difference": "s2robot.runtimes.base",
    "exact_descriptions": "s2robot.runtimes.auto",
    "faster_dtype": "s2robot.runtimes.precision",
    "make_runtime": "s2robot.runtimes.auto",
    "warn_if_slow": "s2robot.runtimes.precision",
}
"""Modules of the names that need PyTorch; imported on first use."""

__all__ = [
    "AUTO",
    "RUNTIMES",
    "AutoRuntime",
    "Calibration",
    "Runtime",
    "RuntimeFailedError",
    "RuntimeMissingError",
    "TokenModel",
    "calibrate",
    "checked_name",
    "difference",
    "exact_descriptions",
    "faster_dtype",
    "make_runtime",
    "warn_if_slow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
