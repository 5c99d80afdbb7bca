"""Success rates and their differences from outcomes that are clustered in seeds and conditions.

Episodes of one training seed share the seed (and its head, if that is searched for each seed), and
episodes that begin in one initial state, a *condition*, share the condition. The number of
independent units is therefore that of seeds and of conditions, not that of episodes.

**Variance.** The variance of a variant's rate is that of its seeds' rates, divided by their number,
plus the covariance of two different seeds through the conditions that both ran on. The variance of
a difference is the sum of both variants', less twice the covariance between them. For a crossed
layout (every seed on the same conditions) this is the two-way analysis of variance; for a nested
layout (each seed on conditions of its own) it is Welch's. It equals the two-way cluster-robust
variance of Cameron, Gelbach and Miller (2011, "Robust inference with multiway clustering") for the
clusters (variant, seed) and condition, with the corrections S/(S-1) and C/(C-1), and with
deviations from each seed's own rate in the part of the conditions: plain deviations would subtract
the effect of the conditions, which cancels between variants, and come out too small at few seeds.
A negative condition part counts as 0.

**Degrees of freedom.** The geometric mean of Welch and Satterthwaite's (S-1 for each variant's
seeds, C-1 for the conditions) and of the smaller S-1: Welch's alone miss the truth in up to 8 % of
cases where one variant has three seeds and the other 16.

**Limits.** Each rate has Jeffreys' limits with the number of independent episodes of the same
variance, times (z/t)², and at most the number that seeds of equal true rates would be worth. The
difference's limits follow from those of the rates and their correlation (Zou and Donner 2008,
"Construction of confidence limits about effect measures"). So they are asymmetric near 0 and 1,
where t limits would miss the truth in up to 14 % of cases. The p-value is that of the limits that
reach zero.

``benchmarks/null_sweeps.py`` measures false positives, coverage and power of these choices.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from s2robot.stats.cluster_variance import component_variances, rate_limits, seed_rates
from s2robot.stats.difference_model import DifferenceModel, difference_model
from s2robot.stats.intervals import Interval, check_fraction


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of one variant: one row an episode, in any order.

    Args:
        success: whether the episode succeeded, (N,) booleans.
        seed: training seed of the policy, (N,) integers.
        condition: name or number of the initial state, (N,); two variants are matched by it.

    Raises:
        ValueError: the arrays are empty, differ in length, hold something else than outcomes and
            whole seeds, or give one seed the same condition twice.

    Examples:
        >>> success, condition = np.array([1, 0, 1, 1]), np.array(["a", "b", "a", "b"])
        >>> outcomes = Outcomes(success, seed=np.array([0, 0, 1, 1]), condition=condition)
        >>> outcomes.rate, outcomes.seeds, outcomes.conditions
        (0.75, (0, 1), ('a', 'b'))
    """

    success: np.ndarray
    seed: np.ndarray
    condition: np.ndarray

    def __post_init__(self) -> None:
        success = _flags(np.asarray(self.success))
        seed, condition = np.asarray(self.seed), np.asarray(self.condition)
        shapes = {array.shape for array in (success, seed, condition)}
        if len(shapes) > 1 or success.ndim != 1 or not success.size:
            raise ValueError(
                "success, seed and condition must be non-empty arrays of one length (N,), got "
                f"shapes {success.shape}, {seed.shape} and {condition.shape}"
            )
        if seed.dtype.kind not in "iu":
            raise ValueError(f"seeds must be integers, got an array of {seed.dtype}")
        for name, array in (("success", success), ("seed", seed), ("condition", condition)):
            object.__setattr__(self, name, array)
        if (twice := np.argwhere(self._counts > 1)).size:
            row, column = twice[0]
            raise ValueError(
                f"seed {self.seeds[row]} has condition {self.conditions[column]!r} "
                f"{self._counts[row, column]} times; keep one episode for each seed and condition"
            )

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Outcomes:
        """Return the outcomes of S seeds that all ran on the same C conditions.

        Args:
            matrix: outcomes, (S, C) booleans; seeds and conditions are numbered from 0.
        """
        matrix = np.asarray(matrix)
        if matrix.ndim != 2:
            raise ValueError(
                f"the matrix must have the shape (seeds, conditions), got {matrix.shape}"
            )
        seed, condition = np.indices(matrix.shape)
        return cls(matrix.ravel(), seed.ravel(), condition.ravel())

    @property
    def rate(self) -> float:
        """Mean of the seeds' success rates; each seed counts alike."""
        return float(seed_rates(*self.table(self.conditions)).mean())

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds in ascending order."""
        return tuple(self._index[0].tolist())

    @property
    def conditions(self) -> tuple[str | int, ...]:
        """Conditions of any seed in ascending order."""
        return tuple(self._index[2].tolist())

    def table(self, conditions: Sequence[str | int]) -> tuple[np.ndarray, np.ndarray]:
        """Return outcomes and their presence as two tables of seeds and the given conditions.

        Args:
            conditions: columns; each one of `self.conditions`.

        Returns:
            Outcomes (S, C) as 0.0 and 1.0, with 0.0 where a seed did not run, and whether it ran
            (S, C); seeds without any of the conditions are left out.
        """
        _, rows, names, columns = self._index
        values = np.zeros((len(self.seeds), len(names)))
        values[rows, columns] = self.success
        place = {name: column for column, name in enumerate(names.tolist())}
        kept = [place[condition] for condition in conditions]
        present = self._counts[:, kept] > 0
        ran = present.any(axis=1)
        return values[:, kept][ran], present[ran]

    @functools.cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, each episode's row, conditions, each episode's column."""
        seeds, rows = np.unique(self.seed, return_inverse=True)
        conditions, columns = np.unique(self.condition, return_inverse=True)
        return seeds, rows, conditions, columns

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        """Episodes of each seed and condition, (S, C)."""
        seeds, rows, conditions, columns = self._index
        counts = np.zeros((len(seeds), len(conditions)), dtype=int)
        np.add.at(counts, (rows, columns), 1)
        return counts


