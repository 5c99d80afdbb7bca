"""Numbers behind the charts, tables and downloads of the page, as JSON that its script reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.page.media import replay_command
from s2robot.reporting.page.task_words import heading, stages_of
from s2robot.reporting.report import Report
from s2robot.reporting.run_results import (
    ComparisonGroup,
    RunResult,
    VariantResults,
    realtime_text,
)
from s2robot.reporting.tradeoff.answers import family_of
from s2robot.reporting.tradeoff.sweet_spots import candidates, gflops, milliseconds
from s2robot.utils.plotting import PALETTE

_COLUMNS = (
    *("index", "success_once", "success_at_end", "stage", "steps", "steps_to_success"),
    *("steps_lifted", "min_distance_m", "max_height_m"),
)
"""Entries of an episode's row that the page holds."""


def variant_ids(group: ComparisonGroup, number: int) -> dict[str, str]:
    """Return names of a group's variants on the page, such as "0-2", by their keys.

    Args:
        group: of the report.
        number: of the group.
    """
    return {variant.key: f"{number}-{i}" for i, variant in enumerate(group.variants)}


def page_data(report: Report, deadline_ms: float | None) -> dict[str, Any]:
    """Return everything that the page's script needs.

    Args:
        report: the content.
        deadline_ms: time that encoder and policy may take for one frame [ms]; None for none.
    """
    variants, pairs, runs = [], [], []
    for number, group in enumerate(report.groups):
        ids = variant_ids(group, number)
        colors = _colors(group)
        asked = {variant.key for variant in candidates(group)}
        for variant in group.variants:
            point = _point(variant, report.metric)
            place = {"id": ids[variant.key], "group": number, "level": group.level}
            own = {"policy": group.policy_kind, "color": colors.get(_series(variant), "gray")}
            variants.append({**place, **own, "candidate": variant.key in asked, **point})
            runs += [{"id": ids[variant.key], **_episodes(run)} for run in variant.runs]
        pairs += [
            {"group": number, "ids": [ids[p.first.key], ids[p.second.key]], **_pair(p)}
            for p in report.comparisons[number]
        ]
    return {
        "metric": report.metric,
        "deadline_ms": deadline_ms,
        "stages": [dict(stages_of(group.level)) for group in report.groups],
        "tasks": heading(group.level for group in report.groups),
        "variants": variants,
        "pairs": pairs,
        "runs": runs,
    }


def script_text(data: Mapping[str, Any]) -> str:
    """Return JSON that can stand in a ``<script>`` element of a page."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _series(variant: VariantResults) -> tuple[str, str]:
    return variant.backbone, variant.readout


def _colors(group: ComparisonGroup) -> dict[tuple[str, str], str]:
    """Return the number of a color for each backbone and readout with trained weights."""
    trained = [variant for variant in group.encoders if not variant.is_random]
    series = dict.fromkeys(map(_series, trained))
    return {each: str(number % len(PALETTE)) for number, each in enumerate(series)}


def _point(variant: VariantResults, metric: str) -> dict[str, Any]:
    rate, (successes, episodes) = variant.rate(metric), variant.count(metric)
    return {
        "label": variant.label,
        "encoder": variant.backbone,
        "family": "" if variant.is_baseline else family_of(variant),
        "scales": variant.scales_text if variant.scales else "",
        "extra": _extra(variant),
        "input": variant.input_mode,
        "readout": variant.readout,
        "random": variant.is_random,
        "baseline": variant.is_baseline,
        "rate": round(100 * rate.estimate, 2),
        "low": round(100 * rate.low, 2),
        "high": round(100 * rate.high, 2),
        "successes": successes,
        "episodes": episodes,
        "seeds": len(variant.seeds),
        "ms": milliseconds(variant),
        "ms_p95": variant.latency_ms("single_frame", "total", "p95"),
        "gflops": gflops(variant),
        "parameters": variant.parameters,
        "width": variant.embedding_dim,
    }


def _extra(variant: VariantResults) -> str:
    """Return the words of a label besides encoder, scales, readout and source of pixels."""
    late = realtime_text(variant.settings)
    words = variant.label.removesuffix(late).partition(") ")[2].split()
    known = ("interpolate", "interpolated", variant.readout)
    own = [word for word in words if word not in known]
    return " ".join([*own, *late.removeprefix(", ").split()])


def _pair(pair: Comparison) -> dict[str, Any]:
    estimate, low, high = (round(100 * value, 2) for value in pair.limits)
    p_value, adjusted, equivalence = pair.p_values
    return {
        "second": pair.second.label,
        "first": pair.first.label,
        "second_minus_first": estimate,
        "low": low,
        "high": high,
        "p": p_value,
        "p_holm": adjusted,
        "p_equivalent_holm": equivalence,
        "seeds_second": len(pair.seeds[1]),
        "seeds_first": len(pair.seeds[0]),
        "states": pair.initial_states,
        "question": pair.kind,
        "verdict": pair.verdict,
    }


def _episodes(run: RunResult) -> dict[str, Any]:
    """Return a run's episodes by columns; one value stands for a column of equal ones."""
    columns = {name: [row.get(name) for row in run.rows] for name in _COLUMNS}
    return {
        "seed": run.seed,
        "replay": replay_command(run),
        "count": len(run.rows),
        "columns": {name: _packed(values) for name, values in columns.items()},
    }


def _packed(values: Sequence[Any]) -> Any:
    numbers = [int(value) if isinstance(value, bool) else value for value in values]
    return numbers if any(value != numbers[0] for value in numbers) else next(iter(numbers), None)
