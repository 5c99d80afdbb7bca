"""Intervals and tests as pure functions of counts and arrays."""

from __future__ import annotations

import importlib
from typing import Any

from s2robot.utils.deprecation import moved_names

LEAST_SEEDS = 3
"""Fewer seeds give no verdict."""
_HOMES = {
    "ClusteredDifference": "s2robot.stats.clustered",
    "Interval": "s2robot.stats.intervals",
    "McNemar": "s2robot.stats.paired_tests",
    "Outcomes": "s2robot.stats.clustered",
    "SequentialFamily": "s2robot.stats.sequential_family",
    "VarianceComponents": "s2robot.stats.clustered",
    "anytime_equivalence_p": "s2robot.stats.sequential",
    "anytime_p_value": "s2robot.stats.sequential",
    "clustered_difference": "s2robot.stats.clustered",
    "clustered_rate": "s2robot.stats.clustered",
    "confidence_sequence": "s2robot.stats.sequential",
    "e_values": "s2robot.stats.sequential",
    "equivalence_p": "s2robot.stats.clustered",
    "fisher": "s2robot.stats.paired_tests",
    "holm": "s2robot.stats.paired_tests",
    "mcnemar": "s2robot.stats.paired_tests",
    "paired_difference": "s2robot.stats.paired_tests",
    "pairs_needed": "s2robot.stats.paired_tests",
    "rollouts_needed": "s2robot.stats.paired_tests",
    "seeds_needed": "s2robot.stats.power",
    "smallest_difference": "s2robot.stats.power",
    "variance_components": "s2robot.stats.clustered",
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
