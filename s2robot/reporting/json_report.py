"""The numbers of a report as JSON: counts, intervals, comparisons, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from s2robot.reporting.comparisons import Comparison, compare_groups
from s2robot.reporting.generalization import generalization, generalization_record
from s2robot.reporting.run_results import METRICS, ComparisonGroup, VariantResults


def results(groups: Sequence[ComparisonGroup], metric: str) -> dict[str, Any]:
    """A JSON-able record of every arm and every paired comparison.

    ``metric`` is the one that comparisons are made on; counts are given for all.
    """
    per_group = compare_groups(groups, metric)
    return {
        "metric": metric,
        "groups": [_group(g, pairs) for g, pairs in zip(groups, per_group, strict=True)],
        "side_by_side": [generalization_record(t, metric) for t in generalization(groups, metric)],
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
        "head": [_head(run.info.get("head") or {}) for run in variant.runs][:1],
    }


def _counts(variant: VariantResults, metric: str) -> dict[str, Any]:
    successes, episodes = variant.count(metric)
    rate = variant.pooled(metric)
    return {
        "successes": successes,
        "episodes": episodes,
        "wilson_95": [round(rate.low, 4), round(rate.high, 4)],
        "per_seed": {
            str(run.seed): [sum(bool(row[metric]) for row in run.rows), len(run.rows)]
            for run in variant.runs
        },
    }


def _head(head: dict[str, Any]) -> dict[str, Any]:
    """The chosen head without the list of all trials, which the policy file keeps."""
    return {key: value for key, value in head.items() if key != "trials"}


def _comparison(pair: Comparison) -> dict[str, Any]:
    difference = pair.difference
    return {
        "question": pair.kind,
        "first": pair.first.label,
        "second": pair.second.label,
        "seeds": list(pair.seeds),
        "conditions": pair.conditions,
        "difference": round(difference.estimate, 4),
        "interval_95": [round(difference.low, 4), round(difference.high, 4)],
        "mcnemar_pooled": dataclasses.asdict(pair.pooled),
        "mcnemar_per_seed": [dataclasses.asdict(test) for test in pair.per_seed],
        "holm_adjusted_p": pair.adjusted_p,
        "shown": pair.distinguishable,
    }


def _provenance(groups: Sequence[ComparisonGroup]) -> list[dict[str, Any]]:
    """Distinct records, in the order met."""
    found: list[dict[str, Any]] = []
    for group in groups:
        for variant in group.variants:
            for run in variant.runs:
                record = run.info.get("provenance")
                if record and record not in found:
                    found.append(record)
    return found
