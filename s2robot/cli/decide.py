"""Work of ``s2robot decide``: training seeds run until each pair of variants is decided."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from s2robot.cli.compare import STATUS
from s2robot.cli.hydra_commands import expand, run_job
from s2robot.cli.parsers.decide import REFUSED, RUNS_DIR, groups, parse
from s2robot.cli.report import write
from s2robot.experiments.jobs import RunJob
from s2robot.experiments.seed_runs import SeedRuns, planned_record
from s2robot.experiments.sequential_sweep import (
    PlannedPair,
    PlannedVariant,
    Round,
    SequentialPlan,
    SequentialSweep,
)
from s2robot.experiments.variant import Variant
from s2robot.reporting.comparisons import questions
from s2robot.reporting.conclusions import p_text, signed
from s2robot.reporting.report import distinction, make_report
from s2robot.reporting.run_results import ComparisonGroup, RunResult, group_runs
from s2robot.reporting.variances import measured_components
from s2robot.stats.sample_sizes import Measured, Question, forecast
from s2robot.utils.console import MESSAGES, OUTPUT
from s2robot.utils.progress import duration

MOST_SEEDS = 256
"""Largest number of seeds that is simulated for a pair that is not shown."""
LEAST_DISTANCE = 0.001
"""Observed difference below which nothing is said of the seeds that it takes."""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status, as the help lists them."""
    options = parse(argv)
    jobs = [
        run_job(config)
        for settings in groups(options)
        for config in expand("sweep", [f"runs_dir={RUNS_DIR}", *settings], REFUSED)
    ]
    _check_shared(jobs)
    plan, jobs = make_plan(jobs, options)
    runs_dir = jobs[0].train.runs_dir
    runs = SeedRuns(jobs, plan.metric, [variant.label for variant in plan.variants])
    limits = (options.max_seeds, options.at_once)
    sweep = SequentialSweep(plan, runs, runs_dir, *limits, options.name or "")
    sweep.claim()
    _say(
        f"{len(plan.variants)} variants, pairs: {len(plan.pairs)}; each seed is rolled out from "
        f"{plan.initial_states} initial states; at most {options.max_seeds} seeds"
    )
    for each in sweep.rounds():
        _print_round(sweep, each)
        MESSAGES.print(_progress(sweep, each.seed, runs.seconds_per_run()))
    _print_verdicts(sweep)
    if sweep.rates:
        report = make_report(runs_dir / "cells", plan.metric)
        measured = measured_components(report.groups, plan.metric)
        for number in sweep.family.undecided:
            _say(_advice(sweep, number, measured, runs_dir))
        for path in write(report, runs_dir / "report"):
            _say(str(path))
    return _status(sweep)


def _check_shared(jobs: Sequence[RunJob]) -> None:
    """Raise a ValueError where there is one variant, or what all share has several values."""
    if len(jobs) == 1:
        raise ValueError(
            "there is no pair to decide: one variant is given. Give several values of a setting, "
            "such as 'scales=[1],[1,2]'"
        )
    shared = {
        "n": {job.n for job in jobs},
        "split": {job.split for job in jobs},
        "runs_dir": {job.train.runs_dir for job in jobs},
    }
    for name, values in shared.items():
        if len(values) > 1:
            listed = ", ".join(sorted(map(str, values)))
            raise ValueError(f"{name} is {listed}; all variants of a test need the same {name}")


def make_plan(
    jobs: Sequence[RunJob], options: argparse.Namespace
) -> tuple[SequentialPlan, list[RunJob]]:
    """Return what is tested, and the jobs of its variants in their order.

    Args:
        jobs: one for each variant; of equal ones, the last counts.
        options: metric, alpha and margin.

    Raises:
        ValueError: there is no pair to test.
    """
    records = [planned_record(job, Variant(job.train.variant)) for job in jobs]
    runs = [RunResult(Path(), record, (), {}) for record in records]
    by_key = {run.variant_key: job for run, job in zip(runs, jobs, strict=True)}
    distinct = {run.variant_key: run for run in runs}  # a baseline is the same at all scales
    groups = group_runs(list(distinct.values()))
    labels = _labels(groups)
    variants = {variant.key: variant for group in groups for variant in group.variants}
    numbers = {key: number for number, key in enumerate(variants)}
    pairs = [
        PlannedPair(numbers[first.key], numbers[second.key], question)
        for first, second, question in questions(groups)
        if first.info["level"] == second.info["level"]
    ]
    if not pairs:
        listed = "\n".join(f"  {label}" for label in labels.values())
        raise ValueError(
            "there is no pair to decide: no two of these variants differ in one setting of the "
            f"encoder only\n{listed}\nGive several values of a setting, such as "
            "'scales=[1],[1,2]', or any two variants of one level alone"
        )
    plan = SequentialPlan(
        tuple(PlannedVariant(labels[key], variants[key].settings) for key in variants),
        tuple(pairs),
        jobs[0].n,
        jobs[0].split,
        options.metric,
        options.alpha,
        options.margin,
    )
    return plan, [by_key[key] for key in variants]


