"""Download of published weight files: web, hub, cache."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "download":  # a function when this package was a module; the module can be called
        return importlib.import_module("s2robot.backbones.download.download")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
