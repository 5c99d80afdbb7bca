"""The report of a sweep: one self-contained HTML page, a picture, and the numbers as JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import markupsafe
from PIL import Image

from s2robot._version import __version__
from s2robot.experiments.sequential_results import SequentialResults
from s2robot.reporting import TITLE
from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.conclusions import conclusions, differs_text, p_text, signed
from s2robot.reporting.generalization import Generalization
from s2robot.reporting.json_report import results
from s2robot.reporting.plots import generalization_svg, success_png, success_svg
from s2robot.reporting.report import Report, control_warnings, make_report
from s2robot.reporting.run_files import STRIPS_PER_RUN, load_runs
from s2robot.reporting.run_results import ComparisonGroup, RunResult, VariantResults
from s2robot.stats.intervals import Interval
from s2robot.stats.power import LEAST_SEEDS
from s2robot.utils.html import render_page
from s2robot.utils.io import atomic_path, write_json

STRIP_WIDTH_PX = 800
STAGES = {
    "none": "held at the end",
    "drop": "lifted, then lost",
    "timeout": "still holding, not lifted in time",
    "lift": "grasped, never lifted",
    "grasp": "reached, never grasped",
    "reach": "never reached",
}
"""Descriptions of the failure stages."""

__all__ = ["ReportPaths", "load_runs", "write_files", "write_report"]


class ReportPaths(NamedTuple):
    """Paths of the files of one report."""

    html: Path
    png: Path
    json: Path


def write_report(
    runs_dir: str | Path,
    out_dir: str | Path,
    title: str = TITLE,
    metric: str = "success_once",
) -> ReportPaths:
    """Write ``report.html``, ``report.png`` and ``report.json``.

    The counts include the episodes of unfinished runs; comparisons leave these runs out, and the
    page lists them. Runs that are damaged or do not fit to the others are left out and named on the
    page and in ``problems`` of ``report.json``.

    Args:
        runs_dir: folder with the runs of one or several sweeps.
        out_dir: folder for the report.
        title: of the page.
        metric: "success_once" (lifted at any step) or "success_at_end" (held when time is up).

    Raises:
        S2RobotError: there are no usable runs, or none has an episode yet.

    Examples:
        >>> paths = write_report("runs/cells", "runs/report")  # doctest: +SKIP
        >>> paths.html.name  # doctest: +SKIP
        'report.html'
    """
    return write_files(make_report(runs_dir, metric), out_dir, title)


def write_files(report: Report, out_dir: str | Path, title: str = TITLE) -> ReportPaths:
    """Write the page, the picture and the numbers of a report.

    Args:
        report: the content.
        out_dir: folder for the files.
        title: of the page.
    """
    names = ("report.html", "report.png", "report.json")
    paths = ReportPaths(*(Path(out_dir) / name for name in names))
    with atomic_path(paths.png) as temporary:
        success_png(temporary, report.groups, report.metric)
    with atomic_path(paths.html) as temporary:
        temporary.write_text(_page(report, title), encoding="utf-8", errors="replace")
    write_json(paths.json, results(report))
    return paths


def _page(report: Report, title: str) -> str:
    sections = [
        _section(group, pairs, report)
        for group, pairs in zip(report.groups, report.comparisons, strict=True)
    ]
    return render_page(
        "s2robot.reporting",
        "report.html.j2",
        title=title,
        version=__version__,
        metric=report.metric,
        stages=STAGES,
        least_seeds=LEAST_SEEDS,
        sections=sections,
        sequential=[_sequential(each) for each in report.sequential],
        tables=[_generalization(table, report.metric) for table in report.tables],
        problems=report.problems,
        missing=report.missing,
        provenance=_provenance([run for group in report.groups for run in group.runs]),
        comparisons=sum(map(len, report.comparisons)),
    )


def _section(group: ComparisonGroup, pairs: Sequence[Comparison], report: Report) -> dict[str, Any]:
    demos = group.variants[0].info.get("demos") or {}
    metric = report.metric
    salt = f"{report.groups.index(group)}"
    return {
        "level": group.level,
        "policy_kind": group.policy_kind,
        "distinction": report.distinction(group),
        "warnings": control_warnings(group, metric),
        "demos": demos.get("n"),
        "trained_on": demos.get("level", ""),
        "initial_states": _initial_states(group),
        "seeds": len(group.seeds),
        "wide": markupsafe.Markup(success_svg(group, metric, salt)),
        "narrow": markupsafe.Markup(success_svg(group, metric, salt, narrow=True)),
        "without_cost": [v.label for v in group.encoders if not v.gflops],
        "conclusions": conclusions(group, pairs, metric),
        "variants": [_variant_row(variant, metric) for variant in group.variants],
        "pairs": [_pair_row(pair) for pair in pairs if pair.kind != "several"],
        "other_pairs": [_pair_row(pair) for pair in pairs if pair.kind == "several"],
        "strips": [strip for variant in group.variants for strip in _strips(variant)],
    }


def _initial_states(group: ComparisonGroup) -> str:
    """Return numbers and splits of the initial states, such as "64 test"."""
    conditions = [run.info["conditions"] for run in group.runs]
    numbers = sorted({record["n"] for record in conditions})
    splits = list(dict.fromkeys(str(record.get("split", "")) for record in conditions))
    return f"{' or '.join(map(str, numbers))} {' and '.join(splits)}"


def _variant_row(variant: VariantResults, metric: str) -> dict[str, Any]:
    successes, episodes = variant.count(metric)
    at_end, _ = variant.count("success_at_end")
    stages = variant.stages()
    return {
        "label": variant.label,
        "is_baseline": variant.is_baseline,
        "readout": "" if variant.is_baseline else variant.readout,
        "parameters": _count(variant.parameters),
        "gflops": f"{variant.gflops:.3g}" if variant.gflops else "0",
        "embedding_dim": f"{variant.embedding_dim:,}",
        "latency_single": _latency(variant, "single_frame", "total"),
        "latency_batched": _latency(variant, "per_frame"),
        "successes": successes,
        "at_end": at_end,
        "episodes": episodes,
        "rate": _percents(variant.rate(metric)),
        "one_seed": len(variant.seeds) == 1,
        "seeds": [{"seed": seed, **_percents(rate)} for seed, rate in variant.per_seed(metric)],
        "running": len(variant.running),
        "stages": [
            (key, stages[key], 100 * stages[key] / episodes) for key in STAGES if key in stages
        ],
        "hyperparameters": _hyperparameters(variant),
    }


def _generalization(table: Generalization, metric: str) -> dict[str, Any]:
    return {
        "nominal": table.nominal,
        "perturbed": table.perturbed,
        "policy_kind": table.policy_kind,
        "trained_on": table.trained_on,
        "wide": markupsafe.Markup(generalization_svg(table, metric)),
        "narrow": markupsafe.Markup(generalization_svg(table, metric, narrow=True)),
        "rows": [
            {
                **_pair_row(pair),
                "is_baseline": pair.first.is_baseline,
                "rates": [
                    {
                        "successes": variant.count(metric),
                        **_percents(variant.rate(metric)),
                        "one_seed": len(variant.seeds) == 1,
                    }
                    for variant in (pair.first, pair.second)
                ],
            }
            for pair in table.pairs
        ],
        "comparisons": table.pairs[0].family,
    }


def _percents(interval: Interval) -> dict[str, float]:
    return {
        "mid": 100 * interval.estimate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
    }


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number else "0"


def _latency(variant: VariantResults, *path: str) -> str:
    median, tail = variant.latency_ms(*path, "p50"), variant.latency_ms(*path, "p95")
    if median is None or tail is None:
        return "–"
    return " / ".join(f"{value:.{1 if value >= 1 else 2}f}" for value in (median, tail))


def _pair_row(pair: Comparison) -> dict[str, Any]:
    estimate, low, high = pair.limits
    p_value, adjusted, equivalence = pair.p_values
    return {
        "first": pair.first.label,
        "second": pair.second.label,
        **_percents(Interval(estimate, low, high)),
        "text": signed(100 * estimate),
        "limits": _limits(low, high),
        "differs": differs_text(pair),
        "seeds": " and ".join(map(str, dict.fromkeys(map(len, pair.seeds[::-1])))),
        "initial_states": pair.initial_states,
        "p": p_text(p_value),
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


def _sequential(results: SequentialResults) -> dict[str, Any]:
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


def _strips(variant: VariantResults) -> list[dict[str, str]]:
    """Return a variant's image strips of failed episodes; the first of every seed comes first."""
    listed = [
        (rank, run.seed, run, path) for run in variant.runs for rank, path in enumerate(run.strips)
    ]
    listed.sort(key=lambda entry: entry[:2])
    return [
        {"uri": _jpeg_uri(path), "caption": _caption(variant, run, path)}
        for _, _, run, path in listed[:STRIPS_PER_RUN]
    ]


