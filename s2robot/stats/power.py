"""Power of the clustered test, and the seeds and conditions that it needs.

The model is that of `s2robot.stats.clustered` with two variants of S seeds each: the variance of a
difference is a part that shrinks with the seeds and one of the interaction of variant and condition
that, in a crossed layout, shrinks with the conditions alone. Power is that of the noncentral t
distribution with that model's degrees of freedom at the expected variances.
"""

from __future__ import annotations

import bisect
import math
from typing import Literal

from scipy import stats as sps

from s2robot.stats import LEAST_SEEDS
from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.intervals import check_fraction

Layout = Literal["crossed", "nested"]
"""Whether all seeds run on the same conditions, or each on as many of its own."""
MOST_SEEDS = 1024
STEPS = 1000
NEGLIGIBLE = 5.0
"""Noncentrality above which a significant difference of the wrong sign does not occur."""


def power(
    difference: float,
    seeds: int,
    conditions: int,
    components: VarianceComponents,
    *,
    alpha: float = 0.05,
    comparisons: int = 1,
    layout: Layout = "crossed",
) -> float:
    """Return the probability that the test shows a difference.

    Args:
        difference: of two success rates, in [-1, 1].
        seeds: of each variant, at least 2.
        conditions: of each seed, at least 2.
        components: measured by `variance_components`.
        alpha: significance level of the two-sided test.
        comparisons: number of pairs that the level is shared by (Bonferroni, the first step of
            Holm's).
        layout: "crossed" if all seeds run on the same conditions, "nested" if each has its own.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> components = VarianceComponents(seed_sd=0.07, interaction_sd=0.1, residual_sd=0.4)
        >>> [round(power(0.15, seeds, 64, components), 2) for seeds in (3, 8, 16)]
        [0.31, 0.84, 0.98]
    """
    check_fraction("alpha", alpha)
    _check(difference, seeds, conditions, comparisons)
    seed_variance, interaction, residual = (
        components.seed_sd**2,
        components.interaction_sd**2,
        components.residual_sd**2,
    )
    shared = 2 * interaction / conditions if layout == "crossed" else 0.0
    own = residual if layout == "crossed" else residual + interaction
    of_seeds = (seed_variance + own / conditions) / seeds  # of one variant
    variance = 2 * of_seeds + shared
    if variance == 0:
        return 1.0 if difference else alpha / comparisons
    welch = variance**2 / (2 * of_seeds**2 / (seeds - 1) + shared**2 / (conditions - 1))
    dof = min(welch, math.sqrt(welch * (seeds - 1)))
    critical = sps.t.isf(alpha / comparisons / 2, dof)
    center = abs(difference) / math.sqrt(variance)
    wrong_sign = sps.nct.cdf(-critical, dof, center) if center < NEGLIGIBLE else 0.0
    return float(sps.nct.sf(critical, dof, center) + wrong_sign)


def seeds_needed(
    difference: float,
    conditions: int,
    components: VarianceComponents,
    *,
    wanted: float = 0.8,
    alpha: float = 0.05,
    comparisons: int = 1,
    layout: Layout = "crossed",
) -> int | None:
    """Return the seeds of each variant that show a difference with the wanted power.

    Args:
        difference: of two success rates, in [-1, 1].
        conditions: of each seed, at least 2.
        components: measured by `variance_components`.
        wanted: power.
        alpha: significance level of the two-sided test.
        comparisons: number of pairs that the level is shared by.
        layout: "crossed" if all seeds run on the same conditions, "nested" if each has its own.

    Returns:
        At least 3. None where 1024 do not suffice: the difference is 0, or smaller than what the
        interaction of variant and condition hides in a crossed layout with so few conditions.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> components = VarianceComponents(seed_sd=0.07, interaction_sd=0.1, residual_sd=0.4)
        >>> seeds_needed(0.15, 64, components), seeds_needed(0.97, 32, components)
        (8, 3)
        >>> seeds_needed(0.02, 64, components) is None
        True
    """
    check_fraction("wanted", wanted)

    def enough(seeds: int) -> bool:
        return wanted <= power(
            difference,
            seeds,
            conditions,
            components,
            alpha=alpha,
            comparisons=comparisons,
            layout=layout,
        )

    if difference == 0 or not enough(MOST_SEEDS):
        return None
    return bisect.bisect_left(range(MOST_SEEDS), True, lo=LEAST_SEEDS, key=enough)


def smallest_difference(
    seeds: int,
    conditions: int,
    components: VarianceComponents,
    *,
    wanted: float = 0.8,
    alpha: float = 0.05,
    comparisons: int = 1,
    layout: Layout = "crossed",
) -> float | None:
    """Return the smallest difference that is shown with the wanted power, in steps of .001.

    Args:
        seeds: of each variant, at least 2.
        conditions: of each seed, at least 2.
        components: measured by `variance_components`.
        wanted: power.
        alpha: significance level of the two-sided test.
        comparisons: number of pairs that the level is shared by.
        layout: "crossed" if all seeds run on the same conditions, "nested" if each has its own.

    Returns:
        A difference in (0, 1]; None where not even 1 is shown.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> components = VarianceComponents(seed_sd=0.07, interaction_sd=0.1, residual_sd=0.4)
        >>> smallest_difference(8, 64, components)
        0.143
    """
    check_fraction("wanted", wanted)

    def enough(steps: int) -> bool:
        return wanted <= power(
            steps / STEPS,
            seeds,
            conditions,
            components,
            alpha=alpha,
            comparisons=comparisons,
            layout=layout,
        )

    if not enough(STEPS):
        return None
    return bisect.bisect_left(range(STEPS), True, lo=1, key=enough) / STEPS


def _check(difference: float, seeds: int, conditions: int, comparisons: int) -> None:
    if not abs(difference) <= 1:
        raise ValueError(f"a difference of success rates must lie in [-1, 1], got {difference}")
    smallest = (("seeds", seeds, 2), ("conditions", conditions, 2), ("comparisons", comparisons, 1))
    for name, value, least in smallest:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
