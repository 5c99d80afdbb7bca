"""The answer to "larger encoder or more scales?" for each family of encoders, in one line.

It follows from verdicts alone, which are adjusted for all comparisons of the report, so that no
answer claims more than they do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.run_results import ComparisonGroup, VariantResults

ANSWERS = ("larger", "more scales", "either", "not shown")
"""The words of an answer."""
NO_FAMILY = "no trained encoder has a finished run, so nothing is asked"


@dataclass(frozen=True)
class FamilyAnswer:
    """The answer for one family on one level."""

    level: str
    policy_kind: str
    family: str
    """Family of the encoders, or the encoder's name where it has none."""
    word: str
    """One of ``ANSWERS``."""
    text: str
    """Why, as one sentence."""

    def __str__(self) -> str:
        return f"{self.family}: {self.word}. {self.text}"


def answers(group: ComparisonGroup, pairs: Sequence[Comparison]) -> list[FamilyAnswer]:
    """Return the answer for each family of trained encoders in a group, most compared first.

    Args:
        group: variants that may be compared.
        pairs: their comparisons; each is second minus first, where the second is the larger
            encoder or has more scales.
    """
    families = dict.fromkeys(family_of(v) for v in group.encoders if not v.is_random)
    compared = {family: _within(family, pairs) for family in families}
    found = []
    for family in sorted(families, key=lambda name: -len(compared[name])):
        word, text = _answer(compared[family])
        found.append(FamilyAnswer(group.level, group.policy_kind, family, word, text))
    return found


def _within(family: str, pairs: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons between trained encoders of one family."""
    own = [p for p in pairs if {family_of(p.first), family_of(p.second)} == {family}]
    return [p for p in own if not (p.first.is_random or p.second.is_random)]


def family_of(variant: VariantResults) -> str:
    """Return the family of a variant's encoder, or its name where the family is not known."""
    return variant.family or variant.backbone


def _answer(pairs: Sequence[Comparison]) -> tuple[str, str]:
    counts = {
        kind: Counter(pair.verdict for pair in pairs if pair.kind == kind)
        for kind in ("scales", "size", "size_or_scales", "equal_width")
    }
    contest = counts["size_or_scales"]
    helps = {kind: counts[kind]["better"] > 0 for kind in ("scales", "size")}
    words = [
        _effect("a larger encoder", counts["size"]),
        _effect("a further scale", counts["scales"]),
    ]
    if counts["equal_width"]:
        words.append(_effect("against as many channels of one scale, it", counts["equal_width"]))
    if contest:
        words.append(_contest(contest))
    text = "; ".join(words)
    return _word(contest, helps), f"{text[0].upper()}{text[1:]}."


def _word(contest: Counter[str], helps: dict[str, bool]) -> str:
    """Return the word that the verdicts of the direct comparisons, or else of both steps, give."""
    if contest["better"] and contest["worse"]:
        return "either"
    if contest["better"]:
        return "larger"
    if contest["worse"]:
        return "more scales"
    if set(contest) == {"equivalent"} or (helps["size"] and helps["scales"]):
        return "either"
    if helps["size"]:
        return "larger"
    return "more scales" if helps["scales"] else "not shown"


def _effect(what: str, counts: Counter[str]) -> str:
    """Return what one step does, such as "a further scale helps in 2 of 3 comparisons"."""
    total = counts.total()
    if not total:
        return f"{what} was not tested"
    of = f"{total} comparison{'s' * (total > 1)}"
    parts = [f"{verb} in {counts[v]}" for v, verb in (("better", "helps"), ("worse", "hurts"))
             if counts[v]]  # fmt: skip
    if parts:
        return f"{what} {' and '.join(parts)} of {of}"
    if counts["equivalent"] == total:
        return f"{what} makes no difference that matters (equivalent in {of})"
    return f"{what} is not shown to help ({of})"


def _contest(counts: Counter[str]) -> str:
    """Return which side of the direct comparisons won."""
    total = counts.total()
    of = f"{total} direct comparison{'s' * (total > 1)}"
    parts = [
        f"{side} {counts[verdict]}"
        for verdict, side in (("better", "the larger encoder wins"), ("worse", "more scales win"))
        if counts[verdict]
    ]
    if parts:
        return f"of {of}, {' and '.join(parts)}"
    if counts["equivalent"] == total:
        return f"both are equivalent in {of}"
    return f"no difference between the two is shown ({of})"
