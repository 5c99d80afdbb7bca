"""Variances of clustered outcomes and limits of a rate, on tables with any leading axes.

A table holds one variant's outcomes: ``values (..., S, C)``, 0.0 or 1.0 for S seeds and C
conditions, and ``present (S, C)``, false where a seed did not run on a condition (its value is 0).
The model is described in `s2robot.stats.clustered`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

Table = tuple[np.ndarray, np.ndarray]
"""Outcomes of a variant and their presence."""
PSEUDO_COUNT = 0.5
"""Successes and failures added to a variant (Jeffreys' prior)."""
LEAST_CORRELATION = 0.1
"""Least correlation of two seeds' outcomes in one condition, for limits of rates.

Rare failures gather in conditions that a sample may miss."""
EPSILON = 1e-9


def seed_rates(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the success rate of each seed, (..., S)."""
    return values.sum(axis=-1) / present.sum(axis=-1)


def seed_variance(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the part of a mean rate's variance that differs from seed to seed, (...)."""
    return seed_rates(values, present).var(axis=-1, ddof=1) / len(present)


def seed_covariances(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the covariance of every two seeds' rates through the conditions that they share.

    Deviations are from each seed's own rate, so that the seeds' differences do not enter. The share
    of the covariance that this removes, 1/C in a crossed layout, is restored.

    Args:
        values: outcomes of R seeds, of one variant or of two, (..., R, C).
        present: whether a seed ran on a condition, (R, C).

    Returns:
        Estimates (..., R, R) with zeros on the diagonal.
    """
    share = present / present.sum(axis=1, keepdims=True)
    deviations = (values - seed_rates(values, present)[..., None]) * share
    products = deviations @ deviations.swapaxes(-1, -2)
    inverse = share.max(axis=1)
    shared = present.astype(float) @ present.T
    kept = 1 - inverse[:, None] - inverse + shared * np.outer(inverse, inverse)
    usable = (kept > EPSILON) & ~np.eye(len(kept), dtype=bool)
    return np.where(usable, products / np.where(usable, kept, 1.0), 0.0)


def mean_between(covariances: np.ndarray) -> np.ndarray:
    """Return the mean over every two different seeds: (..., S, S) with zero diagonal -> (...)."""
    seeds = covariances.shape[-1]
    return covariances.sum(axis=(-2, -1)) / (seeds * (seeds - 1))


def smoothed_spread(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the variance of a single outcome, positive for rates of 0 and 1 too, (...).

    Half a success and half a failure are added.
    """
    episodes = present.sum()
    successes = seed_rates(values, present).mean(axis=-1) * episodes
    rate = (successes + PSEUDO_COUNT) / (episodes + 2 * PSEUDO_COUNT)
    return rate * (1 - rate)


def condition_variance(
    values: np.ndarray, present: np.ndarray, within: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the conditions' part of a mean rate's variance, and the whole if all seeds were equal.

    Args:
        values: outcomes, (..., S, C) with S of at least 2.
        present: whether a seed ran on a condition, (S, C).
        within: mean covariance of two seeds' rates, (...).
    """
    spread = smoothed_spread(values, present)
    shared = np.maximum(within, LEAST_CORRELATION * mean_between(overlap(present)) * spread)
    independent = spread * np.mean(1 / present.sum(axis=1)) / len(present)
    return shared, independent + (1 - 1 / len(present)) * shared


def effective_episodes(rate: np.ndarray, variance: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the number of independent episodes whose rate has a variance, (...).

    Args:
        rate: success rate.
        variance: of the rate.
        most: largest number; the result for rates of 0 and 1.
    """
    spread = rate * (1 - rate)
    return np.where(spread > 0, np.minimum(spread / np.maximum(variance, EPSILON**2), most), most)


def rate_limits(
    values: np.ndarray, present: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return Korn and Graubard's limits of a mean rate for further seeds and conditions.

    Args:
        values: outcomes, (..., S, C) with S of at least 2.
        present: whether a seed ran on a condition, (S, C).
        confidence: coverage of the interval.
    """
    seeds, conditions = present.shape
    upper = (1 + confidence) / 2
    rate = seed_rates(values, present).mean(axis=-1)
    within = mean_between(seed_covariances(values, present))
    shared, least = condition_variance(values, present, within)
    squared_half_width = (
        special.stdtrit(seeds - 1, upper) ** 2 * seed_variance(values, present)
        + special.stdtrit(max(conditions - 1, 1), upper) ** 2 * shared
    )
    most = smoothed_spread(values, present) / least
    variance = squared_half_width / special.ndtri(upper) ** 2
    effective = effective_episodes(rate, variance, most)
    return clopper_pearson(rate * effective, effective, confidence)


def clopper_pearson(
    successes: np.ndarray, trials: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return Clopper and Pearson's limits (1934) of counts that need not be whole, (...) each.

    Args:
        successes: number of successes.
        trials: number of trials, positive.
        confidence: coverage of the interval.
    """
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = special.betaincinv(np.maximum(successes, EPSILON), failures + 1, tail)
    high = special.betaincinv(successes + 1, np.maximum(failures, EPSILON), 1 - tail)
    return np.where(successes > EPSILON, low, 0.0), np.where(failures > EPSILON, high, 1.0)


def component_variances(tables: Sequence[Table]) -> tuple[float, float, float]:
    """Return the variances of seeds, of interaction and of single episodes, a mean over variants.

    Args:
        tables: one variant, or two on the same conditions, without leading axes. Estimates may be
            negative.
    """
    several = [table for table in tables if len(table[1]) > 1]
    seeds = [
        seed_rates(*table).var(ddof=1)
        - _within_seeds(*table) * np.mean(1 / table[1].sum(axis=1))
        + mean_between(seed_covariances(*table))
        for table in several
    ]
    between = 0.0
    if len(tables) == 2:
        (first, first_present), (second, second_present) = tables
        present = np.concatenate([first_present, second_present])
        other = np.s_[: len(first_present), len(first_present) :]
        covariances = seed_covariances(np.concatenate([first, second]), present)
        between = covariances[other].sum() / overlap(present)[other].sum()
    own = [
        seed_covariances(*table).sum() / overlap(table[1]).sum()
        for table in several
        if overlap(table[1]).any()
    ]
    condition = np.mean(own) if own else between
    within = np.mean([_within_seeds(*table) for table in tables])
    return float(np.mean(seeds)), float(condition - between), float(within - condition)


def _within_seeds(values: np.ndarray, present: np.ndarray) -> float:
    """Return the variance of single outcomes about their own seed's rate."""
    episodes, rates = present.sum(axis=1), seed_rates(values, present)
    return float(np.mean(rates * (1 - rates) * episodes / np.maximum(episodes - 1, 1)))


def overlap(present: np.ndarray) -> np.ndarray:
    """Return the covariance of every two seeds' means of a unit effect of conditions, (S, S)."""
    share = present / present.sum(axis=1, keepdims=True)
    products = share @ share.T
    return products - np.diag(np.diag(products))
