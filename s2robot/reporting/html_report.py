"""One self-contained page and picture from a sweep's cells: larger encoder or more scales?"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe
from PIL import Image

from s2robot._version import __version__
from s2robot.errors import S2RobotError, unknown
from s2robot.reporting.comparisons import Comparison, answers, compare_groups, p_text, signed
from s2robot.reporting.generalization import SideBySide, side_by_side
from s2robot.reporting.json_report import results
from s2robot.reporting.plots import side_by_side_svg, success_png, success_svg
from s2robot.reporting.run_results import METRICS, Arm, Cell, Group, group_cells, load_cells
from s2robot.stats.intervals import Interval
from s2robot.utils.io import atomic_path, write_json

STRIPS_PER_ARM = 2
STRIP_WIDTH_PX = 800
STAGES = {
    "none": "held at the end",
    "drop": "lifted, then lost",
    "timeout": "still holding, not lifted in time",
    "lift": "grasped, never lifted",
    "grasp": "reached, never grasped",
    "reach": "never reached",
}

__all__ = ["ReportPaths", "load_cells", "write_report"]


class ReportPaths(NamedTuple):
    """The files of one report."""

    html: Path
    png: Path
    json: Path


def write_report(
    cells_dir: str | Path,
    out_dir: str | Path,
    title: str = "Larger encoder or more scales?",
    metric: str = "success_once",
) -> ReportPaths:
    """Write `report.html`, `.png` and `.json` into `out_dir` from the cells under `cells_dir`.

    `metric`: "success_once" (lifted at any step) or "success_at_end" (held when time is up).
    Unfinished cells are counted as far as they went, listed, and left out of comparisons.

    Raises:
        S2RobotError: no cells there, or none with an episode yet.
        CorruptFileError: a cell is damaged.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    everything = group_cells(load_cells(cells_dir))
    groups = [_with_episodes(group) for group in everything]
    groups = [group for group in groups if group.arms]
    if not groups:
        raise S2RobotError(f"no cell under {cells_dir} has an episode yet; let the sweep run on")
    missing = [line for group in everything for line in group.missing()]
    names = ("report.html", "report.png", "report.json")
    paths = ReportPaths(*(Path(out_dir) / name for name in names))
    with atomic_path(paths.png) as temporary:
        success_png(temporary, groups, metric)
    with atomic_path(paths.html) as temporary:
        temporary.write_text(_page(groups, missing, title, metric), encoding="utf-8")
    write_json(paths.json, results(groups, metric))
    return paths


def _with_episodes(group: Group) -> Group:
    arms = tuple(arm for arm in group.arms if any(cell.rows for cell in arm.cells))
    return Group(group.level, group.policy_kind, arms)


