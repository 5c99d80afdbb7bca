"""Runtimes of the backbone behind one switch: PyTorch, CUDA graphs, ONNX Runtime, OpenVINO."""

from s2robot.runtimes.auto import (
    AUTO,
    RUNTIMES,
    AutoRuntime,
    checked_name,
    exact_descriptions,
    make_runtime,
)
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
