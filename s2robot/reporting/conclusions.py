"""Conclusions in words from a group's comparisons; no sentence claims more than the tests show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.run_results import ComparisonGroup

CEILING = 0.95
"""Success rate above which a level is too easy to separate encoders."""
DETAILED = 5000
"""Number of further initial states above which a sentence names only this bound."""


@dataclass(frozen=True)
class ComparisonKind:
    """The question that pairs of variants answer which differ in one setting."""

    question: str
    side: str = ""
    """The side of the pair that comes second; empty if neither is ahead of the other."""


COMPARISON_KINDS: dict[str, ComparisonKind] = {
    "scales": ComparisonKind("Do more scales help?", "more scales"),
    "size": ComparisonKind("Does a larger encoder help?", "the larger encoder"),
    "size_or_scales": ComparisonKind(
        "A larger encoder, or more scales on a smaller one?", "the larger encoder"
    ),
    "input": ComparisonKind("Do native pixels help at larger scales?", "native pixels"),
    "weights": ComparisonKind("Do trained weights help?", "trained weights"),
    "readout": ComparisonKind("Does the readout matter?"),
}


@dataclass(frozen=True)
class Conclusion:
    """A question, its short answer, and a sentence for each comparison behind it."""

    question: str
    short: str
    tone: str
    """"yes", "no" or "open"; decides the color on the page."""
    sentences: tuple[str, ...]


def conclusions(
    group: ComparisonGroup, comparisons: Sequence[Comparison], metric: str
) -> list[Conclusion]:
    """Return the conclusions from a group's comparisons, in the order of ``COMPARISON_KINDS``.

    Args:
        group: the variants that were compared.
        comparisons: their comparisons.
        metric: one of ``METRICS``; the comparisons were made on it.
    """
    found = []
    for name, kind in COMPARISON_KINDS.items():
        pairs = [pair for pair in comparisons if pair.kind == name]
        if pairs:
            sentences = tuple(sentence(pair, metric) for pair in pairs)
            found.append(Conclusion(kind.question, *_short_answer(kind, pairs), sentences))
        elif name in ("scales", "size"):
            setting = "scale set" if name == "scales" else "encoder size"
            reason = f"No two variants with finished runs differ in their {setting} alone."
            found.append(Conclusion(kind.question, "Not tested", "open", (reason,)))
    return found


def _short_answer(kind: ComparisonKind, pairs: Sequence[Comparison]) -> tuple[str, str]:
    """Return the short answer and its tone."""
    shown = [pair for pair in pairs if pair.distinguishable]
    if not shown:
        extent = f" in any of {len(pairs)} comparisons" if len(pairs) > 1 else ""
        return f"No significant difference{extent}", "open"
    better = sum(pair.difference.estimate > 0 for pair in shown)
    tone = "open" if len(shown) < len(pairs) else {len(pairs): "yes", 0: "no"}.get(better, "open")
    if len(pairs) == 1:
        return f"{shown[0].ordered[1].label} is better", tone
    rest = ", undecided in the others" if len(shown) < len(pairs) else ""
    if not kind.side:
        return f"A difference in {len(shown)} of {len(pairs)} comparisons{rest}", "open"
    counts = [(better, "better"), (len(shown) - better, "worse")]
    listed = ", ".join(f"{word} in {count}" for count, word in counts if count)
    side = kind.side[0].upper() + kind.side[1:]
    return f"{side}: {listed} of {len(pairs)} comparisons{rest}", tone


def sentence(pair: Comparison, metric: str) -> str:
    """Return one comparison as a sentence with its interval and its p-value.

    Args:
        pair: the comparison.
        metric: one of ``METRICS``; the comparison was made on it.
    """
    worse, better = pair.ordered
    estimate, low, high = (100 * value for value in pair.gain)
    seeds = f"{len(pair.seeds)} training seed{'s' * (len(pair.seeds) > 1)}"
    evidence = (
        f"95 % interval {signed(low)} to {signed(high)}; adjusted {p_text(pair.adjusted_p)}; "
        f"{seeds} × {pair.initial_states} initial states"
    )
    if pair.distinguishable:
        text = f"{better.label} beats {worse.label} by {estimate:.1f} points ({evidence})."
        return text + _seed_caveat(pair)
    text = f"{better.label} against {worse.label}: {signed(estimate)} points ({evidence}). "
    text += "No significant difference at this sample size."
    return text + _sample_size_hint(pair) + _ceiling_hint(pair, metric)


def _sample_size_hint(pair: Comparison) -> str:
    more = pair.more_initial_states
    if more is None:
        return ""
    if more == 0:
        return " More training seeds are needed to decide, not more initial states."
    if more > DETAILED:
        return (
            f" To show a difference this small, over {DETAILED} more initial states per variant "
            "are needed."
        )
    return (
        f" To show a difference this large, about {_round_up(more)} more initial states per "
        "variant are needed."
    )


def _seed_caveat(pair: Comparison) -> str:
    if len(pair.seeds) > 1:
        return ""
    return " With one training seed, this holds for these two policies, not yet for the encoders."


def _ceiling_hint(pair: Comparison, metric: str) -> str:
    if min(variant.pooled(metric).estimate for variant in (pair.first, pair.second)) < CEILING:
        return ""
    return " Both success rates are near the ceiling: evaluate on a harder level."


def _round_up(number: int) -> int:
    """Return ``number`` rounded up to two leading digits: sample sizes are estimates."""
    step = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / step) * step


def signed(value: float) -> str:
    """Return percentage points with their sign.

    Examples:
        >>> signed(3.14), signed(0.01)
        ('+3.1', '±0.0')
    """
    value = round(value, 1)
    return f"{'−' if value < 0 else '+' if value > 0 else '±'}{abs(value):.1f}"


def p_text(p_value: float) -> str:
    """Return a p-value as text.

    Examples:
        >>> p_text(0.00002), p_text(0.0424)
        ('p < 0.001', 'p = 0.042')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
