"""Ordinary and rare appearance side by side: the same policies on the same starts.

Larger models are said to generalise better on rare examples (arXiv 2403.13043, section 4.1). Cells
of a sweep with ``eval_levels=[precise,hard]`` show it size by size and scale set by scale set.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.stats.paired_tests import holm, mcnemar, paired_difference
from s2robot.utils.io import digest_of


@dataclass(frozen=True)
class Generalization:
    """Two levels that differ in appearance alone, and every arm that was rolled out on both."""

    nominal: str
    perturbed: str
    policy_kind: str
    trained_on: str
    """Level of the demonstrations; empty if the cells do not say."""
    pairs: tuple[Comparison, ...]
    """``first`` is the arm on the ordinary level and ``second`` the same arm on the rare one."""


def generalization(groups: Sequence[ComparisonGroup], metric: str) -> list[Generalization]:
    """Pair the groups that differ in appearance alone; p-values are Holm-adjusted over all pairs.

    Condition i of both starts from the same state, so outcomes are paired by condition and seed.
    """
    found = [
        table
        for first, second in itertools.permutations(groups, 2)
        if _pairable(first, second) and (table := _table(first, second, metric)).pairs
    ]
    p_values = [pair.pooled.p_value for table in found for pair in table.pairs]
    adjusted = iter(holm(p_values))
    return [
        dataclasses.replace(
            table,
            pairs=tuple(
                dataclasses.replace(pair, adjusted_p=next(adjusted), family=len(p_values))
                for pair in table.pairs
            ),
        )
        for table in found
    ]


def _pairable(nominal: ComparisonGroup, perturbed: ComparisonGroup) -> bool:
    first, second = nominal.variants[0].info, perturbed.variants[0].info
    coverage = first.get("rare_share"), second.get("rare_share")
    return coverage == (0, 1) and _made_alike(first) == _made_alike(second)


def _made_alike(info: Any) -> list[Any]:
    """What two cells must share for their episodes to be paired."""
    demos = info.get("demos") or {}
    return [info["policy_kind"], demos.get("digest"), info["conditions"]["starts"]]


def _table(nominal: ComparisonGroup, perturbed: ComparisonGroup, metric: str) -> Generalization:
    on_rare = {digest_of(variant.info["encoder"]): variant for variant in perturbed.variants}
    pairs = []
    for variant in nominal.variants:
        other = on_rare.get(digest_of(variant.info["encoder"]))
        seeds = sorted(variant.finished_seeds() & other.finished_seeds()) if other else []
        if other and seeds:
            pairs.append(_compare(variant, other, seeds, metric))
    trained_on = str((nominal.variants[0].info.get("demos") or {}).get("level", ""))
    return Generalization(
        nominal.level, perturbed.level, nominal.policy_kind, trained_on, tuple(pairs)
    )


def _compare(
    nominal: VariantResults, perturbed: VariantResults, seeds: Sequence[int], metric: str
) -> Comparison:
    a, b = nominal.outcomes(seeds, metric), perturbed.outcomes(seeds, metric)  # (S, C) each
    return Comparison(
        _of_seeds(nominal, seeds),
        _of_seeds(perturbed, seeds),
        "appearance",
        tuple(seeds),
        a.shape[1],
        paired_difference(a, b),
        tuple(mcnemar(row_a, row_b) for row_a, row_b in zip(a, b, strict=True)),
        mcnemar(a, b),
    )


def _of_seeds(variant: VariantResults, seeds: Sequence[int]) -> VariantResults:
    """The arm with those cells alone, so that rates are those of the pairs."""
    return VariantResults(variant.label, tuple(run for run in variant.runs if run.seed in seeds))


def generalization_record(table: Generalization, metric: str) -> dict[str, Any]:
    """A JSON-able record of one table: counts, Wilson intervals and paired tests."""
    return {
        "ordinary": table.nominal,
        "rare": table.perturbed,
        "policy_kind": table.policy_kind,
        "trained_on": table.trained_on,
        "arms": [_row(pair, metric) for pair in table.pairs],
    }


def _row(pair: Comparison, metric: str) -> dict[str, Any]:
    difference = pair.difference
    return {
        "label": pair.first.label,
        "encoder": dict(pair.first.info["encoder"]),
        "parameters": pair.first.parameters,
        "seeds": list(pair.seeds),
        "conditions": pair.conditions,
        "ordinary": _counts(pair.first, metric),
        "rare": _counts(pair.second, metric),
        "difference": round(difference.estimate, 4),
        "interval_95": [round(difference.low, 4), round(difference.high, 4)],
        "mcnemar_pooled": {
            "only_ordinary": pair.pooled.only_first,
            "only_rare": pair.pooled.only_second,
            "p_value": pair.pooled.p_value,
        },
        "holm_adjusted_p": pair.adjusted_p,
        "shown": pair.distinguishable,
    }


def _counts(variant: VariantResults, metric: str) -> dict[str, Any]:
    successes, episodes = variant.count(metric)
    rate = variant.pooled(metric)
    wilson_95 = [round(rate.low, 4), round(rate.high, 4)]
    return {"successes": successes, "episodes": episodes, "wilson_95": wilson_95}
