"""Intervals and tests as pure functions of counts and arrays."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Interval": "s2robot.stats.intervals",
    "McNemar": "s2robot.stats.intervals",
    "fisher": "s2robot.stats.intervals",
    "holm": "s2robot.stats.intervals",
    "mcnemar": "s2robot.stats.intervals",
    "paired_difference": "s2robot.stats.intervals",
    "pairs_needed": "s2robot.stats.intervals",
    "rollouts_needed": "s2robot.stats.intervals",
    "wilson": "s2robot.stats.intervals",
}
"""Where names are that this package was a module of; imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
