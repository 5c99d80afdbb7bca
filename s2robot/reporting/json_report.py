"""The numbers of a report as JSON: counts, intervals, comparisons, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from s2robot.reporting.comparisons import Comparison, compare_groups
from s2robot.reporting.generalization import side_by_side, side_by_side_record
from s2robot.reporting.run_results import METRICS, Arm, Group


def results(groups: Sequence[Group], metric: str) -> dict[str, Any]:
    """A JSON-able record of every arm and every paired comparison.

    ``metric`` is the one that comparisons are made on; counts are given for all.
    """
    per_group = compare_groups(groups, metric)
    return {
        "metric": metric,
        "groups": [_group(g, pairs) for g, pairs in zip(groups, per_group, strict=True)],
        "side_by_side": [side_by_side_record(t, metric) for t in side_by_side(groups, metric)],
        "provenance": [dict(record) for record in _provenance(groups)],
    }


def _group(group: Group, pairs: Sequence[Comparison]) -> dict[str, Any]:
    conditions = group.arms[0].info["conditions"]
    return {
        "level": group.level,
        "policy_kind": group.policy_kind,
        "conditions": dict(conditions),
        "demonstrations": dict(group.arms[0].info.get("demos") or {}),
        "arms": [_arm(arm) for arm in group.arms],
        "comparisons": [_comparison(pair) for pair in pairs],
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "label": arm.label,
        "encoder": dict(arm.info["encoder"]),
        "parameters": arm.parameters,
        "gflops_per_frame": round(arm.gflops, 4),
        "embedding_dim": arm.embedding_dim,
        "latency_ms_one_frame": {
            quantile: arm.latency_ms("single_frame", "total", quantile)
            for quantile in ("p50", "p95")
        },
        **{metric: _counts(arm, metric) for metric in METRICS},
        "failure_stages": arm.stages(),
        "head": [_head(cell.info.get("head") or {}) for cell in arm.cells][:1],
    }


def _counts(arm: Arm, metric: str) -> dict[str, Any]:
    successes, episodes = arm.count(metric)
    rate = arm.pooled(metric)
    return {
        "successes": successes,
        "episodes": episodes,
        "wilson_95": [round(rate.low, 4), round(rate.high, 4)],
        "per_seed": {
            str(cell.seed): [sum(bool(row[metric]) for row in cell.rows), len(cell.rows)]
            for cell in arm.cells
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


def _provenance(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Distinct records, in the order met."""
    found: list[dict[str, Any]] = []
    for group in groups:
        for arm in group.arms:
            for cell in arm.cells:
                record = cell.info.get("provenance")
                if record and record not in found:
                    found.append(record)
    return found
