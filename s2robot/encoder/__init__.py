"""Frames to embeddings: tiles, tokens, pooling; whole, streaming, selective and single-frame."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FrameEncoder": "s2robot.encoder.frame_encoder",
}
"""Where names are that this package was a module of; imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
