"""Confidence intervals of success rates and of bootstrap draws, as pure functions."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

BOOTSTRAP_DRAWS = 10_000
BOOTSTRAP_SEED = 20_240_319  # fixed: a report gives the same interval every time


@dataclass(frozen=True)
class Interval:
    """An estimate with its lower and upper confidence limits, all in the same unit.

    Examples:
        >>> Interval(0.10, low=0.02, high=0.18).excludes_zero()
        True
    """

    estimate: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Return whether both limits lie on the same side of zero."""
        return self.low > 0 or self.high < 0


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return a success rate with its Wilson score interval (Wilson 1927).

    Args:
        successes: number of successful episodes.
        trials: number of episodes; 0 gives the estimate NaN and the limits 0 and 1.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: `successes` is not in [0, `trials`], or `confidence` is not in (0, 1).

    Examples:
        >>> rate = wilson(10, 16)
        >>> f"{rate.estimate:.3f} [{rate.low:.2f}, {rate.high:.2f}]"
        '0.625 [0.39, 0.82]'
    """
    check_counts(successes, trials)
    check_fraction("confidence", confidence)
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    limits = sps.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(limits.low), float(limits.high))


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return the mean of independent values with Student's t interval.

    Args:
        values: ``(n,)``, such as the errors of n episodes; their means are about normal.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        Limits are infinite for fewer than two values.

    Raises:
        ValueError: there are no values, or `confidence` is not in (0, 1).

    Examples:
        >>> found = mean_interval(np.array([1.0, 2.0, 3.0]))
        >>> f"{found.estimate:.1f} [{found.low:.2f}, {found.high:.2f}]"
        '2.0 [-0.48, 4.48]'
    """
    check_fraction("confidence", confidence)
    count, mean = len(values), float(np.mean(values)) if len(values) else math.nan
    if not count:
        raise ValueError("there are no values, so they have no mean; give at least one")
    if count == 1:
        return Interval(mean, -math.inf, math.inf)
    reach = sps.t.ppf((1 + confidence) / 2, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
    return Interval(mean, mean - float(reach), mean + float(reach))


def crossed_mean_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return the mean of a table of seeds and episodes, for further seeds and further episodes.

    Every seed has a value for every episode. The variance of the mean is that of the seeds' means
    and that of the episodes' means, less the residual that both hold, and no less than the larger
    of both (Cornfield and Tukey 1956); degrees of freedom are Satterthwaite's.

    Args:
        values: ``(S, E)``, such as the errors of S training seeds on E episodes.
        confidence: coverage of the interval, between 0 and 1.

    Returns:
        With one seed, the interval over episodes; limits are infinite for fewer than two episodes.

    Raises:
        ValueError: there are no values, or `confidence` is not in (0, 1).

    Examples:
        >>> found = crossed_mean_interval(np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]]))
        >>> f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"
        '2.25 [0.08, 4.42]'
    """
    seeds, episodes = values.shape
    if seeds == 1 or episodes < 2:
        return mean_interval(values.mean(axis=0) if seeds else values.ravel(), confidence)
    check_fraction("confidence", confidence)
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    of_seeds = float(rows.var(ddof=1)) / seeds
    of_episodes = float(columns.var(ddof=1)) / episodes
    left = values - rows[:, None] - columns[None, :] + mean
    residual = float((left**2).sum()) / ((seeds - 1) * (episodes - 1)) / values.size
    variance = max(of_seeds + of_episodes - residual, of_seeds, of_episodes)
    if variance == 0:
        return Interval(mean, mean, mean)
    dof = variance**2 / (of_seeds**2 / (seeds - 1) + of_episodes**2 / (episodes - 1))
    reach = float(sps.t.ppf((1 + confidence) / 2, dof)) * math.sqrt(variance)
    return Interval(mean, mean - reach, mean + reach)


@functools.lru_cache(maxsize=8)
def block_draws(blocks: int) -> np.ndarray:
    """Return how often each block is drawn by a bootstrap: (draws, B), the same at every call.

    Args:
        blocks: number of blocks B; a block is one episode, or a sequence of frames.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    share = np.full(blocks, 1 / blocks)
    return rng.multinomial(blocks, share, BOOTSTRAP_DRAWS // 5).astype(float)


def limits(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile limits of bootstrap draws; undefined draws (NaN) are left out."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def check_counts(successes: int, trials: int) -> None:
    """Raise a ValueError where `successes` is not in [0, `trials`]."""
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, trials], got {successes} of {trials}")


def check_fraction(name: str, value: float) -> None:
    """Raise a ValueError where `value` is not in (0, 1); `name` is used in the message."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
