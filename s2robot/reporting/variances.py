"""How much success varies between training seeds, initial states and episodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from s2robot.errors import CorruptFileError
from s2robot.reporting.run_results import ComparisonGroup, RunResult, outcomes
from s2robot.stats.clustered import VarianceComponents, variance_components
from s2robot.stats.power import Layout
from s2robot.stats.sample_sizes import Measured
from s2robot.utils.io import read_jsonl


def measured_components(groups: Sequence[ComparisonGroup], metric: str) -> Measured | None:
    """Return the variance components of the group with most finished runs.

    They are means over all pairs of encoders (of baselines, where there are none), or those of a
    single variant.

    Args:
        groups: finished runs are used.
        metric: one of ``METRICS``.

    Returns:
        None if no variant has two finished training seeds.
    """
    group = max(groups, key=lambda group: sum(run.finished for run in group.runs))
    members = group.encoders or group.variants
    variants = [variant for variant in members if len(variant.finished) > 1]
    if not variants:
        return None
    found = {variant.label: outcomes(variant.finished, metric) for variant in variants}
    pairs = list(itertools.combinations(found.values(), 2))
    parts = [variance_components(*pair) for pair in pairs] or [variance_components(*found.values())]
    means = (
        math.sqrt(np.mean([getattr(part, name) ** 2 for part in parts]))
        for name in ("seed_sd", "interaction_sd", "residual_sd")
    )
    runs = [run for variant in variants for run in variant.finished]
    seeds = ", ".join(str(len(variant.finished)) for variant in variants)
    source = (
        f"measured on {group.level}, {group.policy_kind}: {len(variants)} "
        f"variant{'s' * (len(variants) > 1)} with {seeds} training seeds"
    )
    return Measured(VarianceComponents(*means), source, _layout(runs), _seconds_per_episode(runs))


def _layout(runs: Sequence[RunResult]) -> Layout:
    """Return "nested" if no two seeds of a variant began in the same initial state."""
    by_variant: dict[str, list[str]] = {}
    for run in runs:
        by_variant.setdefault(run.variant_key, []).extend(row["condition"] for row in run.rows)
    apart = all(len(set(names)) == len(names) for names in by_variant.values())
    return "nested" if apart else "crossed"


def _seconds_per_episode(runs: Sequence[RunResult]) -> float | None:
    """Return the mean duration of a rollout, without training."""
    milliseconds = episodes = 0.0
    for run in runs:
        try:
            batches = read_jsonl(run.path / "timing.jsonl")
            series = [v for batch in batches for key, v in batch.items() if key != "start"]
            spent = math.fsum(value for values in series for value in values)
        except (CorruptFileError, OSError, TypeError, ValueError, OverflowError):
            continue  # the duration of this run is unknown
        if batches and 0 <= spent < math.inf:
            milliseconds += spent
            episodes += len(run.rows)
    return milliseconds / 1000 / episodes if episodes else None
