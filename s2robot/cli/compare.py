"""Work of ``s2robot compare``: one verdict on two variants."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2robot.cli.parsers.compare import parse
from s2robot.cli.report import print_problems, write_text
from s2robot.envs.tasks.names import titled
from s2robot.errors import S2RobotError, unknown
from s2robot.evaluation.baselines import displayed_name
from s2robot.experiments.sequential_results import read_sequential
from s2robot.reporting import VERDICTS
from s2robot.reporting.comparisons import (
    Comparison,
    adjusted,
    compare_pair,
)
from s2robot.reporting.conclusions import p_text, signed, statement
from s2robot.reporting.json_report import FORMAT, comparison_record, rate_record
from s2robot.reporting.junit import junit
from s2robot.reporting.markdown import markdown
from s2robot.reporting.report import control_warnings, with_sequential
from s2robot.reporting.run_files import Problem, read_runs
from s2robot.reporting.run_results import (
    KEY_LENGTH,
    VariantResults,
    group_runs,
    group_variants,
    label_of,
)
from s2robot.reporting.setting_differences import changes, in_short, words
from s2robot.utils.io import write_json

STATUS = {"better": 6, "worse": 3, "equivalent": 4, "not shown": 5}
"""Exit status of a verdict that is not accepted."""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status, as the help lists them."""
    options = parse(argv)
    try:
        pair, problems = _compare(options)
    except S2RobotError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_table(pair, options.metric))
    _write(pair, problems, options)
    return 0 if pair.verdict in options.accept else STATUS[pair.verdict]


def _compare(options: argparse.Namespace) -> tuple[Comparison, list[Problem]]:
    first, second, problems = _chosen(options)
    print_problems(problems)
    pair = compare_pair(first, second, options.metric, margin=options.margin)
    if pair is None:
        unfinished = [variant.label for variant in (first, second) if not variant.finished]
        reason = "they have no initial state in common; evaluate both on the same ones"
        if unfinished:
            reason = f"{' and '.join(unfinished)} has no finished run; let the sweep continue"
        raise S2RobotError(f"{first.label} and {second.label} cannot be compared: {reason}")
    folders = dict.fromkeys(_places(options)[0])
    found = [results for folder in folders for results in read_sequential(folder)[0]]
    return with_sequential(adjusted([[pair]])[0][0], found, options.metric), problems


def _chosen(
    options: argparse.Namespace,
) -> tuple[VariantResults, VariantResults, list[Problem]]:
    """Return both variants, with labels that tell them apart, and the problems of their runs."""
    folders, labels = _places(options)
    read = {folder: read_runs(folder) for folder in folders}
    problems = [problem for _, found in read.values() for problem in found]
    variants = {
        folder: [
            VariantResults(label_of(members[0]), tuple(members))
            for members in group_variants([run for run in runs if run.rows])
        ]
        for folder, (runs, _) in read.items()
    }
    first, second = (
        _choose(variants[folder], label, folder)
        for folder, label in zip(folders, labels, strict=True)
    )
    if first is second:
        raise ValueError(f"{first.label} is given twice; name two variants, or two folders of runs")
    if first.label == second.label:
        marks = [f"[{variant.key[:KEY_LENGTH]}]" for variant in (first, second)]
        if first.key == second.key:
            marks = [f"of {folder}" for folder in folders]
        first, second = (
            dataclasses.replace(variant, label=f"{variant.label} {mark}")
            for variant, mark in zip((first, second), marks, strict=True)
        )
    chosen = {first.key, second.key}
    for runs, _ in read.values():
        for group in group_runs([run for run in runs if run.rows]):
            if chosen & {variant.key for variant in group.variants}:
                problems += control_warnings(group, options.metric)
    return first, second, list(dict.fromkeys(problems))


