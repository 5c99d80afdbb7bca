"""Comparisons as a Markdown table, for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.conclusions import p_text, signed, statement
from s2robot.reporting.run_files import Problem
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.reporting.tradeoff.answers import FamilyAnswer

_HEAD = (
    "| | points | 95 % | p (Holm) | equivalent (Holm) | seeds | states | verdict |\n"
    "|---|---|---|---|---|---|---|---|"
)

_RATES_HEAD = "| | success | 95 % | seeds | episodes |\n|---|---|---|---|---|"


def markdown(
    families: Sequence[tuple[str, Sequence[Comparison]]],
    problems: Sequence[Problem],
    metric: str,
    groups: Sequence[ComparisonGroup] = (),
    answers: Sequence[FamilyAnswer] = (),
) -> str:
    """Return success rates and comparisons as tables, a sentence each, and the problems as a list.

    Args:
        families: names and comparisons, one table each.
        problems: what was left out or noticed.
        metric: one of ``METRICS``; the comparisons were made on it.
        groups: whose success rates are shown, one table each.
        answers: to "larger encoder or more scales?"; equal ones have one line.
    """
    blocks = []
    if answers:
        lines = (f"- **{_safe(a.word)}** for {_safe(f'{a.family}. {a.text}')}" for a in answers)
        blocks.append("\n".join(dict.fromkeys(lines)))
    for group in groups:
        blocks.append("#### " + _safe(f"{group.level}, {group.policy_kind}: success, {metric}"))
        rates = [_rate_row(variant, metric) for variant in group.variants]
        blocks.append("\n".join([_RATES_HEAD, *rates]))
    for name, pairs in families:
        blocks.append("#### " + _safe(f"{name}, {metric}"))
        blocks.append("\n".join([_HEAD, *(_row(pair) for pair in pairs)]))
        blocks.append("\n".join(f"- {_safe(statement(pair, metric))}" for pair in pairs))
    if problems:
        blocks.append("#### Left out, noticed")
        blocks.append("\n".join(f"- {_safe(str(problem))}" for problem in problems))
    return "\n\n".join(blocks) + "\n"


def _rate_row(variant: VariantResults, metric: str) -> str:
    rate, (successes, episodes) = variant.rate(metric), variant.count(metric)
    seeds = str(len(variant.seeds))
    limits = f"{100 * rate.low:.0f} to {100 * rate.high:.0f}"
    cells = [_safe(variant.label), f"{100 * rate.estimate:.1f} %", limits, seeds]
    return f"| {' | '.join(cells)} | {successes} / {episodes} |"


def _row(pair: Comparison) -> str:
    estimate, low, high = pair.limits
    _, adjusted, equivalence = pair.p_values
    cells = [
        f"{_safe(pair.second.label)} against {_safe(pair.first.label)}",
        signed(100 * estimate),
        f"{signed(100 * low)} to {signed(100 * high)}",
        p_text(adjusted),
        p_text(equivalence),
        " and ".join(str(len(seeds)) for seeds in pair.seeds[::-1]),
        str(pair.initial_states),
        f"**{pair.verdict}**",
    ]
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Return text in one line whose characters mean nothing to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~@])", r"\\\1", " ".join(text.split()))
