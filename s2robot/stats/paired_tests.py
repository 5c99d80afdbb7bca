"""Tests and differences of two variants' success rates, and the sample sizes that they need.

A *variant* is one encoder configuration. Its outcomes form a matrix (seeds, initial states):
several training seeds, each rolled out on the same initial states, so that two variants are
compared initial state by initial state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from s2robot.stats.intervals import (
    BOOTSTRAP_DRAWS,
    BOOTSTRAP_SEED,
    Interval,
    check_counts,
    check_fraction,
)


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test: the discordant pairs and the exact two-sided p-value."""

    only_first: int
    """Pairs in which only the first outcome is a success."""
    only_second: int
    """Pairs in which only the second outcome is a success."""
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Return the exact McNemar test of paired outcomes.

    Args:
        first: outcomes of the first variant, booleans of any shape.
        second: outcomes of the second variant on the same initial states, in the same shape.

    Raises:
        ValueError: the shapes differ, or the arrays are empty.

    Examples:
        >>> mcnemar(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 1]))
        McNemar(only_first=1, only_second=2, p_value=1.0)
    """
    first, second = _paired(first, second)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p_value = sps.binomtest(only_first, discordant).pvalue if discordant else 1.0
    return McNemar(only_first, only_second, float(p_value))


def fisher(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Return Fisher's exact two-sided p-value of two unpaired counts.

    Args:
        successes: successful episodes of each of the two variants.
        trials: episodes of each of the two variants.

    Raises:
        ValueError: a count of successes is not in [0, trials].
    """
    for count, total in zip(successes, trials, strict=True):
        check_counts(count, total)
    table = [[count, total - count] for count, total in zip(successes, trials, strict=True)]
    return float(np.asarray(sps.fisher_exact(table))[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values (Holm 1979), in the order of the arguments.

    Raises:
        ValueError: a p-value is not in [0, 1].

    Examples:
        >>> holm([0.01, 0.04])
        [0.02, 0.04]
    """
    p = np.asarray(p_values, dtype=float)
    if p.size == 0:
        return []
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1], got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def paired_difference(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return the success rate of `second` minus that of `first`, with its interval.

    The seeds and initial states are crossed: every seed is rolled out on every initial state. Both
    are therefore resampled, as whole rows and columns: Owen's "pigeonhole" bootstrap (2007), whose
    intervals are rather too wide than too narrow. Where no pair differs, its interval has no width;
    so the result is never narrower than Agresti and Min's interval (2005) for independent pairs.
    With one seed, the interval covers the initial states only: it then compares two trained
    policies, not two encoders.

    Args:
        first: outcomes of the first variant, booleans (S, C) for S seeds and C initial states.
        second: outcomes of the second variant on the same seeds and initial states, (S, C).
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: the shapes differ, the arrays are empty, or `confidence` is not in (0, 1).

    Examples:
        >>> first, second = np.zeros((3, 40), bool), np.ones((3, 40), bool)
        >>> difference = paired_difference(first, second)
        >>> difference.estimate, difference.excludes_zero()
        (1.0, True)
    """
    first, second = _paired(np.atleast_2d(first), np.atleast_2d(second))
    check_fraction("confidence", confidence)
    difference = second.astype(float) - first  # (S, C) in {-1, 0, 1}
    upper_tail = (1 + confidence) / 2
    resampled = np.quantile(_bootstrap_means(difference), [1 - upper_tail, upper_tail])
    closed_form = _agresti_min(difference, upper_tail)
    low, high = min(resampled[0], closed_form[0]), max(resampled[1], closed_form[1])
    return Interval(float(difference.mean()), float(low), float(high))


def pairs_needed(
    difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the pairs that McNemar's test needs to detect a difference (Connor 1987).

    Args:
        difference: of two success rates, in (-1, 1).
        discordant: fraction of pairs whose outcomes differ, at least |difference|.
        power: probability of detecting the difference.
        alpha: significance level of the two-sided test.

    Returns:
        The number of pairs; None where `difference` is 0.

    Raises:
        ValueError: an argument is out of range.
    """
    if not abs(difference) <= discordant <= 1:
        raise ValueError(
            f"discordant must lie in [|difference|, 1] = [{abs(difference)}, 1], got {discordant}"
        )
    z_alpha, z_power = _z(1 - alpha / 2), _z(power)
    if difference == 0:
        return None
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - difference**2)
    return math.ceil((spread / difference) ** 2)


def rollouts_needed(
    first: float, second: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the unpaired rollouts of each variant that distinguish two success rates.

    Args:
        first: success rate of the first variant.
        second: success rate of the second variant.
        power: probability of detecting the difference.
        alpha: significance level of the two-sided test.

    Returns:
        The number of rollouts of each variant; None where the rates are equal.
    """
    if first == second:
        return None
    mean = (first + second) / 2
    pooled = math.sqrt(2 * mean * (1 - mean))
    apart = math.sqrt(first * (1 - first) + second * (1 - second))
    return math.ceil(((_z(1 - alpha / 2) * pooled + _z(power) * apart) / (first - second)) ** 2)


def _bootstrap_means(difference: np.ndarray) -> np.ndarray:
    """Return the means of resampled seeds x initial states: (S, C) -> (draws,)."""
    rows, columns = _bootstrap_weights(*difference.shape)
    return ((rows @ difference) * columns).sum(axis=1)


@functools.lru_cache(maxsize=8)
def _bootstrap_weights(seeds: int, initial_states: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each seed and initial state is drawn: fractions (draws, S), (draws, C)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows, columns = (
        rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAP_DRAWS) / count
        for count in (seeds, initial_states)
    )
    return rows, columns


def _agresti_min(difference: np.ndarray, upper_tail: float) -> tuple[float, float]:
    """Return Wald limits with half a pair added to each of the four counts (Agresti, Min 2005)."""
    pairs = difference.size + 2
    center = difference.sum() / pairs
    variance = (np.abs(difference).sum() + 1) / pairs - center**2
    half = _z(upper_tail) * math.sqrt(variance / pairs)
    return max(-1.0, center - half), min(1.0, center + half)


def _z(probability: float) -> float:
    check_fraction("probability", probability)
    return float(sps.norm.ppf(probability))


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(
            f"paired outcomes must be non-empty arrays of one shape, got {first.shape} and "
            f"{second.shape}; keep only the seeds and initial states that both variants have"
        )
    return first, second
