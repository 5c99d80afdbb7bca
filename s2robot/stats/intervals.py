"""Statistics of success rates: intervals, paired tests and sample sizes, as pure functions.

An *arm* is one encoder configuration. Its outcomes form a matrix (seeds, conditions): several
training seeds, each rolled out on the same initial conditions, so that two arms are compared
condition by condition.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

BOOTSTRAP_DRAWS = 10_000
BOOTSTRAP_SEED = 20_240_319  # fixed: a report gives the same interval every time


@dataclass(frozen=True)
class Interval:
    """An estimate with its lower and upper confidence limits, all in the same unit."""

    estimate: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class McNemar:
    """Discordant pairs and the exact two-sided p-value of McNemar's test."""

    only_first: int
    only_second: int
    p_value: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return a success rate with its Wilson score interval (1927); no trials give (nan, 0, 1)."""
    _check_counts(successes, trials)
    _check_fraction("confidence", confidence)
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    limits = sps.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(limits.low), float(limits.high))


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Return the exact McNemar test of paired outcomes, two boolean arrays of one shape."""
    first, second = _paired(first, second)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p_value = sps.binomtest(only_first, discordant).pvalue if discordant else 1.0
    return McNemar(only_first, only_second, float(p_value))


def fisher(successes: tuple[int, int], trials: tuple[int, int]) -> float:
    """Return Fisher's exact two-sided p-value of two unpaired counts."""
    for count, total in zip(successes, trials, strict=True):
        _check_counts(count, total)
    table = [[count, total - count] for count, total in zip(successes, trials, strict=True)]
    return float(np.asarray(sps.fisher_exact(table))[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values (Holm 1979) in the order given."""
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
    """Return the success rate of `second` minus `first`, (S, C) each, with its interval.

    The S seeds and C conditions are crossed (every seed meets every condition), so both are
    resampled, as whole rows and columns: Owen's "pigeonhole" bootstrap (2007), which errs on the
    wide side. It says nothing when no pair differs, so the interval is never narrower than Agresti
    and Min's (2005) for independent pairs. One seed gives an interval over conditions only: it then
    speaks of two trained policies, not of two encoders.
    """
    first, second = _paired(np.atleast_2d(first), np.atleast_2d(second))
    _check_fraction("confidence", confidence)
    difference = second.astype(float) - first  # (S, C) in {-1, 0, 1}
    upper_tail = (1 + confidence) / 2
    resampled = np.quantile(_bootstrap_means(difference), [1 - upper_tail, upper_tail])
    closed_form = _agresti_min(difference, upper_tail)
    low, high = min(resampled[0], closed_form[0]), max(resampled[1], closed_form[1])
    return Interval(float(difference.mean()), float(low), float(high))


def pairs_needed(
    difference: float, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the pairs McNemar's test needs to see `difference` (Connor 1987); None if it is 0.

    `difference`: of two success rates, in (-1, 1); `discordant`: fraction of pairs whose outcomes
    differ, at least |difference|.
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
    """Return the unpaired rollouts per arm that tell two rates apart; None if they are equal."""
    if first == second:
        return None
    mean = (first + second) / 2
    pooled = math.sqrt(2 * mean * (1 - mean))
    apart = math.sqrt(first * (1 - first) + second * (1 - second))
    return math.ceil(((_z(1 - alpha / 2) * pooled + _z(power) * apart) / (first - second)) ** 2)


@functools.lru_cache(maxsize=8)
def block_draws(blocks: int) -> np.ndarray:
    """How often each block (an episode, frames in a row) is drawn: (draws, B); always the same."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    share = np.full(blocks, 1 / blocks)
    return rng.multinomial(blocks, share, BOOTSTRAP_DRAWS // 5).astype(float)


def limits(draws: np.ndarray) -> tuple[float, float]:
    """95 % percentile limits of bootstrap draws; those not defined (NaN) are left out."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def _bootstrap_means(difference: np.ndarray) -> np.ndarray:
    """Means of resampled seeds x conditions: (S, C) -> (draws,)."""
    rows, columns = _bootstrap_weights(*difference.shape)
    return ((rows @ difference) * columns).sum(axis=1)


@functools.lru_cache(maxsize=8)
def _bootstrap_weights(seeds: int, conditions: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed and condition is drawn, as fractions: (draws, S), (draws, C)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows, columns = (
        rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAP_DRAWS) / count
        for count in (seeds, conditions)
    )
    return rows, columns


def _agresti_min(difference: np.ndarray, upper_tail: float) -> tuple[float, float]:
    """Wald limits after adding half a pair to each cell of the 2x2 table (Agresti and Min 2005)."""
    pairs = difference.size + 2
    center = difference.sum() / pairs
    variance = (np.abs(difference).sum() + 1) / pairs - center**2
    half = _z(upper_tail) * math.sqrt(variance / pairs)
    return max(-1.0, center - half), min(1.0, center + half)


def _z(probability: float) -> float:
    _check_fraction("probability", probability)
    return float(sps.norm.ppf(probability))


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape or first.size == 0:
        raise ValueError(
            f"paired outcomes must be non-empty arrays of one shape, got {first.shape} and "
            f"{second.shape}; keep only the seeds and conditions that both arms have"
        )
    return first, second


def _check_counts(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, trials], got {successes} of {trials}")


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
