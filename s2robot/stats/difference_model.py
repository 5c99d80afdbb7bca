"""Limits and p-values of the difference of two clustered rates, on tables with any leading axes.

The model is described in `s2robot.stats.clustered`, the tables in `s2robot.stats.cluster_variance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from s2robot.stats.cluster_variance import (
    condition_variance,
    effective_episodes,
    mean_between,
    seed_covariances,
    seed_rates,
    seed_variance,
    smoothed_spread,
)

SMALLEST_TAIL = 1e-12
"""Smaller probabilities are given as this one."""
HALVINGS = 40


@dataclass(frozen=True)
class RateModel:
    """A variant's rate and how many independent episodes it is worth, (...) each."""

    rate: np.ndarray
    variance: np.ndarray
    """From seeds and conditions."""
    least_variance: np.ndarray
    """If all seeds had the same true rate."""
    episodes: np.ndarray
    """Number of independent episodes with the least variance."""

    def limits(self, tail: float | np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Jeffreys' limits with the effective number of episodes.

        The limit of a rate of 0 or 1 is Clopper and Pearson's (Brown, Cai and DasGupta 2001).

        Args:
            tail: probability beyond each limit, below a half.
            scale: factor of the effective number for the uncertainty of the variance.
        """
        effective = effective_episodes(self.rate, self.variance / scale, self.episodes)
        successes = self.rate * effective
        failures = effective - successes
        low = special.betaincinv(successes + 0.5, failures + 0.5, tail)
        high = special.betaincinv(successes + 0.5, failures + 0.5, 1 - tail)
        exact = tail ** (1 / effective)
        low = np.select([self.rate == 0, self.rate == 1], [0.0, exact], low)
        high = np.select([self.rate == 0, self.rate == 1], [1 - exact, 1.0], high)
        return np.minimum(low, self.rate), np.maximum(high, self.rate)


@dataclass(frozen=True)
class DifferenceModel:
    """The difference of two rates: that of `second` minus that of `first`, (...) each."""

    first: RateModel
    second: RateModel
    correlation: np.ndarray
    """Of the two estimates, through the conditions."""
    standard_error: np.ndarray
    dof: np.ndarray
    """Degrees of freedom of `standard_error`."""

    @property
    def estimate(self) -> np.ndarray:
        """Difference of the rates."""
        return self.second.rate - self.first.rate

    def limits(self, tail: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower and the upper limit of the difference.

        Args:
            tail: probability beyond each limit, below a half.
        """
        t, z = special.stdtrit(self.dof, 1 - tail), special.ndtri(1 - tail)
        scale = (z / t) ** 2
        first_low, first_high = self.first.limits(tail, scale)
        second_low, second_high = self.second.limits(tail, scale)
        down = self._length(self.second.rate - second_low, first_high - self.first.rate)
        up = self._length(second_high - self.second.rate, self.first.rate - first_low)
        return self.estimate - down, self.estimate + up

    def tail_probability(self, hypothesis: float) -> np.ndarray:
        """Return the one-sided p-value of a difference, by the limits that reach it.

        Args:
            hypothesis: a difference of rates; the p-value is a half if it is the estimate.
        """
        below = self.estimate > hypothesis
        few, many = np.full(below.shape, np.log(SMALLEST_TAIL)), np.full(below.shape, np.log(0.499))
        for _ in range(HALVINGS):
            middle = (few + many) / 2
            low, high = self.limits(np.exp(middle))
            beyond = np.where(below, low > hypothesis, high < hypothesis)
            few, many = np.where(beyond, few, middle), np.where(beyond, middle, many)
        return np.where(self.estimate == hypothesis, 0.5, np.exp(many))

    def _length(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        square = one**2 + other**2 - 2 * self.correlation * one * other
        return np.sqrt(np.maximum(square, 0))


def difference_model(
    first: np.ndarray, first_present: np.ndarray, second: np.ndarray, second_present: np.ndarray
) -> DifferenceModel:
    """Return the model of two variants on the same conditions.

    Args:
        first: outcomes of the variant that is subtracted, (..., S, C) with S of at least 2.
        first_present: whether its seeds ran on a condition, (S, C).
        second: outcomes of the variant that it is subtracted from, (..., T, C).
        second_present: whether its seeds ran on a condition, (T, C).
    """
    seeds, conditions = first_present.shape
    covariances = seed_covariances(
        np.concatenate([first, second], axis=-2), np.concatenate([first_present, second_present])
    )
    within = (
        mean_between(covariances[..., :seeds, :seeds]),
        mean_between(covariances[..., seeds:, seeds:]),
    )
    between = covariances[..., :seeds, seeds:].mean(axis=(-2, -1))
    a = _rate_model(first, first_present, within[0])
    b = _rate_model(second, second_present, within[1])
    parts = np.stack(
        [
            seed_variance(first, first_present),
            seed_variance(second, second_present),
            np.maximum(within[0] + within[1] - 2 * between, 0),
        ]
    )
    part_dof = np.array([seeds - 1, len(second_present) - 1, max(conditions - 1, 1)], dtype=float)
    variances = [np.maximum(model.variance, model.least_variance) for model in (a, b)]
    correlation = np.clip(between / np.sqrt(variances[0] * variances[1]), 0, 1)
    return DifferenceModel(
        a, b, correlation, np.sqrt(parts.sum(axis=0)), _degrees_of_freedom(parts, part_dof)
    )


def _rate_model(values: np.ndarray, present: np.ndarray, within: np.ndarray) -> RateModel:
    """Return the model of one variant; `within` is the mean covariance of two of its seeds."""
    shared, least = condition_variance(values, present, within)
    return RateModel(
        rate=seed_rates(values, present).mean(axis=-1),
        variance=seed_variance(values, present) + shared,
        least_variance=least,
        episodes=smoothed_spread(values, present) / least,
    )


def _degrees_of_freedom(parts: np.ndarray, part_dof: np.ndarray) -> np.ndarray:
    """Return the geometric mean of Welch's degrees of freedom and the smaller of the variants'.

    Args:
        parts: variances of the seeds of both variants and of the conditions, (3, ...).
        part_dof: degrees of freedom of each, (3,).
    """
    smaller = part_dof[:2].min()
    uncertainty = np.tensordot(1 / part_dof, parts**2, 1)
    known = uncertainty > 0
    welch = np.where(known, parts.sum(axis=0) ** 2 / np.where(known, uncertainty, 1), smaller)
    return np.minimum(welch, np.sqrt(welch * smaller))
