"""Encoders of camera frames: whole frames, streams, selected tiles and single frames."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FrameEncoder": "s2robot.encoder.frame_encoder",
}
"""Modules of the names that this package had when it was a module; imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