def _places(
    options: argparse.Namespace,
) -> tuple[tuple[Path, Path], tuple[str | None, str | None]]:
    """Return the folders of both variants and their labels, from either form of the command."""
    what, named = options.what, (options.first, options.second)
    if len(what) == 3 and named == (None, None):
        return (Path(what[0]), Path(what[0])), (what[1], what[2])
    if len(what) == 1 and None not in named:
        return (Path(what[0]), Path(what[0])), named
    if len(what) == 2:
        return (Path(what[0]), Path(what[1])), named
    raise ValueError(
        "give a folder of runs and two labels (s2robot compare RUNS A B, or RUNS --first A "
        "--second B), or two folders of runs (s2robot compare RUNS_A RUNS_B)"
    )


def _choose(variants: Sequence[VariantResults], wanted: str | None, folder: Path) -> VariantResults:
    """Return the variant with a label, or the beginning of a key; the only one for None."""
    found = [variant for variant in variants if wanted is None or _is_named(variant, wanted)]
    if not found and wanted is not None and len(wanted) >= KEY_LENGTH:
        found = [variant for variant in variants if variant.key.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if not variants:
        raise S2RobotError(f"no run under {folder} has an episode yet; let the sweep continue")
    if not found:
        raise unknown("variant", wanted, {variant.label for variant in variants})
    listed = "\n".join(
        f"  {variant.key[:KEY_LENGTH]}  {_described(variant, found[0])}" for variant in found
    )
    asked = "which variant" if wanted is None else f"which {wanted!r}"
    raise ValueError(f"{asked} of {folder}? Give one of these keys in its place:\n{listed}")


def _is_named(variant: VariantResults, wanted: str) -> bool:
    """Return whether a text is the variant's label, whatever its spaces, or a baseline's name."""
    names = [variant.label, str(variant.info["label"])]
    names += [displayed_name(variant.backbone)] if variant.is_baseline else []
    return wanted.replace(" ", "") in [name.replace(" ", "") for name in names]


def _described(variant: VariantResults, other: VariantResults) -> str:
    lines = words(changes(variant.settings, other.settings))
    return f"{variant.label}, {titled(str(variant.info['level']))}" + (
        f" ({in_short(lines)})" if lines else ""
    )


def _table(pair: Comparison, metric: str) -> str:
    """Return both success rates, the difference, the tests and the verdict in words."""
    rows = [("", "success", "95 %", "seeds", "episodes")]
    for variant, seeds in zip(_compared(pair), pair.seeds, strict=True):
        rate, (successes, episodes) = variant.rate(metric), variant.count(metric)
        limits = f"{100 * rate.low:.1f} to {100 * rate.high:.1f}"
        rows.append(
            (
                variant.label,
                f"{100 * rate.estimate:.1f} %",
                limits,
                str(len(seeds)),
                f"{successes} / {episodes}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    estimate, low, high = pair.limits
    p_value, _, equivalence = pair.p_values
    return "\n".join(
        [
            *lines,
            f"{pair.second.label} minus {pair.first.label}: {signed(100 * estimate)} points, "
            f"{100 * pair.confidence:g} % "
            f"{signed(100 * low)} to {signed(100 * high)}, {p_text(p_value)}; equivalence within "
            f"{100 * (pair.sequential or pair).margin:g} points: {p_text(equivalence)}",
            f"verdict: {pair.verdict}",
            statement(pair, metric),
        ]
    )


def _compared(pair: Comparison) -> list[VariantResults]:
    """Return both variants without their unfinished runs, which are not compared."""
    return [
        VariantResults(variant.label, variant.finished) for variant in (pair.first, pair.second)
    ]


def _write(pair: Comparison, problems: Sequence[Problem], options: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    families = [("compare", [pair])]
    if options.junit:
        failing = set(VERDICTS) - set(options.accept)
        write_text(options.junit, junit(families, problems, options.metric, failing))
    if options.markdown:
        write_text(options.markdown, markdown(families, problems, options.metric))
    if options.json:
        write_json(options.json, _record(pair, problems, options.metric))
        print(options.json)


def _record(pair: Comparison, problems: Sequence[Problem], metric: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "metric": metric,
        "arms": [
            {"label": variant.label, "key": variant.key, **rate_record(variant, metric)}
            for variant in _compared(pair)
        ],
        "comparison": comparison_record(pair),
        "problems": [dataclasses.asdict(problem) for problem in problems],
    }
