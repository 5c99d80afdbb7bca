"""Names of the runtimes and the opset, checked by settings and command lines without PyTorch."""

from __future__ import annotations

from s2robot.errors import unknown

AUTO = "auto"
INT8 = "openvino-int8"
RUNTIMES = (AUTO, "eager", "compile", "cuda-graph", "onnxruntime", "openvino", INT8)
"""Names of all runtimes."""
OPSET = 18
"""Lowest version of ONNX's operators that is written; also the default."""


def checked_name(name: str) -> str:
    """Return the name of a runtime, such as "auto" or "openvino-int8:CALIBRATION".

    Raises:
        ValueError: no runtime has this name, or it takes no calibration.
    """
    kind, colon, calibration = name.partition(":")
    if kind not in RUNTIMES:
        raise unknown("runtime", kind, RUNTIMES)
    if colon and (kind != INT8 or not calibration):
        raise ValueError(
            f"runtime {name!r}: only {INT8} takes the identity of a calibration, as "
            f"{INT8}:IDENTITY; `encoder.calibrate(frames)` returns it"
        )
    return name
