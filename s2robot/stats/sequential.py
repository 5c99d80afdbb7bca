"""Tests that may be looked at after each seed and stopped at any time.

Seed s of both variants runs on a block of initial states of its own, the same for both, which gives
one difference of success rates a seed. An *e-process* (Grünwald, de Heide and Koolen 2024, "Safe
testing") is evidence against a hypothesis that is expected to be at most 1 at any stopping time if
the hypothesis holds; so the probability that it ever reaches 1/alpha is at most alpha (Ville 1939).

This one is the t-test's: the likelihood of a standardized difference mean/SD with a normal prior of
variance `PRIOR_VARIANCE`, relative to its being 0, both with the right Haar prior on the standard
deviation, which makes it a test martingale (Wang and Ramdas 2025, "Anytime-valid t-tests and
confidence sequences for Gaussian means with unknown variance"). It assumes normal differences;
``benchmarks/null_sweeps.py`` measures false decisions for binary outcomes with clustered seeds, and
beside it the betting e-process (Waudby-Smith and Ramdas 2024), which assumes nothing and needs more
than twice the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s2robot.stats.intervals import Interval, check_fraction

PRIOR_VARIANCE = 10.0
"""Of the standardized difference: three seeds suffice for a large one (they give up to 31 > 20)."""


def e_values(differences: Sequence[float] | np.ndarray, episodes: int) -> np.ndarray:
    """Return the evidence against "both variants have the same success rate" after each seed.

    Args:
        differences: of the success rates of each seed's pair, in the order of the seeds, (S,).
        episodes: of each seed and variant. A seed's difference is taken to vary by one episode
            (1 / `episodes`) at least, so that seeds that agree by chance are no certainty.

    Returns:
        E-values (S,); from 20 on the hypothesis is rejected at 5 %, whenever one looks.

    Raises:
        ValueError: a difference is not in [-1, 1], or `episodes` is not positive.

    Examples:
        >>> e_values([0.94, 1.0, 0.97], episodes=32).round(1)
        array([ 1. ,  4.5, 30.1])
    """
    count, mean, squares = _running(differences, episodes)
    return _evidence(count, mean, squares)


def anytime_p_value(differences: Sequence[float] | np.ndarray, episodes: int) -> float:
    """Return the p-value of "both variants have the same success rate", valid at any stopping time.

    Args:
        differences: of the success rates of each seed's pair, in the order of the seeds, (S,).
        episodes: of each seed and variant.

    Raises:
        ValueError: a difference is not in [-1, 1], or `episodes` is not positive.
    """
    return _p_value(e_values(differences, episodes))


def anytime_equivalence_p(
    differences: Sequence[float] | np.ndarray, episodes: int, margin: float = 0.05
) -> float:
    """Return the p-value of "the rates are at least `margin` apart", valid at any stopping time.

    Args:
        differences: of the success rates of each seed's pair, in the order of the seeds, (S,).
        episodes: of each seed and variant.
        margin: largest difference of success rates that does not matter, in (0, 1).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> anytime_equivalence_p([0.0, 0.01, -0.01, 0.0, 0.0, 0.01], episodes=100) < 0.05
        True
    """
    check_fraction("margin", margin)
    count, mean, squares = _running(differences, episodes)
    sides = (margin - mean, margin + mean)
    return max(_p_value(_evidence(count, np.maximum(side, 0), squares)) for side in sides)


def confidence_sequence(
    differences: Sequence[float] | np.ndarray, episodes: int, confidence: float = 0.95
) -> Interval:
    """Return the mean difference with limits that hold at all looks at once.

    The limits are the narrowest of all looks so far. It excludes zero exactly where
    `anytime_p_value` is at most 1 - `confidence`.

    Args:
        differences: of the success rates of each seed's pair, in the order of the seeds, (S,).
        episodes: of each seed and variant.
        confidence: probability that the limits of no look miss the true difference.

    Returns:
        An interval in [-1, 1]; without seeds the estimate is NaN.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> sequence = confidence_sequence([0.2, 0.3, 0.25, 0.2, 0.3], episodes=100)
        >>> f"{sequence.estimate:.2f} [{sequence.low:.2f}, {sequence.high:.2f}]"
        '0.25 [0.13, 0.37]'
    """
    check_fraction("confidence", confidence)
    count, mean, squares = _running(differences, episodes)
    if not len(count):
        return Interval(np.nan, -1.0, 1.0)
    scale = 1 + count * PRIOR_VARIANCE
    ratio = (np.sqrt(scale) / (1 - confidence)) ** (2 / count)  # of likelihoods at the limits
    bounded = (ratio < scale) & (count > 1)
    half = np.full(len(count), np.inf)
    x = (ratio[bounded] - 1) / (1 - ratio[bounded] / scale[bounded])
    half[bounded] = np.sqrt(x * squares[bounded] / count[bounded])
    low, high = max(-1.0, np.max(mean - half)), min(1.0, np.min(mean + half))
    if low > high:  # the looks contradict each other: the last one alone
        low, high = max(-1.0, mean[-1] - half[-1]), min(1.0, mean[-1] + half[-1])
    return Interval(float(mean[-1]), float(low), float(high))


def _running(
    differences: Sequence[float] | np.ndarray, episodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean and sum of squared deviations after each seed, (S,) each."""
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or not (np.abs(values) <= 1).all():
        raise ValueError(f"differences must be numbers (S,) in [-1, 1], got {values.tolist()}")
    if episodes < 1:
        raise ValueError(f"episodes must be 1 or more for each seed and variant, got {episodes}")
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    squares = np.cumsum(values**2) - count * mean**2
    return count, mean, np.maximum(squares, (count - 1) / episodes**2)


def _evidence(count: np.ndarray, distance: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return the e-process of a mean that lies `distance` from the hypothesis, (S,)."""
    scale = 1 + count * PRIOR_VARIANCE
    x = count * distance**2 / np.where(count > 1, squares, 1)  # t² / (n - 1)
    evidence = ((1 + x) / (1 + x / scale)) ** (count / 2) / np.sqrt(scale)
    return np.where(count > 1, evidence, 1.0)


def _p_value(evidence: np.ndarray) -> float:
    return float(1 / max(1.0, evidence.max(initial=1.0)))
