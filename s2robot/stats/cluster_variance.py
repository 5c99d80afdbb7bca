"""Variances, p-values and limits of clustered outcomes, on tables with any leading axes.

A table holds one variant's outcomes: ``values (..., S, C)``, 0.0 or 1.0 for S seeds and C
conditions, and ``present (S, C)``, false where a seed did not run on a condition (its value is 0).
The model is described in `s2robot.stats.clustered`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

Numbers = float | np.ndarray
Table = tuple[np.ndarray, np.ndarray]
"""Outcomes of a variant and their presence."""
PSEUDO_COUNT = 0.5
"""Successes and failures added to a variant for its independent episodes (Jeffreys' prior)."""
LEAST_CORRELATION = 0.1
"""Least correlation of two seeds' outcomes in one condition, for the limits of a rate."""
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


def independent_variance(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the variance that a mean rate of independent episodes would have, (...).

    Half a success and half a failure are added, so that it is positive for rates of 0 and 1.
    """
    episodes = present.sum()
    successes = seed_rates(values, present).mean(axis=-1) * episodes
    rate = (successes + PSEUDO_COUNT) / (episodes + 2 * PSEUDO_COUNT)
    return rate * (1 - rate) * np.mean(1 / present.sum(axis=1)) / len(present)


def difference_error(
    first: np.ndarray, first_present: np.ndarray, second: np.ndarray, second_present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard error and degrees of freedom of a difference of mean rates, (...) each.

    Args:
        first: outcomes of one variant, (..., S, C) with S of at least 2.
        first_present: whether its seeds ran on a condition, (S, C).
        second: outcomes of the other variant on the same conditions, (..., T, C).
        second_present: whether its seeds ran on a condition, (T, C).
    """
    seeds, conditions = first_present.shape
    covariances = seed_covariances(
        np.concatenate([first, second], axis=-2), np.concatenate([first_present, second_present])
    )
    shared = (
        mean_between(covariances[..., :seeds, :seeds])
        + mean_between(covariances[..., seeds:, seeds:])
        - 2 * covariances[..., :seeds, seeds:].mean(axis=(-2, -1))
    )
    parts = np.stack(
        [
            seed_variance(first, first_present),
            seed_variance(second, second_present),
            np.maximum(shared, 0),
        ]
    )
    part_dof = np.array([seeds - 1, len(second_present) - 1, max(conditions - 1, 1)], dtype=float)
    variance = parts.sum(axis=0)
    uncertainty = np.tensordot(1 / part_dof, parts**2, 1)
    known = uncertainty > 0
    dof = np.where(known, variance**2 / np.where(known, uncertainty, 1), part_dof[:2].min())
    return np.sqrt(variance), dof


def tail_probability(distance: Numbers, error: Numbers, dof: Numbers, floor: Numbers) -> np.ndarray:
    """Return the one-sided probability of an estimate at least this far above a hypothesis.

    It is the larger of that of Student's t and that of independent episodes, (...).

    Args:
        distance: estimate minus hypothesis; negative values give more than a half.
        error: standard error from seeds and conditions; infinite where it is unknown.
        dof: degrees of freedom of `error`.
        floor: standard error of independent episodes.
    """
    t = distance / np.maximum(error, EPSILON)
    return np.maximum(special.stdtr(np.maximum(dof, 1.0), -t), special.ndtr(-distance / floor))


def half_width(error: Numbers, dof: Numbers, floor: Numbers, confidence: float) -> np.ndarray:
    """Return half the width of an interval: the wider of Student's t and independent episodes'.

    Args:
        error: standard error from seeds and conditions; infinite where it is unknown.
        dof: degrees of freedom of `error`.
        floor: standard error of independent episodes.
        confidence: coverage of the interval.
    """
    upper = (1 + confidence) / 2
    quantile = special.stdtrit(np.maximum(dof, 1.0), upper)
    return np.maximum(quantile * error, special.ndtri(upper) * floor)


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
    episodes = present.sum()
    upper = (1 + confidence) / 2
    rate = seed_rates(values, present).mean(axis=-1)
    spread = rate * (1 - rate)
    overlap = mean_between(_overlap(present))
    condition_part = np.maximum(
        mean_between(seed_covariances(values, present)), LEAST_CORRELATION * overlap * spread
    )
    squared_half_width = (
        special.stdtrit(seeds - 1, upper) ** 2 * seed_variance(values, present)
        + special.stdtrit(max(conditions - 1, 1), upper) ** 2 * condition_part
    )
    wide = squared_half_width > special.stdtrit(episodes - 1, upper) ** 2 * spread / episodes
    effective = np.where(
        wide,
        special.stdtrit(episodes - 1, upper) ** 2 * spread / np.where(wide, squared_half_width, 1),
        episodes,
    )
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
        between = covariances[other].sum() / _overlap(present)[other].sum()
    own = [
        seed_covariances(*table).sum() / _overlap(table[1]).sum()
        for table in several
        if _overlap(table[1]).any()
    ]
    condition = np.mean(own) if own else between
    within = np.mean([_within_seeds(*table) for table in tables])
    return float(np.mean(seeds)), float(condition - between), float(within - condition)


def _within_seeds(values: np.ndarray, present: np.ndarray) -> float:
    """Return the variance of single outcomes about their own seed's rate."""
    episodes, rates = present.sum(axis=1), seed_rates(values, present)
    return float(np.mean(rates * (1 - rates) * episodes / np.maximum(episodes - 1, 1)))


def _overlap(present: np.ndarray) -> np.ndarray:
    """Return the covariance of every two seeds' means of a unit effect of conditions, (S, S)."""
    share = present / present.sum(axis=1, keepdims=True)
    products = share @ share.T
    return products - np.diag(np.diag(products))
