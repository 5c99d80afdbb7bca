"""Comparisons as a Markdown table, for a comment on a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.conclusions import p_text, signed, statement
from s2robot.reporting.run_files import Problem

_HEAD = (
    "| | points | 95 % | p (Holm) | equivalent (Holm) | seeds | states | verdict |\n"
    "|---|---|---|---|---|---|---|---|"
)


def markdown(
    families: Sequence[tuple[str, Sequence[Comparison]]],
    problems: Sequence[Problem],
    metric: str,
) -> str:
    """Return comparisons as tables with a sentence each, and the problems as a list.

    Args:
        families: names and comparisons, one table each.
        problems: what was left out or noticed.
        metric: one of ``METRICS``; the comparisons were made on it.
    """
    blocks = []
    for name, pairs in families:
        blocks.append("#### " + _safe(f"{name}, {metric}"))
        blocks.append("\n".join([_HEAD, *(_row(pair) for pair in pairs)]))
        blocks.append("\n".join(f"- {_safe(statement(pair, metric))}" for pair in pairs))
    if problems:
        blocks.append("#### Left out, noticed")
        blocks.append("\n".join(f"- {_safe(str(problem))}" for problem in problems))
    return "\n\n".join(blocks) + "\n"


def _row(pair: Comparison) -> str:
    estimate, low, high = pair.limits
    _, adjusted, equivalence = pair.p_values
    cells = [
        f"{_safe(pair.second.label)} against {_safe(pair.first.label)}",
        signed(100 * estimate),
        f"{signed(100 * low)} to {signed(100 * high)}",
        p_text(adjusted),
        p_text(equivalence),
        " and ".join(str(len(seeds)) for seeds in pair.seeds),
        str(pair.initial_states),
        f"**{pair.verdict}**",
    ]
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Return text in one line whose characters mean nothing to Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~@])", r"\\\1", " ".join(text.split()))
