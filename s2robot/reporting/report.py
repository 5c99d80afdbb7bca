"""Everything that a report says, from a folder of runs; pages and files are written from it."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from s2robot.envs.tasks.names import is_foreign, titled
from s2robot.errors import S2RobotError, unknown
from s2robot.evaluation.identity import exact_runtime
from s2robot.experiments.sequential_results import SequentialResults, read_sequential
from s2robot.reporting import METRICS
from s2robot.reporting.comparisons import Comparison, compare_groups
from s2robot.reporting.conclusions import CEILING, FLOOR
from s2robot.reporting.generalization import Generalization, generalization
from s2robot.reporting.run_files import Problem, read_runs
from s2robot.reporting.run_results import ComparisonGroup, VariantResults, group_runs
from s2robot.reporting.setting_differences import (
    in_short,
    own_words,
    shared_changes,
    without_repeats,
    words,
)
from s2robot.stats.power import LEAST_SEEDS

_NOT_SEQUENTIAL = (
    "Verdicts are those for a number of training seeds that was fixed before, which that of a "
    "sequential sweep is not: repeat `s2robot decide`"
)


GROUND_TRUTH_LEAST = 0.8
"""Success rate of the ground-truth baseline below which encoders have little room to differ."""
BLIND_MOST = 0.2
"""Success rate of the blind baseline above which a part of the task needs no eyes."""


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        metric: one of ``METRICS``; comparisons are made on it.
        groups: the variants that may be compared with each other.
        comparisons: those of each group.
        tables: of generalization to perturbed scenes.
        problems: what was left out or noticed.
        missing: a line for each run that is missing or not finished.
        sequential: sweeps that chose their number of seeds by a sequential test.
    """

    metric: str
    groups: tuple[ComparisonGroup, ...]
    comparisons: tuple[tuple[Comparison, ...], ...]
    tables: tuple[Generalization, ...]
    problems: tuple[Problem, ...]
    missing: tuple[str, ...]
    sequential: tuple[SequentialResults, ...] = ()

    @property
    def families(self) -> list[tuple[str, tuple[Comparison, ...]]]:
        """Names of the groups and tables, and the comparisons of each."""
        of_groups = [
            (", ".join(filter(None, (g.level, g.policy_kind, self.distinction(g)))), pairs)
            for g, pairs in zip(self.groups, self.comparisons, strict=True)
        ]
        of_tables = [
            (f"{table.perturbed} against {table.nominal}, {table.policy_kind}", table.pairs)
            for table in self.tables
        ]
        return [family for family in (*of_groups, *of_tables) if family[1]]

    def distinction(self, group: ComparisonGroup) -> str:
        """Return the settings in which a group differs from others of its level."""
        return distinction(group, self.groups)


def make_report(runs_dir: str | Path, metric: str = "success_once") -> Report:
    """Return the content of the report on all runs in a folder.

    Args:
        runs_dir: folder with the runs of one or several sweeps.
        metric: "success_once" (at any step) or "success_at_end" (when time is up).

    Raises:
        S2RobotError: no run is usable, or none has an episode yet.
        ValueError: the metric is unknown.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    runs, problems = read_runs(runs_dir)
    sequential, unusable = read_sequential(runs_dir)
    problems += [Problem(path.name, f"{reason}. {_NOT_SEQUENTIAL}") for path, reason in unusable]
    stopped = {variant["key"] for results in sequential for variant in results.variants}
    missing = [line for group in group_runs(runs) for line in group.missing(stopped)]
    groups = group_runs([run for run in runs if run.rows])
    if not groups:
        raise S2RobotError(f"no run under {runs_dir} has an episode yet; let the sweep continue")
    comparisons = [
        [with_sequential(pair, sequential, metric) for pair in pairs]
        for pairs in compare_groups(groups, metric)
    ]
    problems += [*_mixed_settings(groups), *_mixed_runtimes(groups)]
    for group, pairs in zip(groups, comparisons, strict=True):
        problems += [*_without_shared_states(group, pairs), *_too_few_seeds(group)]
    problems += [warning for group in groups for warning in control_warnings(group, metric)]
    return Report(
        metric,
        tuple(groups),
        tuple(map(tuple, comparisons)),
        tuple(generalization(groups, metric)),
        tuple(dict.fromkeys(problems)),
        tuple(dict.fromkeys(missing)),
        tuple(sequential),
    )


def with_sequential(
    pair: Comparison, sequential: Sequence[SequentialResults], metric: str
) -> Comparison:
    """Return a comparison whose verdict is that of a sequential sweep, if one tested its variants.

    Args:
        pair: of a fixed sample.
        sequential: sweeps; the first that planned this pair decides. Where one tested its variants
            and none planned the pair, there is no verdict.
        metric: the comparison was made on it.
    """
    found = (each.find(pair.first.key, pair.second.key, metric) for each in sequential)
    tests = sorted(filter(None, found), key=lambda test: not test.planned)
    return dataclasses.replace(pair, sequential=next(iter(tests), None))


def distinction(group: ComparisonGroup, groups: Sequence[ComparisonGroup]) -> str:
    """Return the settings in which a group differs from others of its level; empty if alone.

    Args:
        group: one of ``groups``.
        groups: all groups of a report.
    """
    others = [other for other in groups if other.level == group.level and other is not group]
    found = [without_repeats(shared_changes(group.settings, other.settings)) for other in others]
    named = {name: both for differing in found for name, both in differing.items()}
    return in_short(own_words(named))


def _mixed_settings(groups: Sequence[ComparisonGroup]) -> list[Problem]:
    """Name what differs between groups of one level."""
    found = []
    for first, second in itertools.combinations(groups, 2):
        if first.level == second.level:
            lines = words(shared_changes(first.settings, second.settings))
            text = f"{in_short(lines)}: not compared with each other"
            found.append(Problem(titled(first.level), text, left_out=False))
    return found


def _mixed_runtimes(groups: Sequence[ComparisonGroup]) -> list[Problem]:
    """Name the exact runtimes of a group's runs, where there are several."""
    found = []
    for group in groups:
        runs = [run for variant in group.variants for run in variant.runs]
        used = Counter(filter(None, (exact_runtime(run.settings) for run in runs)))
        if len(used) > 1:
            listed = ", ".join(f"{name} ({count} runs)" for name, count in sorted(used.items()))
            text = f"exact runtimes {listed}: equal to rounding, so these runs are compared"
            found.append(Problem(titled(group.level), text, left_out=False))
    return found


