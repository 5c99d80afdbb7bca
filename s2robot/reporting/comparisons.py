"""What a sweep's paired outcomes say, in numbers and in words that claim no more than they show."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.stats.intervals import Interval
from s2robot.stats.paired_tests import McNemar, holm, mcnemar, paired_difference, pairs_needed

ALPHA = 0.05
CEILING = 0.95
SAME_SIZE = 1.1  # encoders whose parameters differ by less than this factor count as one size
DETAILED = 5000  # beyond this many conditions, a sample size says "too small to chase"


@dataclass(frozen=True)
class ComparisonKind:
    """What a pair of arms bears on, and which side of the pair comes second."""

    text: str
    side: str = ""


COMPARISON_KINDS = {
    "scales": ComparisonKind("Do more scales help?", "more scales"),
    "size": ComparisonKind("Does a larger encoder help?", "the larger encoder"),
    "size_or_scales": ComparisonKind(
        "A larger encoder, or more scales on a smaller one?", "the larger encoder"
    ),
    "input": ComparisonKind("Is it the pixels, or the scales?", "native pixels"),
    "weights": ComparisonKind("Do trained weights help?", "trained weights"),
    "readout": ComparisonKind("Does the readout matter?"),
}


@dataclass(frozen=True)
class Comparison:
    """Two arms on the same conditions; the difference is `second` minus `first`."""

    first: VariantResults
    second: VariantResults
    kind: str
    """A key of QUESTIONS, or "several" when the arms differ in more than one question."""
    seeds: tuple[int, ...]
    conditions: int
    difference: Interval
    per_seed: tuple[McNemar, ...]
    pooled: McNemar
    adjusted_p: float = 1.0
    """Holm-adjusted over all comparisons of the report."""
    family: int = 1
    """Number of those comparisons."""

    @property
    def distinguishable(self) -> bool:
        """Both the test (adjusted) and the interval (which knows of seeds) must say so."""
        return self.adjusted_p < ALPHA and self.difference.excludes_zero()

    @property
    def ordered(self) -> tuple[VariantResults, VariantResults]:
        """The arms with the one that did better last."""
        if self.difference.estimate >= 0:
            return self.first, self.second
        return self.second, self.first

    @property
    def gain(self) -> tuple[float, float, float]:
        """The difference and its limits, in favour of the arm that did better."""
        found = self.difference
        if found.estimate >= 0:
            return found.estimate, found.low, found.high
        return -found.estimate, -found.high, -found.low

    @property
    def more_conditions(self) -> int | None:
        """Return how many more conditions would show the observed difference with 80 % power.

        The number is per arm, for one of the report's comparisons; None without a difference.
        """
        pairs = len(self.seeds) * self.conditions
        discordant = (self.pooled.only_first + self.pooled.only_second) / pairs
        needed = pairs_needed(self.difference.estimate, discordant, alpha=ALPHA / self.family)
        if needed is None:
            return None
        return max(0, math.ceil(needed / len(self.seeds)) - self.conditions)


def compare_groups(groups: Sequence[ComparisonGroup], metric: str) -> list[list[Comparison]]:
    """Compare every pair of encoders within each group; p-values are Holm-adjusted over all."""
    per_group = [_compare_variants(group, metric) for group in groups]
    p_values = [pair.pooled.p_value for pairs in per_group for pair in pairs]
    adjusted = iter(holm(p_values))
    return [
        [
            dataclasses.replace(pair, adjusted_p=next(adjusted), family=len(p_values))
            for pair in pairs
        ]
        for pairs in per_group
    ]


def _compare_variants(group: ComparisonGroup, metric: str) -> list[Comparison]:
    pairs = []
    for first, second in itertools.combinations(group.encoders, 2):
        seeds = sorted(first.finished_seeds() & second.finished_seeds())
        if seeds:
            pairs.append(_compare(first, second, seeds, metric))
    return pairs


def _compare(
    first: VariantResults, second: VariantResults, seeds: Sequence[int], metric: str
) -> Comparison:
    kind = classify(first, second)
    first, second = sorted((first, second), key=lambda variant: _rank(variant, kind))
    a, b = first.outcomes(seeds, metric), second.outcomes(seeds, metric)  # (S, C) each
    return Comparison(
        first,
        second,
        kind,
        tuple(seeds),
        a.shape[1],
        paired_difference(a, b),
        tuple(mcnemar(row_a, row_b) for row_a, row_b in zip(a, b, strict=True)),
        mcnemar(a, b),
    )


def classify(first: VariantResults, second: VariantResults) -> str:
    """Return which of QUESTIONS a pair of arms answers, or "several"."""
    changes = _changes(first, second)
    if len(changes) == 1 and changes != {"backbone"}:
        return changes.pop()
    if first.is_random != second.is_random:
        return "weights" if changes == {"backbone"} and _same_size(first, second) else "several"
    if _same_size(first, second):
        return "several"
    if changes == {"backbone"}:
        return "size"
    small, large = sorted((first, second), key=lambda variant: variant.parameters)
    traded = changes == {"backbone", "scales"} and len(small.scales) > len(large.scales)
    return "size_or_scales" if traded else "several"


def _rank(variant: VariantResults, kind: str) -> float:
    """The side that a question asks about ranks higher."""
    ranks = {
        "scales": len(variant.scales),
        "size": variant.parameters,
        "size_or_scales": variant.parameters,
        "input": variant.input_mode == "native",
        "weights": not variant.is_random,
    }
    return float(ranks.get(kind, 0))


def _changes(first: VariantResults, second: VariantResults) -> set[str]:
    both_multiscale = min(len(first.scales), len(second.scales)) > 1
    differs = {
        "backbone": first.backbone != second.backbone,
        "scales": first.scales != second.scales,
        "input": both_multiscale and first.input_mode != second.input_mode,
        "readout": first.readout != second.readout,
        "view": first.view != second.view,
    }
    return {name for name, different in differs.items() if different}


def _same_size(first: VariantResults, second: VariantResults) -> bool:
    small, large = sorted((first.parameters, second.parameters))
    return large <= SAME_SIZE * small


@dataclass(frozen=True)
class Conclusion:
    """One question, a short answer, and a sentence for each comparison behind it."""

    question: str
    short: str
    tone: str
    """"yes", "no" or "open", for the page's colours."""
    sentences: tuple[str, ...]


