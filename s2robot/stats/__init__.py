"""Intervals and tests as pure functions of counts and arrays."""

from __future__ import annotations

import importlib
from typing import Any

from s2robot.utils.deprecation import moved_names

_HOMES = {
    "Interval": "s2robot.stats.intervals",
    "McNemar": "s2robot.stats.paired_tests",
    "fisher": "s2robot.stats.paired_tests",
    "holm": "s2robot.stats.paired_tests",
    "mcnemar": "s2robot.stats.paired_tests",
    "paired_difference": "s2robot.stats.paired_tests",
    "pairs_needed": "s2robot.stats.paired_tests",
    "rollouts_needed": "s2robot.stats.paired_tests",
    "wilson": "s2robot.stats.intervals",
}
"""Module of each public name; `s2robot.stats` was one module, and imports them on first use."""

_OLD = (
    "BOOTSTRAP_DRAWS",
    "BOOTSTRAP_SEED",
    "block_draws",
    "limits",
)
"""Further names that this package had as a module."""

_old_name = moved_names(__name__, dict.fromkeys(_OLD, "s2robot.stats.intervals"))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        return _old_name(name)
    return getattr(importlib.import_module(_HOMES[name]), name)