@dataclass(frozen=True)
class ClusteredDifference:
    """Success rate of a second variant minus that of a first one, with its test.

    The p-value is below 1 - confidence exactly where the limits exclude zero.
    """

    estimate: float
    low: float
    high: float
    p_value: float
    """Two-sided p-value of "both variants have the same success rate"."""
    standard_error: float
    """From seeds and conditions; infinite with fewer than two seeds in a variant."""
    dof: float
    """Degrees of freedom; 0 with fewer than two seeds in a variant."""
    seeds: tuple[int, int]
    """Number of seeds of the first and the second variant."""
    conditions: int
    """Number of conditions that both variants have."""
    model: DifferenceModel | None = dataclasses.field(default=None, repr=False, compare=False)
    """What the limits are made of; None with fewer than two seeds in a variant."""

    def confidence_interval(self, level: float = 0.95) -> Interval:
        """Return the difference with its limits at another level of confidence.

        Args:
            level: coverage of the interval, between 0 and 1.
        """
        check_fraction("level", level)
        if self.model is None:
            return Interval(self.estimate, -1.0, 1.0)
        low, high = self.model.limits((1 - level) / 2)
        return Interval(self.estimate, max(-1.0, float(low)), min(1.0, float(high)))

    def excludes_zero(self) -> bool:
        """Return whether both limits lie on the same side of zero."""
        return self.low > 0 or self.high < 0


def clustered_rate(outcomes: Outcomes, confidence: float = 0.95) -> Interval:
    """Return a variant's success rate with an interval for further seeds and conditions.

    The interval is Korn and Graubard's (1998): Clopper and Pearson's with the number of independent
    episodes that has the same variance, corrected by Student's t. Seeds and conditions have a
    correction each, and two seeds' outcomes in one condition count as correlated by .1 at least,
    since rare failures gather in conditions that a sample may miss.

    Args:
        outcomes: episodes of the variant; with one seed the limits are 0 and 1.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: `confidence` is not in (0, 1).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> seeds = rng.random((4, 64)) < np.array([[0.5], [0.6], [0.7], [0.8]])
        >>> rate = clustered_rate(Outcomes.from_matrix(seeds))
        >>> f"{rate.estimate:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        '0.59 [0.35, 0.81]'
    """
    check_fraction("confidence", confidence)
    values, present = outcomes.table(outcomes.conditions)
    if len(values) < 2:
        return Interval(outcomes.rate, 0.0, 1.0)
    low, high = rate_limits(values, present, confidence)
    return Interval(outcomes.rate, float(low), float(high))