def _caption(variant: VariantResults, run: RunResult, path: Path) -> str:
    number = path.stem.split("_")[-1].lstrip("0") or "0"
    stage = next((row["stage"] for row in run.rows if str(row["index"]) == number), "unknown")
    return f"{variant.label}, seed {run.seed}, initial state {number}: {STAGES.get(stage, stage)}"


def _jpeg_uri(path: Path) -> str:
    """Return a strip as a data URI, in two rows so that it is readable on a phone."""
    with Image.open(path) as image:
        strip = image.convert("RGB")
    half = strip.width // 2
    folded = Image.new("RGB", (half, 2 * strip.height))
    folded.paste(strip, (0, 0))
    folded.paste(strip.crop((half, 0, 2 * half, strip.height)), (0, strip.height))
    folded.thumbnail((STRIP_WIDTH_PX, STRIP_WIDTH_PX))
    buffer = io.BytesIO()
    folded.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _provenance(runs: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Return the distinct provenance records with the number of runs that share each."""
    distinct: dict[str, int] = {}
    for run in runs:
        record: Mapping[str, Any] = {
            "conditions": run.info["conditions"],
            "demonstrations": run.info.get("demos"),
            **(run.info.get("provenance") or {}),
        }
        text = json.dumps(record, indent=2, ensure_ascii=False)
        distinct[text] = distinct.get(text, 0) + 1
    return [{"runs": count, "text": text} for text, count in distinct.items()]
