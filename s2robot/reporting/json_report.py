"""The numbers of a report as JSON: counts, intervals, comparisons, provenance.

Keys are part of the file format and keep their names ("arms", "conditions", "ordinary", "rare").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.generalization import Generalization
from s2robot.reporting.run_results import METRICS, ComparisonGroup, VariantResults


def results(
    groups: Sequence[ComparisonGroup],
    comparisons: Sequence[Sequence[Comparison]],
    tables: Sequence[Generalization],
    metric: str,
) -> dict[str, Any]:
    """Return every variant and every paired comparison as JSON-able values.

    Args:
        groups: the variants.
        comparisons: those of each group.
        tables: of generalization to perturbed scenes.
        metric: the one that comparisons were made on; counts are given for all.
    """
    return {
        "metric": metric,
        "groups": [_group(g, pairs) for g, pairs in zip(groups, comparisons, strict=True)],
        "side_by_side": [generalization_record(table, metric) for table in tables],
        "provenance": [dict(record) for record in _provenance(groups)],
    }


def _group(group: ComparisonGroup, pairs: Sequence[Comparison]) -> dict[str, Any]:
    conditions = group.variants[0].info["conditions"]
    return {
        "level": group.level,
        "policy_kind": group.policy_kind,
        "conditions": dict(conditions),
        "demonstrations": dict(group.variants[0].info.get("demos") or {}),
        "arms": [_variant(variant) for variant in group.variants],
        "comparisons": [_comparison(pair) for pair in pairs],
    }


def _variant(variant: VariantResults) -> dict[str, Any]:
    return {
        "label": variant.label,
        "encoder": dict(variant.info["encoder"]),
        "parameters": variant.parameters,
        "gflops_per_frame": round(variant.gflops, 4),
        "embedding_dim": variant.embedding_dim,
        "latency_ms_one_frame": {
            quantile: variant.latency_ms("single_frame", "total", quantile)
            for quantile in ("p50", "p95")
        },
        **{metric: _counts(variant, metric) for metric in METRICS},
        "failure_stages": variant.stages(),
        "head": [dict(run.hyperparameters) for run in variant.runs][:1],
    }


def _pooled_counts(variant: VariantResults, metric: str) -> dict[str, Any]:
    successes, episodes = variant.count(metric)
    rate = variant.pooled(metric)
    wilson_95 = [round(rate.low, 4), round(rate.high, 4)]
    return {"successes": successes, "episodes": episodes, "wilson_95": wilson_95}


def _counts(variant: VariantResults, metric: str) -> dict[str, Any]:
    return {
        **_pooled_counts(variant, metric),
        "per_seed": {
            str(run.seed): [sum(bool(row[metric]) for row in run.rows), len(run.rows)]
            for run in variant.runs
        },
    }


def _comparison(pair: Comparison) -> dict[str, Any]:
    difference = pair.difference
    return {
        "question": pair.kind,
        "first": pair.first.label,
        "second": pair.second.label,
        "seeds": list(pair.seeds),
        "conditions": pair.initial_states,
        "difference": round(difference.estimate, 4),
        "interval_95": [round(difference.low, 4), round(difference.high, 4)],
        "mcnemar_pooled": dataclasses.asdict(pair.pooled),
        "mcnemar_per_seed": [dataclasses.asdict(test) for test in pair.per_seed],
        "holm_adjusted_p": pair.adjusted_p,
        "shown": pair.distinguishable,
    }


def generalization_record(table: Generalization, metric: str) -> dict[str, Any]:
    """Return one table as JSON-able values: counts, Wilson intervals and paired tests.

    Args:
        table: the variants on both levels.
        metric: one of ``METRICS``; the comparisons were made on it.
    """
    return {
        "ordinary": table.nominal,
        "rare": table.perturbed,
        "policy_kind": table.policy_kind,
        "trained_on": table.trained_on,
        "arms": [_generalization_row(pair, metric) for pair in table.pairs],
    }


def _generalization_row(pair: Comparison, metric: str) -> dict[str, Any]:
    difference = pair.difference
    return {
        "label": pair.first.label,
        "encoder": dict(pair.first.info["encoder"]),
        "parameters": pair.first.parameters,
        "seeds": list(pair.seeds),
        "conditions": pair.initial_states,
        "ordinary": _pooled_counts(pair.first, metric),
        "rare": _pooled_counts(pair.second, metric),
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


def _provenance(groups: Sequence[ComparisonGroup]) -> list[dict[str, Any]]:
    """Return the distinct records in the order of the runs."""
    found: list[dict[str, Any]] = []
    for group in groups:
        for variant in group.variants:
            for run in variant.runs:
                record = run.info.get("provenance")
                if record and record not in found:
                    found.append(record)
    return found
