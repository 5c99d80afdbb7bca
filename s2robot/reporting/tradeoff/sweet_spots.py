"""Sweet spots: for each budget of cost, the variant with the highest success rate within it.

The highest of several measured rates is not evidence by itself. So each sweet spot says whether a
comparison tells it apart from the runner-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.run_results import ComparisonGroup, VariantResults

_OPPOSITE = {"better": "worse", "worse": "better"}


def milliseconds(variant: VariantResults) -> float | None:
    """Return the measured latency of one frame, encoder and policy [ms, p50]; None if unknown."""
    return variant.latency_ms("single_frame", "total", "p50")


def gflops(variant: VariantResults) -> float | None:
    """Return the cost of encoding one frame [GFLOP]; None if unknown."""
    return variant.gflops or None


COSTS: dict[str, Callable[[VariantResults], float | None]] = {
    "ms": milliseconds,
    "gflops": gflops,
}
"""Costs of a variant by name."""


@dataclass(frozen=True)
class SweetSpot:
    """The best variant for budgets from one size on."""

    budget: float
    """Smallest budget for which this holds, in the unit of the cost."""
    best: VariantResults
    """Variant with the highest success rate within the budget."""
    runner_up: VariantResults | None
    """Variant with the next rate within the budget; None if there is no other."""
    verdict: str | None
    """Verdict on the best against the runner-up, one of ``VERDICTS``; None without a comparison."""

    @property
    def told_apart(self) -> bool:
        """True if it is shown that the best is better than the runner-up."""
        return self.verdict == "better"

    def record(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "budget": self.budget,
            "best": self.best.label,
            "runner_up": self.runner_up and self.runner_up.label,
            "verdict": self.verdict,
            "told_apart": self.told_apart,
        }


def sweet_spots(
    group: ComparisonGroup, pairs: Sequence[Comparison], metric: str, cost: str
) -> list[SweetSpot]:
    """Return the sweet spots of a group, from small budgets to large ones.

    Variants with random weights count only where there is no other encoder.

    Args:
        group: variants that may be compared.
        pairs: their comparisons.
        metric: one of ``METRICS``.
        cost: a key of ``COSTS``.
    """
    costs = [(COSTS[cost](variant), variant) for variant in candidates(group)]
    known = sorted(((c, v) for c, v in costs if c is not None), key=lambda pair: pair[0])
    found: list[SweetSpot] = []
    for budget in dict.fromkeys(each for each, _ in known):
        within = [(c, v) for c, v in known if c <= budget]
        within.sort(key=lambda pair: (-pair[1].rate(metric).estimate, pair[0]))
        best = within[0][1]
        second = within[1][1] if len(within) > 1 else None
        if not found or _keys(found[-1].best, found[-1].runner_up) != _keys(best, second):
            found.append(SweetSpot(budget, best, second, _verdict(pairs, best, second)))
    return found


def candidates(group: ComparisonGroup) -> list[VariantResults]:
    """Return the trained encoders of a group, or all of its encoders where none is trained."""
    trained = [variant for variant in group.encoders if not variant.is_random]
    return trained or list(group.encoders)


def within(spots: Sequence[SweetSpot], budget: float) -> SweetSpot | None:
    """Return the sweet spot of a budget; None if no variant meets it.

    Args:
        spots: of one group and cost.
        budget: in the unit of the cost.
    """
    return next((spot for spot in reversed(spots) if spot.budget <= budget), None)


def at_deadline(
    group: ComparisonGroup, spots: Sequence[SweetSpot], deadline_ms: float
) -> dict[str, Any]:
    """Return the sweet spot within a deadline, or what comes nearest, as JSON-able values.

    Args:
        group: of the variants.
        spots: of the group, by milliseconds.
        deadline_ms: time that encoder and policy may take for one frame [ms].
    """
    spot = within(spots, deadline_ms)
    if spot is not None:
        return {**spot.record(), "meets": True}
    timed = [(milliseconds(variant), variant) for variant in candidates(group)]
    known = [(ms, variant.label) for ms, variant in timed if ms is not None]
    nearest = min(known, default=(None, None))
    return {"meets": False, "nearest": nearest[1], "nearest_ms": nearest[0]}


def _verdict(
    pairs: Sequence[Comparison], best: VariantResults, other: VariantResults | None
) -> str | None:
    """Return the verdict on ``best`` against ``other``, whichever of them is a pair's second."""
    for pair in pairs:
        if _keys(pair.first, pair.second) == _keys(other, best):
            return pair.verdict
        if _keys(pair.first, pair.second) == _keys(best, other):
            return _OPPOSITE.get(pair.verdict, pair.verdict)
    return None


def _keys(*variants: VariantResults | None) -> list[str | None]:
    return [variant and variant.key for variant in variants]
