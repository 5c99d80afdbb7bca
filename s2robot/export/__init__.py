"""The whole encoder as one ONNX file, from camera frames to embeddings."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ExportError": "s2robot.export.onnx",
    "Exported": "s2robot.export.onnx",
    "export_encoder": "s2robot.export.onnx",
}
"""Where names are that this package was a module of; imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
