"""Several pairs of variants under one sequential test, which drops each pair once it is decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from s2robot.stats.intervals import Interval, check_fraction
from s2robot.stats.paired_tests import holm
from s2robot.stats.power import LEAST_SEEDS
from s2robot.stats.sequential import (
    anytime_equivalence_p,
    anytime_p_value,
    confidence_sequence,
    e_values,
)

UNDECIDED = "not shown"


@dataclass(frozen=True)
class PairEvidence:
    """Evidence on one pair after the seeds so far."""

    seeds: tuple[int, ...] = ()
    """Training seeds of both variants, in the order in which they were seen."""
    differences: tuple[float, ...] = ()
    """Success rate of the second variant minus that of the first, by seed."""
    e_values: tuple[float, ...] = ()
    """Evidence against equal rates after each seed."""
    p_value: float = 1.0
    """Anytime-valid p-value of "both variants have the same success rate"."""
    equivalence_p: float = 1.0
    """Anytime-valid p-value of "the rates are at least the margin apart"."""
    adjusted_p: float = 1.0
    """``p_value``, Holm-adjusted over all pairs of the family."""
    adjusted_equivalence_p: float = 1.0
    """``equivalence_p``, Holm-adjusted over all pairs of the family."""
    verdict: str = UNDECIDED
    """On the second variant: "better", "worse", "equivalent", or "not shown" while undecided."""

    @property
    def decided(self) -> bool:
        """True if the pair needs no more seeds."""
        return self.verdict != UNDECIDED


class SequentialFamily:
    """Pairs that are tested after each seed and leave the test as soon as they are decided.

    The p-values are 1 over the largest e-value so far, so they are valid at any stopping time, and
    so are their Holm adjustments over all pairs that were planned: the probability of any wrong
    "better" or "worse", at any time and in any pair, is at most alpha. Equivalence is a family of
    its own. A decided pair keeps its evidence, so its verdict cannot change later.

    Args:
        pairs: number of pairs that are planned.
        episodes: of each seed and variant.
        alpha: level of significance.
        margin: difference of success rates that is too small to matter.

    Examples:
        >>> family = SequentialFamily(pairs=2, episodes=32)
        >>> for seed, large in enumerate([0.9, 0.95, 0.92, 0.9, 0.93]):
        ...     family.add(seed, {0: large, 1: 0.1 * (-1) ** seed})
        >>> [(pair.verdict, len(pair.seeds)) for pair in family.pairs]
        [('better', 4), ('not shown', 5)]
    """

    def __init__(
        self, pairs: int, episodes: int, alpha: float = 0.05, margin: float = 0.05
    ) -> None:
        check_fraction("alpha", alpha)
        check_fraction("margin", margin)
        self.episodes, self.alpha, self.margin = episodes, alpha, margin
        self.pairs = [PairEvidence() for _ in range(pairs)]

    def add(self, seed: int, differences: Mapping[int, float]) -> None:
        """Add one training seed.

        Args:
            seed: of both variants of each pair.
            differences: of the success rates, by number of the pair; those of decided pairs are
                ignored.
        """
        for number, difference in differences.items():
            if not self.pairs[number].decided:
                self.pairs[number] = self._extended(self.pairs[number], seed, difference)
        self._adjust()
        self.pairs = [dataclasses.replace(pair, verdict=self._verdict(pair)) for pair in self.pairs]

    @property
    def undecided(self) -> list[int]:
        """Numbers of the pairs that need more seeds."""
        return [number for number, pair in enumerate(self.pairs) if not pair.decided]

    def interval(self, number: int) -> Interval:
        """Return a pair's difference with limits that hold at all looks at once.

        Their level is that of the family, for this pair alone.

        Args:
            number: of the pair.
        """
        return confidence_sequence(self.pairs[number].differences, self.episodes, 1 - self.alpha)

    def _extended(self, pair: PairEvidence, seed: int, difference: float) -> PairEvidence:
        differences = (*pair.differences, difference)
        return dataclasses.replace(
            pair,
            seeds=(*pair.seeds, seed),
            differences=differences,
            e_values=tuple(e_values(differences, self.episodes).tolist()),
            p_value=anytime_p_value(differences, self.episodes),
            equivalence_p=anytime_equivalence_p(differences, self.episodes, self.margin),
        )

    def _adjust(self) -> None:
        adjusted = holm([pair.p_value for pair in self.pairs])
        equivalence = holm([pair.equivalence_p for pair in self.pairs])
        self.pairs = [
            dataclasses.replace(pair, adjusted_p=p, adjusted_equivalence_p=q)
            for pair, p, q in zip(self.pairs, adjusted, equivalence, strict=True)
        ]

    def _verdict(self, pair: PairEvidence) -> str:
        if pair.decided or len(pair.seeds) < LEAST_SEEDS:
            return pair.verdict
        if pair.adjusted_p < self.alpha:
            strongest = pair.e_values.index(max(pair.e_values))
            return "better" if sum(pair.differences[: strongest + 1]) > 0 else "worse"
        return "equivalent" if pair.adjusted_equivalence_p < self.alpha else UNDECIDED
