"""The numbers of a report as JSON: counts, intervals, comparisons, problems, provenance.

Keys are part of the file format and keep their names ("arms", "conditions", "ordinary", "rare").
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from s2robot.experiments.sequential_results import SequentialResults
from s2robot.reporting import METRICS
from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.generalization import Generalization
from s2robot.reporting.report import Report
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.reporting.tradeoff.answers import answers
from s2robot.reporting.tradeoff.sweet_spots import COSTS, at_deadline, sweet_spots

FORMAT = 2
"""Format of ``report.json``; 2: rates and comparisons of the clustered model, with verdicts."""


def results(report: Report, deadline_ms: float | None = None) -> dict[str, Any]:
    """Return every variant and every comparison of a report as JSON-able values.

    Args:
        report: the content.
        deadline_ms: time that encoder and policy may take for one frame [ms]; None for none.
    """
    groups = zip(report.groups, report.comparisons, strict=True)
    return {
        "format": FORMAT,
        "metric": report.metric,
        "deadline_ms": deadline_ms,
        "groups": [
            _group(group, pairs) | _tradeoff(group, pairs, report.metric, deadline_ms)
            for group, pairs in groups
        ],
        "sequential": [_sequential(each) for each in report.sequential],
        "side_by_side": [generalization_record(table, report.metric) for table in report.tables],
        "problems": [dataclasses.asdict(problem) for problem in report.problems],
        "missing": list(report.missing),
        "provenance": _distinct(
            run.info.get("provenance") for group in report.groups for run in group.runs
        ),
    }


def _sequential(results: SequentialResults) -> dict[str, Any]:
    plan = results.content["plan"]
    questions = [pair["question"] for pair in plan["pairs"]]
    return {
        "metric": results.metric,
        "conditions_per_seed": plan["initial_states"],
        "pairs": [
            {"question": question, "first": first["label"], "second": second["label"]}
            | test.record()
            for question, (first, second, test) in zip(questions, results.pairs, strict=True)
        ],
        "episodes": dict(results.content["episodes"]),
        "failed": [dict(row) for row in results.content["failed"]],
    }


def _group(group: ComparisonGroup, pairs: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "level": group.level,
        "policy_kind": group.policy_kind,
        "conditions": _distinct(run.info["conditions"] for run in group.runs),
        "demonstrations": dict(group.variants[0].info.get("demos") or {}),
        "settings": {k: v for k, v in group.settings.items() if k != "encoder"},
        "arms": [_variant(variant) for variant in group.variants],
        "comparisons": [comparison_record(pair) for pair in pairs],
    }


def _tradeoff(
    group: ComparisonGroup, pairs: Sequence[Comparison], metric: str, deadline_ms: float | None
) -> dict[str, Any]:
    """Return answers and sweet spots; a difference stays second minus first everywhere."""
    spots = {cost: sweet_spots(group, pairs, metric, cost) for cost in COSTS}
    found: dict[str, Any] = {
        "answers": [
            {"family": each.family, "answer": each.word, "text": each.text}
            for each in answers(group, pairs)
        ],
        "sweet_spots": {cost: [each.record() for each in own] for cost, own in spots.items()},
    }
    if deadline_ms is not None:
        found["within_deadline"] = at_deadline(group, spots["ms"], deadline_ms)
    return found


def _variant(variant: VariantResults) -> dict[str, Any]:
    gflops = variant.known_cost("gflops_per_frame")
    return {
        "label": variant.label,
        "key": variant.key,
        "encoder": dict(variant.encoder),
        "family": variant.family,
        "parameters": variant.known_cost("parameters"),
        "gflops_per_frame": None if gflops is None else round(gflops, 4),
        "embedding_dim": variant.known_cost("embedding_dim"),
        "latency_ms_one_frame": {
            quantile: variant.latency_ms("single_frame", "total", quantile)
            for quantile in ("p50", "p95")
        },
        **{metric: rate_record(variant, metric) for metric in METRICS},
        "failure_stages": variant.stages(),
        "heads": {str(run.seed): run.hyperparameters for run in variant.runs},
    }


def rate_record(variant: VariantResults, metric: str) -> dict[str, Any]:
    """Return a variant's counts and its success rate with the interval as JSON-able values.

    Args:
        variant: with one episode or more.
        metric: one of ``METRICS``.
    """
    successes, episodes = variant.count(metric)
    rate = variant.rate(metric)
    return {
        "successes": successes,
        "episodes": episodes,
        "rate": round(rate.estimate, 4),
        "interval_95": [round(rate.low, 4), round(rate.high, 4)],
        "seeds": list(variant.seeds),
        "per_seed": {str(run.seed): list(run.count(metric)) for run in variant.runs},
    }


def comparison_record(pair: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON-able values; a number that is not finite is null."""
    return {
        "question": pair.kind,
        "differs": list(pair.differs),
        "first": pair.first.label,
        "second": pair.second.label,
        **_tests(pair),
        "single_policies": [
            {"seed": seed, **dataclasses.asdict(test)} for seed, test in pair.single_policies
        ],
    }


def _tests(pair: Comparison) -> dict[str, Any]:
    difference, components = pair.difference, pair.components
    known = math.isfinite(difference.standard_error)
    return {
        "seeds": [list(seeds) for seeds in pair.seeds],
        "conditions": pair.initial_states,
        "conditions_per_seed": pair.states_per_seed,
        "unshared_conditions": list(pair.unshared),
        "difference": round(difference.estimate, 4),
        "interval_95": [round(difference.low, 4), round(difference.high, 4)],
        "standard_error": difference.standard_error if known else None,
        "dof": difference.dof,
        "p_value": difference.p_value,
        "holm_adjusted_p": pair.adjusted_p,
        "margin": pair.margin,
        "equivalence_p": pair.equivalence_p,
        "holm_adjusted_equivalence_p": pair.adjusted_equivalence_p,
        "verdict": pair.verdict,
        "shown": pair.shown,
        "variance_components": None if components is None else dataclasses.asdict(components),
        "sequential": None if pair.sequential is None else pair.sequential.record(),
    }


def generalization_record(table: Generalization, metric: str) -> dict[str, Any]:
    """Return one table as JSON-able values.

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
    return {
        "label": pair.first.label,
        "encoder": dict(pair.first.encoder),
        "parameters": pair.first.parameters,
        "ordinary": rate_record(pair.first, metric),
        "rare": rate_record(pair.second, metric),
        **_tests(pair),
    }


def _distinct(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the distinct records in the order of the runs."""
    found: list[dict[str, Any]] = []
    for record in records:
        if record and record not in found:
            found.append(dict(record))
    return found
