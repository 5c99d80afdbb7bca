"""Conclusions in words from a group's comparisons; no sentence claims more than the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s2robot.envs.tasks.names import is_foreign
from s2robot.experiments.sequential_results import SequentialTest
from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.run_results import ComparisonGroup
from s2robot.reporting.setting_differences import in_short
from s2robot.stats.power import LEAST_SEEDS, MOST_SEEDS, power, seeds_needed, smallest_difference
from s2robot.stats.sample_sizes import ENDLESS

CEILING = 0.95
"""Success rate above which a level is too easy to separate encoders."""
FLOOR = 0.05
"""Success rate below which a level is too hard to separate encoders."""
POWER = 0.8
"""Probability of showing a difference, for sample sizes."""


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
    "equal_width": ComparisonKind(
        "Do more scales help, against as many channels of one?", "more scales"
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
        elif name in ("scales", "size") and group.encoders:
            reason = _REASONS[name]
            found.append(Conclusion(kind.question, "Not tested", "open", (reason,)))
    return found


_REASONS = {
    "scales": "No two variants with finished runs differ in their scale set alone.",
    "size": "No two variants of one family with finished runs differ in their encoder size alone.",
}


def _short_answer(kind: ComparisonKind, pairs: Sequence[Comparison]) -> tuple[str, str]:
    """Return the short answer and its tone."""
    counts = Counter(pair.verdict for pair in pairs)
    verdicts = set(counts)
    if verdicts == {"not shown"}:
        extent = f" in any of {len(pairs)} comparisons" if len(pairs) > 1 else ""
        return f"No difference shown{extent}", "open"
    tones = {"better": "yes", "worse": "no", "equivalent": "no"}
    tone = tones[pairs[0].verdict] if len(verdicts) == 1 else "open"
    if verdicts == {"equivalent"}:
        extent = f", in all of {len(pairs)} comparisons" if len(pairs) > 1 else ""
        return f"Equivalent: {_apart(pairs[0])}{extent}", tone
    if len(pairs) == 1:
        return f"{pairs[0].second.label} is {pairs[0].verdict}", tone
    counts["a difference"] = counts["better"] + counts["worse"]
    named = ("better", "worse") if kind.side else ("a difference",)
    listed = [f"{name} in {counts[name]}" for name in (*named, "equivalent") if counts[name]]
    rest = ", not shown in the others" if counts["not shown"] else ""
    text = f"{kind.side}: {', '.join(listed)} of {len(pairs)} comparisons{rest}".lstrip(": ")
    return text[0].upper() + text[1:], tone


def sentence(pair: Comparison, metric: str) -> str:
    """Return one comparison as a sentence that follows its verdict.

    Args:
        pair: the comparison.
        metric: one of ``METRICS``; the comparison was made on it.
    """
    if pair.sequential:
        return _sequential_sentence(pair, pair.sequential)
    first, second = pair.first.label, pair.second.label
    estimate, low, high = (signed(100 * value) for value in pair.limits)
    evidence = f"95 % interval {low} to {high}; {_basis(pair)}"
    tested = _adjusted(pair.adjusted_p, pair)
    if pair.shown:
        text = f"{second} is {pair.verdict} than {first}: {estimate} points ({evidence}; {tested})."
        return text + f" They are {_apart(pair)}." * pair.close
    if pair.verdict == "equivalent":
        tested = f"{_adjusted(pair.adjusted_equivalence_p, pair)} for equivalence"
        text = f"{second} against {first}: {estimate} points ({evidence}; {tested})."
        text += f" They are equivalent: {_apart(pair)}."
        return " ".join([text, *_limit_hint(pair, metric)])
    text = f"{second} against {first}: {estimate} points ({evidence}; {tested})."
    text += " No difference is shown."
    return " ".join([text, *_seed_caveat(pair), *_advice(pair), *_limit_hint(pair, metric)])


def _sequential_sentence(pair: Comparison, test: SequentialTest) -> str:
    """Return the verdict of a sequential sweep as a sentence."""
    first, second = pair.first.label, pair.second.label
    estimate, low, high = (signed(100 * value) for value in pair.limits)
    if not test.planned:
        return (
            f"{second} against {first}: {estimate} points. No verdict: a sequential test chose the "
            "number of seeds, and it did not test this pair on this metric."
        )
    adjusted = test.adjusted_equivalence_p if test.verdict == "equivalent" else test.adjusted_p
    evidence = (
        f"{100 * pair.confidence:g} % interval at any stopping time {low} to {high}; "
        f"{test.seeds} training seeds, each on {pair.states_per_seed} initial states of its own; "
        f"sequential test, {'adjusted ' * (test.family > 1)}{p_text(adjusted)}"
    )
    if pair.shown:
        text = f"{second} is {pair.verdict} than {first}: {estimate} points ({evidence})."
        return text + f" They are {_apart(pair)}." * pair.close
    if test.verdict == "equivalent":
        text = f"{second} against {first}: {estimate} points ({evidence})."
        return text + f" They are equivalent: {_apart(pair)}."
    return (
        f"{second} against {first}: {estimate} points ({evidence}). No difference is shown. "
        "`s2robot decide` with a larger --max-seeds adds seeds."
    )


def statement(pair: Comparison, metric: str) -> str:
    """Return one comparison in words, with what differs where no question names it.

    Args:
        pair: the comparison.
        metric: one of ``METRICS``; the comparison was made on it.
    """
    return f"{sentence(pair, metric)} {differs_text(pair)}".rstrip()


def differs_text(pair: Comparison) -> str:
    """Return what differs between two variants as a sentence; empty if the question names it."""
    if pair.kind in COMPARISON_KINDS:
        return ""
    if not pair.differs:
        return "The settings are the same; only training seeds differ."
    return f"What differs: {in_short(pair.differs)}."


def _apart(pair: Comparison) -> str:
    return f"no more than {100 * (pair.sequential or pair).margin:g} points apart"


def _basis(pair: Comparison) -> str:
    """Return numbers of training seeds and of initial states, of the second variant first."""
    counts = [len(seeds) for seeds in pair.seeds[::-1]]
    seeds = " and ".join(map(str, dict.fromkeys(counts)))
    text = f"{seeds} training seed{'s' * (max(counts) > 1)}, "
    text += f"{pair.initial_states} initial state{'s' * (pair.initial_states > 1)}"
    if any(pair.unshared):
        of = " and ".join(str(pair.initial_states + more) for more in pair.unshared[::-1])
        text += f" that both have, of {of}"
    return text


def _adjusted(p_value: float, pair: Comparison) -> str:
    return f"{'adjusted ' * (pair.family > 1)}{p_text(p_value)}"


def _seed_caveat(pair: Comparison) -> list[str]:
    if pair.decidable:
        return []
    text = f"A verdict takes {LEAST_SEEDS} training seeds of each variant"
    if min(map(len, pair.seeds)) == 1:
        text += "; from one, nothing is known of others"
    return [f"{text}."]


def _advice(pair: Comparison) -> list[str]:
    """Return sentences on the seeds and initial states that would show a difference.

    With one training seed of a variant nothing is known of its variance, and there is no sentence.
    """
    seeds = min(map(len, pair.seeds))
    if pair.components is None or seeds < 2 or pair.states_per_seed < 2:
        return []
    return [*_more_seeds(pair, seeds), *_visible(pair, seeds)]


def _more_seeds(pair: Comparison, seeds: int) -> list[str]:
    difference = pair.difference.estimate
    if difference == 0:
        return []
    states, options = pair.states_per_seed, _options(pair)
    needed = seeds_needed(difference, states, wanted=POWER, **options)
    if needed is None:
        text = f"Even {MOST_SEEDS} training seeds on {states} initial states"
        return [f"{text} would not show a difference this small."]
    if needed <= seeds:
        return []
    text = f"About {needed - seeds} more training seeds of each variant on {states} initial states"
    text += f" would show a difference this large with {POWER:.0%} power".replace("%", " %")
    if power(difference, seeds, ENDLESS, **options) < POWER:
        text += "; no number of initial states alone would"
    return [f"{text}."]


def _visible(pair: Comparison, seeds: int) -> list[str]:
    smallest = smallest_difference(seeds, pair.states_per_seed, wanted=POWER, **_options(pair))
    if smallest is None:
        return []
    return [f"The present sample shows differences from {100 * smallest:.0f} points on."]


def _options(pair: Comparison) -> dict[str, Any]:
    nested = pair.states_per_seed < pair.initial_states
    return {
        "components": pair.components,
        "comparisons": pair.family,
        "layout": "nested" if nested else "crossed",
    }


def _limit_hint(pair: Comparison, metric: str) -> list[str]:
    rates = [variant.rate(metric).estimate for variant in (pair.first, pair.second)]
    where = "task" if is_foreign(str(pair.second.info["level"])) else "level"
    if min(rates) >= CEILING:
        return [f"Both success rates are near the ceiling: evaluate on a harder {where}."]
    if max(rates) <= FLOOR:
        return ["Both success rates are near zero: nothing can differ; see the ground truth."]
    return []


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