def conclusions(
    group: ComparisonGroup, comparisons: Sequence[Comparison], metric: str
) -> list[Conclusion]:
    """Answer the questions that a group's comparisons bear on, in the order of QUESTIONS."""
    found = []
    for kind, question in COMPARISON_KINDS.items():
        about = [pair for pair in comparisons if pair.kind == kind]
        if about:
            sentences = tuple(sentence(pair, metric) for pair in about)
            found.append(Conclusion(question.text, *_short(question, about), sentences))
        elif kind in ("scales", "size"):
            what = "scale set" if kind == "scales" else "encoder size"
            reason = f"No two arms with finished cells differ in their {what} alone."
            found.append(Conclusion(question.text, "Not asked", "open", (reason,)))
    return found


def _short(question: ComparisonKind, pairs: Sequence[Comparison]) -> tuple[str, str]:
    shown = [pair for pair in pairs if pair.distinguishable]
    if not shown:
        where = f" in any of {len(pairs)} comparisons" if len(pairs) > 1 else ""
        return f"No difference shown{where}", "open"
    better = sum(pair.difference.estimate > 0 for pair in shown)
    tone = "open" if len(shown) < len(pairs) else {len(pairs): "yes", 0: "no"}.get(better, "open")
    if len(pairs) == 1:
        return f"{shown[0].ordered[1].label} is better", tone
    rest = ", undecided in the others" if len(shown) < len(pairs) else ""
    if not question.side:
        return f"A difference in {len(shown)} of {len(pairs)} comparisons{rest}", "open"
    counts = [(better, "better"), (len(shown) - better, "worse")]
    words = ", ".join(f"{word} in {count}" for count, word in counts if count)
    side = question.side[0].upper() + question.side[1:]
    return f"{side}: {words} of {len(pairs)} comparisons{rest}", tone


def sentence(pair: Comparison, metric: str) -> str:
    """Say what one comparison shows and how sure it is."""
    worse, better = pair.ordered
    estimate, low, high = (100 * value for value in pair.gain)
    amount = f"{len(pair.seeds)} training seed{'s' * (len(pair.seeds) > 1)}"
    evidence = (
        f"95 % interval {signed(low)} to {signed(high)}; adjusted {p_text(pair.adjusted_p)}; "
        f"{amount} × {pair.conditions} conditions"
    )
    if pair.distinguishable:
        text = f"{better.label} beats {worse.label} by {estimate:.1f} points ({evidence})."
        return text + _seed_caveat(pair)
    text = f"{better.label} against {worse.label}: {signed(estimate)} points ({evidence}). "
    return text + "Not distinguishable at this n." + _remedy(pair) + _ceiling(pair, metric)


def _remedy(pair: Comparison) -> str:
    more = pair.more_conditions
    if more is None:
        return ""
    if more == 0:
        return " More training seeds, rather than more conditions, would be needed to settle it."
    if more > DETAILED:
        return f" If it is truly this small, over {DETAILED} more conditions would be needed."
    return (
        f" If it is truly this large, about {_round_up(more)} more conditions per arm would be "
        "needed to show it."
    )


def _seed_caveat(pair: Comparison) -> str:
    if len(pair.seeds) > 1:
        return ""
    return " With one training seed this holds for these two policies, not yet for the encoders."


def _ceiling(pair: Comparison, metric: str) -> str:
    if min(variant.pooled(metric).estimate for variant in (pair.first, pair.second)) < CEILING:
        return ""
    return " Both are near the ceiling: a harder level would tell more."


def _round_up(number: int) -> int:
    """Two leading digits: sample sizes are rough."""
    step = 10 ** max(0, len(str(number)) - 2)
    return math.ceil(number / step) * step


def signed(value: float) -> str:
    """Format percentage points with a true minus sign."""
    value = round(value, 1)
    return f"{'−' if value < 0 else '+' if value > 0 else '±'}{abs(value):.1f}"


def p_text(p_value: float) -> str:
    """Format a p-value."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