def _without_shared_states(group: ComparisonGroup, pairs: Sequence[Comparison]) -> list[Problem]:
    """Name the pairs of encoders that have no initial state in common."""
    compared = {frozenset((pair.first.key, pair.second.key)) for pair in pairs}
    found = []
    for first, second in itertools.combinations(group.encoders, 2):
        both = first.finished and second.finished
        if both and frozenset((first.key, second.key)) not in compared:
            where = f"{first.label} and {second.label} ({titled(group.level)})"
            found.append(Problem(where, "no initial state in common: not comparable"))
    return found


def _too_few_seeds(group: ComparisonGroup) -> list[Problem]:
    """Name the encoders that have too few training seeds for a verdict."""
    few = [variant for variant in group.encoders if len(variant.finished) < LEAST_SEEDS]
    if not few:
        return []
    listed = in_short([f"{variant.label} has {len(variant.finished)}" for variant in few])
    text = f"a verdict takes {LEAST_SEEDS} finished training seeds of a variant; {listed}"
    return [Problem(titled(group.level), text, left_out=False)]


def control_warnings(group: ComparisonGroup, metric: str) -> list[Problem]:
    """Return warnings where a group's rates say that it cannot show much about encoders.

    That is so where the ground truth does not help, where a blind policy succeeds, and where all
    encoders are near 0 % or near 100 %.

    Args:
        group: variants with one episode or more each.
        metric: one of ``METRICS``.
    """
    lines, ends = [], _OF_TASKS if is_foreign(group.level) else _OF_LEVELS
    for variant in group.baselines:
        rate = variant.rate(metric).estimate
        if variant.backbone == "state" and rate < GROUND_TRUTH_LEAST:
            lines.append((variant.label, f"{_rate_text(variant, metric)}: {_LOW_GROUND_TRUTH}"))
        if variant.backbone == "none" and rate > BLIND_MOST:
            advice = _HIGH_BLIND + ends[_HIGH_BLIND]
            lines.append((variant.label, f"{_rate_text(variant, metric)}: {advice}"))
    rates = [variant.rate(metric).estimate for variant in group.encoders]
    listed = in_short([f"{v.label} {_rate_text(v, metric)}" for v in group.encoders])
    if rates and max(rates) <= FLOOR:
        lines.append(("every encoder near 0 %", f"{listed}. {_AT_THE_FLOOR}{ends[_AT_THE_FLOOR]}"))
    if rates and min(rates) >= CEILING:
        lines.append(
            ("every encoder near 100 %", f"{listed}. {_AT_THE_CEILING}{ends[_AT_THE_CEILING]}")
        )
    where = f"{titled(group.level)}, {group.policy_kind}"
    return [Problem(f"{where}, {name}", text, left_out=False) for name, text in lines]


_LOW_GROUND_TRUTH = (
    "a policy that reads the cube's true position is not reliable either, so the demonstrations, "
    "the budget or the policy limit success here, and what an encoder is worth shows little or not "
    "at all. Give more demonstrations (demos.episodes=) or more training (budget=standard) first"
)
_HIGH_BLIND = (
    "a policy without eyes succeeds, so these initial states show less of what an encoder is "
    "worth. Check that "
)
_AT_THE_FLOOR = "Differences cannot show here; give more demonstrations or training"
_AT_THE_CEILING = "Differences cannot show here; take a harder "
_OF_LEVELS = {
    _HIGH_BLIND: "the cube's position varies, or take a harder level",
    _AT_THE_FLOOR: ", or take an easier level (level=easy)",
    _AT_THE_CEILING: "level (level=precise, level=hard)",
}
"""How advice ends in pick-cube."""
_OF_TASKS = {
    _HIGH_BLIND: "what is to be reached varies between them",
    _AT_THE_FLOOR: ", or take an easier task",
    _AT_THE_CEILING: "task, or fewer demonstrations",
}
"""How it ends in other tasks."""


def _rate_text(variant: VariantResults, metric: str) -> str:
    rate = variant.rate(metric)
    limits = f"{100 * rate.low:.0f} to {100 * rate.high:.0f}"
    return f"{100 * rate.estimate:.1f} % [{limits}]"
