"""The report of a sweep: one self-contained HTML page, a picture, and the numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import markupsafe

from s2robot._version import __version__
from s2robot.envs.tasks.names import is_foreign, titled
from s2robot.policies.action_space import RECORDED
from s2robot.reporting import TITLE
from s2robot.reporting.conclusions import conclusions
from s2robot.reporting.generalization import Generalization
from s2robot.reporting.json_report import results
from s2robot.reporting.page.assets import css, scripts
from s2robot.reporting.page.chart_data import page_data, script_text, variant_ids
from s2robot.reporting.page.glossary import glossary
from s2robot.reporting.page.media import strips, videos
from s2robot.reporting.page.rows import STAGES as STAGES
from s2robot.reporting.page.rows import pair_row, percents, sequential, variant_row
from s2robot.reporting.page.task_words import stages_of, success_text
from s2robot.reporting.plots import generalization_svg, success_png, success_svg
from s2robot.reporting.report import Report, control_warnings, make_report
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import ComparisonGroup, RunResult
from s2robot.reporting.tradeoff.answers import NO_FAMILY, FamilyAnswer, answers
from s2robot.stats.power import LEAST_SEEDS
from s2robot.utils.html import render_page
from s2robot.utils.io import atomic_path, write_json

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
        metric: "success_once" (at any step) or "success_at_end" (when time is up).

    Raises:
        S2RobotError: there are no usable runs, or none has an episode yet.

    Examples:
        >>> paths = write_report("runs/cells", "runs/report")  # doctest: +SKIP
        >>> paths.html.name  # doctest: +SKIP
        'report.html'
    """
    return write_files(make_report(runs_dir, metric), out_dir, title)


def write_files(
    report: Report, out_dir: str | Path, title: str = TITLE, deadline_ms: float | None = None
) -> ReportPaths:
    """Write the page, the picture and the numbers of a report.

    Args:
        report: the content.
        out_dir: folder for the files.
        title: of the page.
        deadline_ms: time that encoder and policy may take for one frame [ms]; None for none.
    """
    names = ("report.html", "report.png", "report.json")
    paths = ReportPaths(*(Path(out_dir) / name for name in names))
    with atomic_path(paths.png) as temporary:
        success_png(temporary, report.groups, report.metric)
    with atomic_path(paths.html) as temporary:
        temporary.write_text(_page(report, title, deadline_ms), encoding="utf-8", errors="replace")
    write_json(paths.json, results(report, deadline_ms))
    return paths


def _page(report: Report, title: str, deadline_ms: float | None) -> str:
    named = [
        (ids[variant.key], variant)
        for number, group in enumerate(report.groups)
        for ids in [variant_ids(group, number)]
        for variant in group.variants
    ]
    levels = [group.level for group in report.groups]
    return render_page(
        "s2robot.reporting",
        "report.html.j2",
        title=title,
        version=__version__,
        metric=report.metric,
        success=success_text(levels, report.metric),
        least_seeds=LEAST_SEEDS,
        css=css(),
        scripts=scripts(),
        data=markupsafe.Markup(script_text(page_data(report, deadline_ms))),
        answers=_answers(report),
        no_answer=NO_FAMILY,
        glossary=glossary(levels),
        sections=[_section(number, report) for number in range(len(report.groups))],
        videos=videos(named),
        sequential=[sequential(each) for each in report.sequential],
        tables=[_generalization(table, report.metric) for table in report.tables],
        problems=report.problems,
        missing=report.missing,
        provenance=_provenance([run for group in report.groups for run in group.runs]),
        comparisons=sum(map(len, report.comparisons)),
    )


def report_answers(report: Report) -> list[FamilyAnswer]:
    """Return the answer to "larger encoder or more scales?" for each family of each group."""
    groups = zip(report.groups, report.comparisons, strict=True)
    return [answer for group, pairs in groups for answer in answers(group, pairs)]


