"""Folder of downloaded weights, and whether the network may be used."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder for downloads.

    ``$S2ROBOT_HOME``, else ``$XDG_CACHE_HOME/s2robot``, else ``~/.cache/s2robot``; it need not
    exist.
    """
    if chosen := os.environ.get("S2ROBOT_HOME"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "s2robot"


def offline() -> bool:
    """Return whether ``S2ROBOT_OFFLINE`` or ``HF_HUB_OFFLINE`` is set to 1, true, yes or on."""
    values = (os.environ.get(name, "") for name in ("S2ROBOT_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in values)
