"""The whole encoder as one ONNX file, from camera frames to embeddings."""

from __future__ import annotations

import importlib
from typing import Any

from s2robot.utils.deprecation import moved_names

_HOMES = {
    "ExportError": "s2robot.export.onnx",
    "Exported": "s2robot.export.onnx",
    "export_encoder": "s2robot.export.onnx",
}
"""Where names are that this package was a module of; imported on first use."""

_OLD = (
    "AGREEMENT",
    "HALF_AGREEMENT",
    "MOST_BYTES",
    "ROUNDED_AGREEMENT",
    "allowed_difference",
    "by_dynamo",
    "by_torchscript",
    "compare",
    "fold_resizes",
    "halve_weights",
    "metadata_of",
    "some_frames",
)
"""Further names that this package had as a module."""

_old_name = moved_names(__name__, dict.fromkeys(_OLD, "s2robot.export.onnx"))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return _old_name(name)
    return getattr(importlib.import_module(_HOMES[name]), name)
