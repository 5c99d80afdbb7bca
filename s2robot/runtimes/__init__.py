"""Runtimes of the backbone behind one switch: PyTorch, CUDA graphs, ONNX Runtime, OpenVINO."""

from s2robot.runtimes.auto import RUNTIMES, make_runtime
from s2robot.runtimes.base import (
    Runtime,
    RuntimeFailedError,
    RuntimeMissingError,
    TokenModel,
    difference,
)
from s2robot.runtimes.int8 import Calibration, calibrate

__all__ = [
    "RUNTIMES",
    "Calibration",
    "Runtime",
    "RuntimeFailedError",
    "RuntimeMissingError",
    "TokenModel",
    "calibrate",
    "difference",
    "make_runtime",
]
