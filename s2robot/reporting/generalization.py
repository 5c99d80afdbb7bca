"""Generalization: the same policies from the same initial states in nominal and perturbed scenes.

Larger models may generalize better to rare examples (arXiv 2403.13043, section 4.1). The runs of a
sweep with ``eval_levels=[precise,hard]`` show it for each encoder size and scale set.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from s2robot.reporting.comparisons import Comparison, adjusted, compare_pair
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
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


def generalization(groups: Sequence[ComparisonGroup], metric: str) -> list[Generalization]:
    """Compare the variants of each two groups that differ in appearance alone.

    Initial state i is the same in both groups, so outcomes are paired by initial state and seed.

    Args:
        groups: all groups of a report.
        metric: one of ``METRICS``.

    Returns:
        One table for each two groups. p-values are Holm-adjusted over all tables.
    """
    found = [
        table
        for first, second in itertools.permutations(groups, 2)
        if _pairable(first, second) and (table := _table(first, second, metric)).pairs
    ]
    families = adjusted(table.pairs for table in found)
    return [
        replace(table, pairs=tuple(pairs)) for table, pairs in zip(found, families, strict=True)
    ]


def _pairable(nominal: ComparisonGroup, perturbed: ComparisonGroup) -> bool:
    first, second = nominal.variants[0].info, perturbed.variants[0].info
    shares = first.get("rare_share"), second.get("rare_share")
    return shares == (0, 1) and _shared_settings(first) == _shared_settings(second)


def _shared_settings(info: Mapping[str, Any]) -> list[Any]:
    """Return the settings that must be equal for the episodes of two runs to be paired."""
    demos = info.get("demos") or {}
    return [info["policy_kind"], demos.get("digest"), info["conditions"]["starts"]]


def _table(nominal: ComparisonGroup, perturbed: ComparisonGroup, metric: str) -> Generalization:
    on_perturbed = {digest_of(variant.info["encoder"]): variant for variant in perturbed.variants}
    pairs = []
    for variant in nominal.variants:
        other = on_perturbed.get(digest_of(variant.info["encoder"]))
        seeds = sorted(variant.finished_seeds() & other.finished_seeds()) if other else []
        if other and seeds:
            both = _with_seeds(variant, seeds), _with_seeds(other, seeds)
            pairs.append(compare_pair(*both, "appearance", seeds, metric))
    trained_on = str((nominal.variants[0].info.get("demos") or {}).get("level", ""))
    return Generalization(
        nominal.level, perturbed.level, nominal.policy_kind, trained_on, tuple(pairs)
    )


def _with_seeds(variant: VariantResults, seeds: Sequence[int]) -> VariantResults:
    """Return the variant with the runs of ``seeds`` alone, so that its rates are of the pairs."""
    return VariantResults(variant.label, tuple(run for run in variant.runs if run.seed in seeds))