def _answers(report: Report) -> list[dict[str, str]]:
    """Return the answers for the page; what two groups say in the same words stands there once."""
    several = len({(group.level, group.policy_kind) for group in report.groups}) > 1
    found = [_answer(each, several) for each in report_answers(report)]
    return [each for place, each in enumerate(found) if each not in found[:place]]


def _answer(answer: FamilyAnswer, several: bool) -> dict[str, str]:
    return {
        "family": answer.family,
        "where": f"{titled(answer.level)}, policy {answer.policy_kind}" if several else "",
        "word": answer.word,
        "tone": "open" if answer.word == "not shown" else "yes",
        "text": answer.text,
    }


def _section(number: int, report: Report) -> dict[str, Any]:
    group, pairs = report.groups[number], report.comparisons[number]
    demos = group.variants[0].info.get("demos") or {}
    recorded = demos.get("level") == RECORDED
    metric, salt, ids = report.metric, str(number), variant_ids(group, number)
    rows = [({**pair_row(pair, ids), "row": i}, pair.kind) for i, pair in enumerate(pairs)]
    return {
        "number": number,
        "level": group.level,
        "kind": "task" if is_foreign(group.level) else "level",
        "stages": stages_of(group.level),
        "policy_kind": group.policy_kind,
        "distinction": report.distinction(group),
        "warnings": control_warnings(group, metric),
        "demos": f"{demos.get('n')} recorded" if recorded else demos.get("n"),
        "trained_on": "" if recorded else demos.get("level", ""),
        "initial_states": _initial_states(group),
        "seeds": len(group.seeds),
        "machines": _machines(group),
        "wide": markupsafe.Markup(success_svg(group, metric, salt)),
        "narrow": markupsafe.Markup(success_svg(group, metric, salt, narrow=True)),
        "without_cost": [v.label for v in group.encoders if not v.gflops],
        "conclusions": conclusions(group, pairs, metric),
        "variants": [variant_row(variant, metric, ids[variant.key]) for variant in group.variants],
        "pairs": [row for row, kind in rows if kind != "several"],
        "other_pairs": [row for row, kind in rows if kind == "several"],
        "strips": [
            strip for variant in group.variants for strip in strips(variant, ids[variant.key])
        ],
    }


def _machines(group: ComparisonGroup) -> list[str]:
    """Return the machines on which the group's latencies were measured."""
    found = []
    for run in group.runs:
        machine = (run.summary.get("provenance") or {}).get("machine") or {}
        words = [str(machine[name]) for name in ("processor", "gpu") if machine.get(name)]
        found += [" with ".join(words)] if words else []
    return list(dict.fromkeys(found))


def _initial_states(group: ComparisonGroup) -> str:
    """Return numbers and splits of the initial states, such as "64 test"."""
    conditions = [run.info["conditions"] for run in group.runs]
    numbers = sorted({record["n"] for record in conditions})
    splits = list(dict.fromkeys(str(record.get("split", "")) for record in conditions))
    return f"{' or '.join(map(str, numbers))} {' and '.join(splits)}"


def _generalization(table: Generalization, metric: str) -> dict[str, Any]:
    return {
        "nominal": table.nominal,
        "perturbed": table.perturbed,
        "policy_kind": table.policy_kind,
        "trained_on": "" if table.trained_on == RECORDED else table.trained_on,
        "wide": markupsafe.Markup(generalization_svg(table, metric)),
        "narrow": markupsafe.Markup(generalization_svg(table, metric, narrow=True)),
        "rows": [
            {
                **pair_row(pair),
                "is_baseline": pair.first.is_baseline,
                "rates": [
                    {
                        "successes": variant.count(metric),
                        **percents(variant.rate(metric)),
                        "one_seed": len(variant.seeds) == 1,
                    }
                    for variant in (pair.first, pair.second)
                ],
            }
            for pair in table.pairs
        ],
        "comparisons": table.pairs[0].family,
    }


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
