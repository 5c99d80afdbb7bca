"""Generalization: the same policies from the same initial states in nominal and perturbed scenes.

Larger models may generalize better to rare examples (arXiv 2403.13043, section 4.1). The runs of a
sweep with ``eval_levels=[precise,hard]`` show it for each encoder size and scale set.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s2robot.evaluation.identity import comparable
from s2robot.reporting.comparisons import MARGIN, Comparison, adjusted, compare_pair
from s2robot.reporting.run_results import ComparisonGroup, RunResult, VariantResults
from s2robot.utils.io import digest_of


@dataclass(frozen=True)
class Generalization:
    """Two levels that differ in appearance alone, and the variants evaluated on both.

    Attributes:
        nominal: level without visual perturbations.
        perturbed: level with visual perturbations.
        policy_kind: kind of the policies.
        trained_on: level of the demonstrations; empty if the runs do not record it.
        pairs: one comparison a variant, its results on the perturbed level minus those on the
            nominal level.
    """

    nominal: str
    perturbed: str
    policy_kind: str
    trained_on: str
    pairs: tuple[Comparison, ...]


def generalization(
    groups: Sequence[ComparisonGroup], metric: str, margin: float = MARGIN
) -> list[Generalization]:
    """Compare the variants of each two groups that differ in appearance alone.

    Initial state i starts alike in both groups, so outcomes are paired by it. The two levels'
    policies are the same, but the model takes them for others, so that intervals are too wide
    rather than too narrow.

    Args:
        groups: all groups of a report.
        metric: one of ``METRICS``.
        margin: difference of success rates that is too small to matter.

    Returns:
        One table for each two groups. p-values are Holm-adjusted over all tables.
    """
    found = [
        table
        for first, second in itertools.permutations(groups, 2)
        if _pairable(first, second) and (table := _table(first, second, metric, margin)).pairs
    ]
    families = adjusted(table.pairs for table in found)
    return [
        replace(table, pairs=tuple(pairs)) for table, pairs in zip(found, families, strict=True)
    ]


def _pairable(nominal: ComparisonGroup, perturbed: ComparisonGroup) -> bool:
    first, second = nominal.variants[0], perturbed.variants[0]
    shares = first.info.get("rare_share"), second.info.get("rare_share")
    return shares == (0, 1) and _but_level(first, "encoder") == _but_level(second, "encoder")


def _but_level(variant: VariantResults, *further: str) -> str:
    """Return the digest of the settings without the level, and without further sections."""
    every = comparable(variant.settings)
    settings = {name: found for name, found in every.items() if name not in further}
    env = {k: v for k, v in (settings["task"].get("env") or {}).items() if k != "level"}
    return digest_of({**settings, "task": {**settings["task"], "level": None, "env": env}})


def _table(
    nominal: ComparisonGroup, perturbed: ComparisonGroup, metric: str, margin: float
) -> Generalization:
    on_perturbed = {_but_level(variant): variant for variant in perturbed.variants}
    pairs = []
    for variant in nominal.variants:
        other = on_perturbed.get(_but_level(variant))
        policies = None if other is None else _of_common_seeds(variant, other)
        pair = policies and compare_pair(
            *policies, metric, margin=margin, kind="appearance", name=RunResult.start_of
        )
        pairs += [pair] if pair else []
    trained_on = str((nominal.variants[0].info.get("demos") or {}).get("level", ""))
    return Generalization(
        nominal.level, perturbed.level, nominal.policy_kind, trained_on, tuple(pairs)
    )


def _of_common_seeds(
    first: VariantResults, second: VariantResults
) -> tuple[VariantResults, VariantResults] | None:
    """Return the variants with the finished runs of the same policies; None if there are none."""
    seeds = {run.seed for run in first.finished} & {run.seed for run in second.finished}
    if not seeds:
        return None
    one, other = (
        VariantResults(v.label, tuple(run for run in v.finished if run.seed in seeds))
        for v in (first, second)
    )
    return one, other