def clustered_difference(
    first: Outcomes, second: Outcomes, confidence: float = 0.95
) -> ClusteredDifference:
    """Return the success rate of `second` minus that of `first` with interval and p-value.

    Only conditions that both variants have count. Seeds of the two variants are not matched: equal
    numbers do not mean that they share anything but conditions. With fewer than two seeds in a
    variant nothing is known of further seeds: the p-value is 1 and the limits are -1 and 1.

    Args:
        first: episodes of the variant that is subtracted.
        second: episodes of the variant that it is subtracted from.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        ValueError: the variants have no condition in common, or `confidence` is not in (0, 1).

    Examples:
        >>> first = Outcomes.from_matrix(np.arange(40) < [[10], [12], [11]])
        >>> second = Outcomes.from_matrix(np.arange(40) < [[30], [28], [32]])
        >>> difference = clustered_difference(first, second)
        >>> f"{difference.estimate:.3f} [{difference.low:.2f}, {difference.high:.2f}]"
        '0.475 [0.28, 0.62]'
        >>> difference.p_value < 0.01, equivalence_p(difference, margin=0.05)
        (True, 1.0)
    """
    check_fraction("confidence", confidence)
    a, b = common_tables(first, second)
    estimate = float(seed_rates(*b).mean() - seed_rates(*a).mean())
    seeds, conditions = (len(a[0]), len(b[0])), a[0].shape[1]
    if min(seeds) < 2:
        return ClusteredDifference(estimate, -1.0, 1.0, 1.0, math.inf, 0.0, seeds, conditions)
    model = difference_model(*a, *b)
    low, high = model.limits((1 - confidence) / 2)
    return ClusteredDifference(
        estimate=estimate,
        low=max(-1.0, float(low)),
        high=min(1.0, float(high)),
        p_value=2 * float(model.tail_probability(0.0)),
        standard_error=float(model.standard_error),
        dof=float(model.dof),
        seeds=seeds,
        conditions=conditions,
        model=model,
    )


def equivalence_p(difference: ClusteredDifference, margin: float = 0.05) -> float:
    """Return the p-value of "the rates are at least `margin` apart" (two one-sided tests).

    It is below .05 exactly where the 90 % interval lies inside (-margin, margin) (Schuirmann 1987).

    Args:
        difference: of two variants.
        margin: largest difference of success rates that does not matter, in (0, 1).

    Raises:
        ValueError: `margin` is not in (0, 1).
    """
    check_fraction("margin", margin)
    if difference.model is None or abs(difference.estimate) >= margin:
        return 1.0
    return max(float(difference.model.tail_probability(edge)) for edge in (-margin, margin))


@dataclass(frozen=True)
class VarianceComponents:
    """Standard deviations of one variant's success, in units of probability."""

    seed_sd: float
    """Of the seeds' true rates."""
    interaction_sd: float
    """Of the conditions' effect on this variant beyond their effect on the other."""
    residual_sd: float
    """Of a single episode, given seed and condition."""


def variance_components(first: Outcomes, second: Outcomes | None = None) -> VarianceComponents:
    """Return the standard deviations that decide how many seeds and conditions a test needs.

    They are means over both variants, by the method of moments; negative variances count as 0.
    Where no two seeds of a variant share a condition (a nested layout), the effect of a condition
    on one variant cannot be told from an episode's own chance: it is part of the residual.

    Args:
        first: episodes of a variant.
        second: episodes of another variant; without it, the conditions' whole effect is counted as
            interaction.

    Raises:
        ValueError: the variants have no condition in common, or no variant has two seeds.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rates = np.array([0.4, 0.5, 0.6, 0.7])[:, None]
        >>> first, second = (Outcomes.from_matrix(rng.random((4, 500)) < rates) for _ in range(2))
        >>> components = variance_components(first, second)
        >>> f"{components.seed_sd:.2f} {components.residual_sd:.2f}"
        '0.15 0.48'
    """
    if second is None:
        tables = [first.table(first.conditions)]
    else:
        tables = list(common_tables(first, second))
    if max(len(present) for _, present in tables) < 2:
        raise ValueError("variance components need two seeds of a variant or more, got one")
    return VarianceComponents(*(math.sqrt(max(0.0, v)) for v in component_variances(tables)))


def common_tables(
    first: Outcomes, second: Outcomes
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return both variants' tables (values, present) of the conditions that both have.

    Raises:
        ValueError: they have no condition in common.
    """
    mine, other = first.conditions, second.conditions
    common = sorted(set(mine) & set(other))
    if not common:
        raise ValueError(
            "the variants have no initial state in common "
            f"({len(mine)} as {mine[0]!r} and {len(other)} as {other[0]!r}); "
            "roll both out on the same initial states"
        )
    return first.table(common), second.table(common)


def _flags(success: np.ndarray) -> np.ndarray:
    """Return outcomes as booleans; numbers other than 0 and 1 are refused."""
    if success.dtype.kind not in "biuf" or not np.isin(success, (0, 1)).all():
        raise ValueError(f"success must hold booleans, or 0 and 1, got {success.ravel()[:4]} ...")
    return success.astype(bool)