def _page(groups: Sequence[Group], missing: list[str], title: str, metric: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("s2robot.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    per_group = compare_groups(groups, metric)
    sections = [
        _section(group, pairs, metric) for group, pairs in zip(groups, per_group, strict=True)
    ]
    cells = [cell for group in groups for arm in group.arms for cell in arm.cells]
    return environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        metric=metric,
        stages=STAGES,
        sections=sections,
        tables=[_side_by_side(table, metric) for table in side_by_side(groups, metric)],
        missing=missing,
        provenance=_provenance(cells),
        comparisons=sum(len(pairs) for pairs in per_group),
    )


def _section(group: Group, pairs: Sequence[Comparison], metric: str) -> dict[str, Any]:
    demos = group.arms[0].info.get("demos") or {}
    return {
        "level": group.level,
        "policy_kind": group.policy_kind,
        "demos": demos.get("n"),
        "trained_on": demos.get("level", ""),
        "conditions": group.planned,
        "split": group.arms[0].info["conditions"].get("split", ""),
        "seeds": len(group.seeds),
        "wide": markupsafe.Markup(success_svg(group, metric)),
        "narrow": markupsafe.Markup(success_svg(group, metric, narrow=True)),
        "answers": answers(group, pairs, metric),
        "arms": [_arm_row(arm, metric) for arm in group.arms],
        "pairs": [_pair_row(pair) for pair in pairs if pair.kind != "several"],
        "other_pairs": [_pair_row(pair) for pair in pairs if pair.kind == "several"],
        "strips": [strip for arm in group.arms for strip in _strips(arm)],
    }


def _arm_row(arm: Arm, metric: str) -> dict[str, Any]:
    successes, episodes = arm.count(metric)
    at_end, _ = arm.count("success_at_end")
    stages = arm.stages()
    return {
        "label": arm.label,
        "is_control": arm.is_control,
        "readout": "" if arm.is_control else arm.readout,
        "parameters": _count(arm.parameters),
        "gflops": f"{arm.gflops:.3g}" if arm.gflops else "0",
        "embedding_dim": f"{arm.embedding_dim:,}",
        "single": _latency(arm, "single_frame", "total"),
        "batched": _latency(arm, "per_frame"),
        "successes": successes,
        "at_end": at_end,
        "episodes": episodes,
        "rate": _percents(arm.pooled(metric)),
        "seeds": [{"seed": seed, **_percents(rate)} for seed, rate in arm.per_seed(metric)],
        "running": len(arm.running),
        "stages": [
            (key, stages[key], 100 * stages[key] / episodes) for key in STAGES if key in stages
        ],
        "heads": _heads(arm),
    }


def _side_by_side(table: SideBySide, metric: str) -> dict[str, Any]:
    return {
        "ordinary": table.ordinary,
        "rare": table.rare,
        "policy_kind": table.policy_kind,
        "trained_on": table.trained_on,
        "wide": markupsafe.Markup(side_by_side_svg(table, metric)),
        "narrow": markupsafe.Markup(side_by_side_svg(table, metric, narrow=True)),
        "rows": [
            {
                **_pair_row(pair),
                "is_control": pair.first.is_control,
                "rates": [
                    {"successes": arm.count(metric), **_percents(arm.pooled(metric))}
                    for arm in (pair.first, pair.second)
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


def _latency(arm: Arm, *path: str) -> str:
    median, tail = arm.latency_ms(*path, "p50"), arm.latency_ms(*path, "p95")
    if median is None or tail is None:
        return "–"
    return " / ".join(f"{value:.{1 if value >= 1 else 2}f}" for value in (median, tail))


def _pair_row(pair: Comparison) -> dict[str, Any]:
    difference = pair.difference
    return {
        "first": pair.first.label,
        "second": pair.second.label,
        **_percents(difference),
        "text": signed(100 * difference.estimate),
        "limits": f"{signed(100 * difference.low)} to {signed(100 * difference.high)}",
        "seeds": [
            f"{seed}: +{test.only_second} −{test.only_first}, {p_text(test.p_value)}"
            for seed, test in zip(pair.seeds, pair.per_seed, strict=True)
        ],
        "pooled": f"+{pair.pooled.only_second} −{pair.pooled.only_first}",
        "p": p_text(pair.pooled.p_value),
        "adjusted": p_text(pair.adjusted_p),
        "shown": pair.distinguishable,
    }


def _heads(arm: Arm) -> str:
    """What the head search chose for each seed; its trials stay in the cells."""
    lines = []
    for cell in arm.cells:
        chosen = {k: v for k, v in (cell.info.get("head") or {}).items() if k != "trials"}
        text = json.dumps(chosen, ensure_ascii=False) if chosen else "no search recorded"
        lines.append(f"seed {cell.seed}: {text}")
    return "\n".join(lines)


def _strips(arm: Arm) -> list[dict[str, str]]:
    """An arm's strips of failures as embedded pictures, each seed's first before any's second."""
    listed = [
        (rank, cell.seed, cell, cell.path / name)
        for cell in arm.cells
        for rank, name in enumerate(cell.summary.get("strips", []))
        if (cell.path / name).is_file()
    ]
    listed.sort(key=lambda entry: entry[:2])
    return [
        {"uri": _jpeg_uri(path), "caption": _caption(arm, cell, path)}
        for _, _, cell, path in listed[:STRIPS_PER_ARM]
    ]


def _caption(arm: Arm, cell: Cell, path: Path) -> str:
    index = int(path.stem.split("_")[-1])
    stage = next((str(row["stage"]) for row in cell.rows if row["index"] == index), "")
    return f"{arm.label}, seed {cell.seed}, condition {index}: {STAGES.get(stage, stage)}"


def _jpeg_uri(path: Path) -> str:
    """A strip as a data URI, folded into two rows so that a phone shows something."""
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


def _provenance(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Distinct provenances with the number of cells that share each."""
    distinct: dict[str, int] = {}
    for cell in cells:
        record: Mapping[str, Any] = {
            "conditions": cell.info["conditions"],
            "demonstrations": cell.info.get("demos"),
            **(cell.info.get("provenance") or {}),
        }
        text = json.dumps(record, indent=2, ensure_ascii=False)
        distinct[text] = distinct.get(text, 0) + 1
    return [{"cells": count, "text": text} for text, count in distinct.items()]
