"""Work of ``s2robot plan``: numbers of training seeds and initial states that are needed."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.cli.parsers.plan import parse
from s2robot.errors import S2RobotError
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import group_runs
from s2robot.reporting.variances import measured_components
from s2robot.stats.sample_sizes import (
    ASSUMED,
    SEEDS,
    STATES,
    Combination,
    Measured,
    Question,
    SequentialForecast,
    cheapest,
    forecast,
    least_seeds,
    smallest_differences,
)
from s2robot.utils.console import OUTPUT
from s2robot.utils.progress import tracked


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    question = Question(options.difference, options.power, options.alpha, options.comparisons)
    measured = _measured(options)
    designs = tracked(STATES, "simulating s2robot decide", not options.json)
    found = _Sizes(
        question,
        measured,
        smallest_differences(question, measured),
        cheapest(question, measured),
        least_seeds(question, measured),
        tuple(forecast(question, measured, states) for states in designs),
    )
    if options.json:
        OUTPUT.print_json(data=found.record())
    else:
        _print(OUTPUT, found)
    return 0


def _measured(options: argparse.Namespace) -> Measured:
    found: Measured | None = ASSUMED
    if options.runs:
        found = measured_components(group_runs(load_runs(options.runs)), options.metric)
    if found is None:
        raise S2RobotError(
            f"no variant under {options.runs} has two finished training seeds, so their variance "
            "cannot be measured; train more seeds, or leave out --runs to assume some"
        )
    if options.seconds_per_episode:
        return dataclasses.replace(found, seconds_per_episode=options.seconds_per_episode)
    return found


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What the command found."""

    question: Question
    measured: Measured
    differences: list[list[float | None]]
    cheapest: Combination | None
    least_seeds: int | None
    decide: tuple[SequentialForecast, ...]

    def hours(self, episodes: float) -> float | None:
        """Return the duration of rollouts of two variants with some episodes each."""
        seconds = self.measured.seconds_per_episode
        return None if seconds is None else 2 * episodes * seconds / 3600

    def record(self) -> dict[str, Any]:
        """Return JSON-able values."""
        best = self.cheapest
        cheapest = None if best is None else {
            "seeds": best.seeds,
            "states": best.states,
            "episodes_per_variant": best.episodes,
            "hours": self.hours(best.episodes),
        }  # fmt: skip
        return {
            "question": dataclasses.asdict(self.question),
            "variance": dataclasses.asdict(self.measured),
            "smallest_differences": {
                "seeds": list(SEEDS),
                "states": list(STATES),
                "rows": self.differences,
            },
            "cheapest": cheapest,
            "least_seeds": self.least_seeds,
            "decide": [
                {**dataclasses.asdict(each), "hours": self.hours(each.mean_seeds * each.states)}
                for each in self.decide
            ],
        }


def _print(console: Console, found: _Sizes) -> None:
    question, parts = found.question, found.measured.components

    say = console.print
    say(
        f"standard deviations ({found.measured.source}): of seeds {100 * parts.seed_sd:.1f} "
        "points, of initial states for one variant more than for another "
        f"{100 * parts.interaction_sd:.1f}, of an episode {100 * parts.residual_sd:.1f}"
    )
    if found.measured.layout == "nested":
        say("each seed of these runs has initial states of its own; so do the seeds below")
    say(
        f"\nsmallest difference [points] that is shown with {100 * question.wanted:g} % power, "
        f"{question.comparisons} comparison{'s' * (question.comparisons > 1)}:"
    )
    console.print(_difference_table(found))
    say(f"\nto show {100 * question.difference:g} points:")
    for line in (_sweep_line(found), _seeds_line(found)):
        say(line)
    console.print(_decide_table(found))


def _difference_table(found: _Sizes) -> Table:
    """Return one row a number of seeds; bold where the wanted difference is shown."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("seeds", justify="right")
    for states in STATES:
        table.add_column(f"{states} states", justify="right")
    for seeds, row in zip(SEEDS, found.differences, strict=True):
        table.add_row(str(seeds), *(_cell(value, found.question.difference) for value in row))
    return table


def _cell(value: float | None, wanted: float) -> str | Text:
    if value is None:
        return "none"
    text = f"{100 * value:.1f}"
    return Text(text, "bold green") if value <= wanted else text


def _sweep_line(found: _Sizes) -> str:
    best = found.cheapest
    if best is None:
        return f"  sweep: no number of seeds on {STATES[-1]} initial states is enough"
    return (
        f"  sweep: {best.seeds} seeds on {best.states} initial states are the cheapest, "
        f"{2 * best.episodes:,} episodes of two variants{_hours_text(found.hours(best.episodes))}"
    )


def _seeds_line(found: _Sizes) -> str:
    if found.least_seeds is None:
        return "  however many initial states: no number of seeds is enough"
    return (
        f"  with fewer than {found.least_seeds} seeds, no number of initial states is enough"
        if found.least_seeds > SEEDS[0]
        else f"  {SEEDS[0]} seeds, the fewest for a verdict, can be enough on more initial states"
    )


def _decide_table(found: _Sizes) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1), title_justify="left")
    table.title = "`s2robot decide`, simulated; it stops at the first seed that shows it"
    names = ["states of a seed", "seeds (mean)", "episodes (mean)"]
    timed = found.measured.seconds_per_episode is not None
    for name in (*names, *["hours"] * timed):
        table.add_column(name, justify="right")
    table.add_column(f"shown within {found.decide[0].most_seeds} seeds", justify="right")
    table.add_column(f"{100 * found.question.wanted:g} % shown within", justify="right")
    for each in found.decide:
        episodes = each.mean_seeds * each.states
        hours = found.hours(episodes)
        table.add_row(
            str(each.states),
            f"{each.mean_seeds:.1f}",
            f"{2 * episodes:,.0f}",
            *([] if hours is None else [f"{hours:.1f}"]),
            f"{100 * each.shown:.0f} %",
            "more" if each.likely_seeds is None else f"{each.likely_seeds} seeds",
        )
    return table


def _hours_text(hours: float | None) -> str:
    return "" if hours is None else f", {hours:.1f} hours of rollouts"
