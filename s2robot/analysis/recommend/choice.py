"""The choice among candidates by their errors, as pure functions of arrays.

A difference has two sources of chance: the held-out episodes and the trainings. Their variances are
added and the degrees of freedom are Satterthwaite's. Which candidate is the best is itself seen in
the errors, so intervals hold together for all pairs of candidates (Bonferroni), not only for those
with the choice. They do not cover what other demonstrations would have taught.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from s2robot.stats.intervals import Interval


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of one candidate."""

    values: np.ndarray
    """``(S, E)``: of each training of an episode's fold."""
    fold: np.ndarray
    """``(E,)``: fold of each episode."""

    @property
    def mean(self) -> float:
        """Mean over trainings and episodes."""
        return float(self.values.mean())

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the mean with its interval over episodes and trainings.

        Args:
            confidence: coverage of the interval, between 0 and 1.
        """
        return _interval(self.values, self.fold, [self.values], confidence)


def difference(first: Errors, second: Errors, confidence: float = 0.95) -> Interval:
    """Return the mean error of ``second`` minus that of ``first``, paired by episode.

    Args:
        first: errors.
        second: errors on the same episodes and folds.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: the episodes or folds differ.

    Examples:
        >>> fold = np.arange(9) % 3
        >>> first = Errors(np.arange(9.0)[None], fold)
        >>> second = Errors(np.arange(9.0)[None] + [[1, 2, 1, 2, 1, 2, 1, 2, 1]], fold)
        >>> found = difference(first, second)
        >>> f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"
        '1.44 [1.04, 1.85]'
    """
    if first.values.shape[1] != second.values.shape[1] or (first.fold != second.fold).any():
        raise ValueError("both candidates need errors on the same episodes in the same folds")
    paired = second.values.mean(axis=0) - first.values.mean(axis=0)
    return _interval(paired[None], first.fold, [first.values, second.values], confidence)


def _interval(
    values: np.ndarray, fold: np.ndarray, trainings: Sequence[np.ndarray], confidence: float
) -> Interval:
    means = values.mean(axis=0)  # (E,)
    count = len(means)
    parts = [(float(means.var(ddof=1)) / count, count - 1)]
    for own in trainings:
        if len(own) > 1:
            parts.append(_training_variance(own, fold))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / dof for part, dof in parts)
    dof = variance**2 / spread if spread > 0 else count - 1
    reach = float(sps.t.ppf((1 + confidence) / 2, dof)) * math.sqrt(variance)
    estimate = float(means.mean())
    return Interval(estimate, estimate - reach, estimate + reach)


def _training_variance(values: np.ndarray, fold: np.ndarray) -> tuple[float, int]:
    """Return the variance of the mean from trainings, which are independent in each fold."""
    seeds, episodes = values.shape
    total = 0.0
    numbers = np.unique(fold)
    for number in numbers:
        own = values[:, fold == number]
        share = own.shape[1] / episodes
        total += share**2 * float(own.mean(axis=1).var(ddof=1)) / seeds
    return total, len(numbers) * (seeds - 1)


@dataclass(frozen=True)
class Choice:
    """The choice among some candidates, by their places in the list."""

    best: int
    differences: dict[int, Interval]
    """Error minus that of the best, for all others; their intervals hold together."""
    confidence: float
    """Coverage of each interval, by which 95 % is that of all pairs of candidates together."""

    @property
    def not_told_apart(self) -> list[int]:
        """Candidates whose interval includes zero."""
        return [i for i, found in self.differences.items() if found.low <= 0 <= found.high]


def choose(errors: Sequence[Errors | None], allowed: Sequence[bool]) -> Choice | None:
    """Return the allowed candidate with the least error, and how the others differ from it.

    Args:
        errors: of each candidate; None where they were not measured.
        allowed: whether each can be chosen.

    Returns:
        The choice; None where no candidate is allowed and measured. Candidates that are not allowed
        are compared too.
    """
    measured = {i: found for i, found in enumerate(errors) if found is not None}
    chosen_from = [i for i in measured if allowed[i]]
    if not chosen_from:
        return None
    best = min(chosen_from, key=lambda i: measured[i].mean)
    others = [i for i in measured if i != best]
    confidence = 1 - 0.05 / max(1, math.comb(len(measured), 2))
    differences = {i: difference(measured[best], measured[i], confidence) for i in others}
    return Choice(best, differences, confidence)