def _labels(groups: Sequence[ComparisonGroup]) -> dict[str, str]:
    """Return a label by variant's key; equal ones get what their groups differ in."""
    found: dict[str, tuple[str, str]] = {}
    for group in groups:
        where = ", ".join(filter(None, (group.level, distinction(group, groups))))
        for variant in group.variants:
            found.setdefault(variant.key, (variant.label, f"{variant.label}, {where}"))
    short = [label for label, _ in found.values()]
    return {key: full if short.count(one) > 1 else one for key, (one, full) in found.items()}


def _print_round(sweep: SequentialSweep, each: Round) -> None:
    """Print one line for each failed seed and each pair that got a difference."""
    for variant, reason in each.failed.items():
        label = sweep.plan.variants[variant].label
        OUTPUT.print(Text("failed", "red"), f"seed {each.seed} of {label}: {reason}")
    for number in each.updated:
        evidence = sweep.family.pairs[number]
        first, second = _names(sweep, number)
        verdict = evidence.verdict if evidence.decided else "undecided"
        _say(
            f"seed {each.seed}: {second} against {first}: {_rates(sweep, number)}, "
            f"{_points(evidence.differences)} points (seeds so far: {len(evidence.seeds)}); "
            f"e-value {evidence.e_values[-1]:.3g}, {p_text(evidence.adjusted_p)}: {verdict}"
        )


def _progress(sweep: SequentialSweep, seed: int, seconds_per_run: float | None) -> str:
    """Return how many runs are left at most after a round, and the time that they take."""
    most = sweep.most_runs_left(seed)
    text = f"round {seed + 1} of at most {sweep.max_seeds} is done"
    if not most:
        return text
    time = "" if seconds_per_run is None else f", {duration(most * seconds_per_run)}"
    return f"{text}; left at most: {most} runs{time}; decided pairs end it earlier"


def _print_verdicts(sweep: SequentialSweep) -> None:
    """Print the verdicts and the episodes spent."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in ("comparison", "success", "points", "any time", "p (Holm)", "equivalent", "seeds"):
        table.add_column(name, justify="left" if name == "comparison" else "right")
    table.add_column("verdict")
    for number, evidence in enumerate(sweep.family.pairs):
        first, second = _names(sweep, number)
        interval = sweep.family.interval(number)
        table.add_row(
            f"{second} against {first}",
            _rates(sweep, number),
            _points(evidence.differences),
            f"{signed(100 * interval.low)} to {signed(100 * interval.high)}",
            p_text(evidence.adjusted_p),
            p_text(evidence.adjusted_equivalence_p),
            str(len(evidence.seeds)),
            evidence.verdict,
        )
    OUTPUT.print(table)
    for variant in sweep.given_up():
        _say(f"{sweep.plan.variants[variant].label} failed too often and got no more seeds")
    spent = sweep.record()["episodes"]
    _say(
        f"{spent['spent']:,} episodes; {spent['fixed_design_seeds']} seeds of each variant would "
        f"have taken {spent['fixed_design']:,}"
    )


def _advice(sweep: SequentialSweep, number: int, measured: Measured | None, runs_dir: Path) -> str:
    """Return what it would take to show a pair's difference, simulated with measured variances."""
    differences = sweep.family.pairs[number].differences
    first, second = _names(sweep, number)
    text = f"{second} against {first}: not shown after {len(differences)} seeds"
    distance = abs(sum(differences) / len(differences)) if differences else 0.0
    if distance < LEAST_DISTANCE or measured is None:
        return text
    plan = sweep.plan
    question = Question(distance, alpha=plan.alpha, comparisons=len(plan.pairs))
    seeds = forecast(question, measured, plan.initial_states, MOST_SEEDS).likely_seeds
    needed = f"more than {MOST_SEEDS}" if seeds is None else f"up to {seeds}"
    return (
        f"{text}; a difference of {100 * distance:.1f} points takes {needed} seeds with "
        f"{100 * question.wanted:g} % power (s2robot plan --difference {100 * distance:.1f} "
        f"--comparisons {len(plan.pairs)} --runs {runs_dir / 'cells'})"
    )


def _names(sweep: SequentialSweep, number: int) -> tuple[str, str]:
    pair, variants = sweep.plan.pairs[number], sweep.plan.variants
    return variants[pair.first].label, variants[pair.second].label


def _rates(sweep: SequentialSweep, number: int) -> str:
    """Return both success rates over the seeds of a pair, those of the second variant first."""
    pair, seeds = sweep.plan.pairs[number], sweep.family.pairs[number].seeds
    means = [
        f"{100 * sum(sweep.rates[variant, seed] for seed in seeds) / len(seeds):.1f} %"
        for variant in (pair.second, pair.first)
        if seeds
    ]
    return " and ".join(means) or "no seed"


def _points(differences: Sequence[float]) -> str:
    return signed(100 * sum(differences) / len(differences)) if differences else "–"


def _status(sweep: SequentialSweep) -> int:
    if sweep.failures:
        return 1
    if len(sweep.family.pairs) > 1:
        return 0
    return {**STATUS, "better": 0}[sweep.family.pairs[0].verdict]


def _say(text: str) -> None:
    OUTPUT.print(text)
