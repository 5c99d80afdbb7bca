"""Rows of the tables of the page, as text and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from s2robot.experiments.sequential_results import SequentialResults
from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.conclusions import differs_text, p_text, signed
from s2robot.reporting.page.task_words import stages_of
from s2robot.reporting.run_results import VariantResults
from s2robot.stats.intervals import Interval

STAGES = stages_of("easy")
"""Descriptions of the failure stages of pick-cube."""


def variant_row(variant: VariantResults, metric: str, key: str = "") -> dict[str, Any]:
    """Return a variant as text and numbers.

    Args:
        variant: with one episode or more.
        metric: one of ``METRICS``.
        key: names the variant on the page.
    """
    successes, episodes = variant.count(metric)
    at_end, _ = variant.count("success_at_end")
    stages, known = variant.stages(), stages_of(str(variant.info["level"]))
    return {
        "id": key,
        "label": variant.label,
        "is_baseline": variant.is_baseline,
        "readout": "" if variant.is_baseline else variant.readout,
        "parameters": _cost(variant, f"{variant.parameters / 1e6:.1f} M", variant.parameters),
        "gflops": _cost(variant, f"{variant.gflops:.3g}", variant.gflops),
        "embedding_dim": _cost(variant, f"{variant.embedding_dim:,}", variant.embedding_dim),
        "latency_single": _latency(variant, "single_frame", "total"),
        "latency_batched": _latency(variant, "per_frame"),
        "successes": successes,
        "at_end": at_end,
        "episodes": episodes,
        "rate": percents(variant.rate(metric)),
        "one_seed": len(variant.seeds) == 1,
        "seeds": [{"seed": seed, **percents(rate)} for seed, rate in variant.per_seed(metric)],
        "running": len(variant.running),
        "stages": [
            (key, stages[key], 100 * stages[key] / episodes) for key in known if key in stages
        ],
        "parameters_s": _sort_key(variant.known_cost("parameters")),
        "gflops_s": _sort_key(variant.known_cost("gflops_per_frame")),
        "embedding_s": _sort_key(variant.known_cost("embedding_dim")),
        "single_s": _sort_key(variant.latency_ms("single_frame", "total", "p50")),
        "batched_s": _sort_key(variant.latency_ms("per_frame", "p50")),
        "hyperparameters": _hyperparameters(variant),
    }


def percents(interval: Interval) -> dict[str, float]:
    """Return a rate and its limits in percent."""
    return {
        "mid": 100 * interval.estimate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
    }


def _sort_key(value: float | None) -> float | str:
    """Return what a table sorts a cell by; empty for an unknown value, which stays last."""
    return "" if value is None else value


def _cost(variant: VariantResults, text: str, number: float) -> str:
    """Return the text of a cost; "0" for a baseline, which has none, "–" where it is unknown."""
    if number:
        return text
    return "0" if variant.is_baseline else "–"


def _latency(variant: VariantResults, *path: str) -> str:
    median, tail = variant.latency_ms(*path, "p50"), variant.latency_ms(*path, "p95")
    if median is None or tail is None:
        return "–"
    return " / ".join(f"{value:.{1 if value >= 1 else 2}f}" for value in (median, tail))


def pair_row(pair: Comparison, ids: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a comparison as text and numbers.

    Args:
        pair: the comparison, second minus first.
        ids: names of the variants on the page, by their keys.
    """
    ids = ids or {}
    estimate, low, high = pair.limits
    p_value, adjusted, equivalence = pair.p_values
    return {
        "ids": " ".join(filter(None, (ids.get(pair.first.key), ids.get(pair.second.key)))),
        "first": pair.first.label,
        "second": pair.second.label,
        **percents(Interval(estimate, low, high)),
        "text": signed(100 * estimate),
        "limits": _limits(low, high),
        "differs": differs_text(pair),
        "seeds": " and ".join(map(str, dict.fromkeys(map(len, pair.seeds[::-1])))),
        "initial_states": pair.initial_states,
        "p": p_text(p_value),
        "p_values": (p_value, adjusted, equivalence),
        "adjusted": p_text(adjusted),
        "equivalence": p_text(equivalence),
        "margin": f"{100 * (pair.sequential or pair).margin:g}",
        "verdict": pair.verdict,
        "tone": _tone(pair.verdict),
        "is_sequential": pair.sequential is not None,
    }


def _limits(low: float, high: float) -> str:
    return f"{signed(100 * low)} to {signed(100 * high)}"


def _tone(verdict: str) -> str:
    return {"better": "yes", "worse": "no"}.get(verdict, "open")


def sequential(results: SequentialResults) -> dict[str, Any]:
    """Return one sequential sweep for the page."""
    content, plan = results.content, results.content["plan"]
    return {
        "metric": results.metric,
        "alpha": f"{100 * plan['alpha']:g}",
        "margin": f"{100 * plan['margin']:g}",
        "states": plan["initial_states"],
        "episodes": content["episodes"],
        "failed": [
            f"{results.variants[row['variant']]['label']}, seed {row['seed']}: {row['error']}"
            for row in content["failed"]
        ],
        "rows": [
            {
                "first": first["label"],
                "second": second["label"],
                "text": signed(100 * test.difference) if test.planned else "–",
                "limits": _limits(test.low, test.high),
                "seeds": test.seeds,
                "e_value": f"{test.e_value:.3g}",
                "p": p_text(test.p_value),
                "adjusted": p_text(test.adjusted_p),
                "equivalence": p_text(test.adjusted_equivalence_p),
                "verdict": test.verdict,
                "tone": _tone(test.verdict),
            }
            for first, second, test in results.pairs
        ],
    }


def _hyperparameters(variant: VariantResults) -> str:
    """Return what the hyperparameter search chose, one line a training seed."""
    lines = []
    for run in variant.runs:
        chosen = run.hyperparameters
        text = json.dumps(chosen, ensure_ascii=False) if chosen else "no search recorded"
        lines.append(f"seed {run.seed}: {text}")
    return "\n".join(lines)
