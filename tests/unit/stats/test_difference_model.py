"""Limits of a difference of clustered rates: by hand, against Welch's test, nested, in bulk."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats as sps

from s2robot.stats.difference_model import SMALLEST_TAIL, DifferenceModel, difference_model


def crossed(first: ArrayLike, second: ArrayLike) -> DifferenceModel:
    tables = [np.asarray(t, float) for t in (first, second)]
    present = [np.ones(t.shape[-2:], bool) for t in tables]
    return difference_model(tables[0], present[0], tables[1], present[1])


def test_a_crossed_table_gives_the_values_computed_by_hand():
    model = crossed([[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 0, 0, 0], [1, 0, 0, 0]])
    # Seeds' rates .5 and 1 against .25 and .25: variances (.0625, 0) of their means.
    # Through conditions, within: 0 for the first, C/(C-1) * .75 / C² for the second.
    # Between: C/(C-1) * (.5 * .75 - .5 * .25 + .5 * .25 + .5 * .25) / C² for 2 of the 4 pairs.
    shared = 1 / 16 - 2 * (4 / 3) * 0.5 / 16 * 2 / 4
    variance = 0.0625 + shared
    assert model.estimate == -0.5
    assert model.standard_error == pytest.approx(math.sqrt(variance))
    welch = variance**2 / (0.0625**2 + shared**2 / 3)
    assert model.dof == pytest.approx(math.sqrt(welch * 1))


@pytest.mark.parametrize("seeds", [(3, 3), (4, 9)])
def test_in_a_nested_layout_the_error_is_welchs(seeds):
    """Seeds of the variants on conditions of their own; both have all conditions."""
    rng = np.random.default_rng(3)
    tables, presents, rates = [], [], []
    for count in seeds:
        present = np.repeat(np.eye(count, dtype=bool), 36 // count, axis=1)
        table = (rng.random((count, 36)) < rng.random((count, 1))) & present
        tables.append(table.astype(float))
        presents.append(present)
        rates.append(table.sum(axis=1) / present.sum(axis=1))
    model = difference_model(tables[0], presents[0], tables[1], presents[1])
    welch: Any = sps.ttest_ind(rates[1], rates[0], equal_var=False)
    deviations = [(t - r[:, None]) * p for t, p, r in zip(tables, presents, rates, strict=True)]
    assert (deviations[0].sum(axis=0) * deviations[1].sum(axis=0)).sum() >= 0  # no condition part
    assert model.standard_error == pytest.approx(model.estimate / welch.statistic)
    assert model.dof == pytest.approx(math.sqrt(welch.df * (min(seeds) - 1)))


def test_at_middle_rates_and_many_seeds_the_limits_are_those_of_t():
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 0.2, 200)
    model = crossed(
        *(rng.random((20, 200)) < rng.normal(0.5, 0.1, (20, 1)) + hard for _ in range(2))
    )
    half = sps.t.isf(0.025, model.dof) * model.standard_error
    low, high = model.limits(0.025)
    assert (low, high) == pytest.approx((model.estimate - half, model.estimate + half), abs=0.004)


@pytest.mark.parametrize("seed", range(6))
def test_limits_are_nested_and_hold_the_estimate(seed):
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.3, 24)
    model = crossed(*(rng.random((3, 24)) < rng.random((3, 1)) + hard for _ in range(2)))
    lows, highs = zip(*(model.limits(tail) for tail in np.geomspace(1e-8, 0.4, 40)), strict=True)
    assert (np.diff(lows) >= 0).all()
    assert (np.diff(highs) <= 0).all()
    assert lows[-1] <= model.estimate <= highs[-1]


def test_the_tail_probability_is_that_of_the_limit_at_the_hypothesis():
    rng = np.random.default_rng(7)
    model = crossed(rng.random((5, 40)) < 0.4, rng.random((5, 40)) < 0.7)
    tail = model.tail_probability(0.1)
    assert model.limits(tail)[0] == pytest.approx(0.1)
    tail = model.tail_probability(0.6)
    assert model.limits(tail)[1] == pytest.approx(0.6)
    assert model.tail_probability(float(model.estimate)) == 0.5
    assert model.tail_probability(-5.0) == pytest.approx(SMALLEST_TAIL)


def test_leading_axes_are_comparisons_of_their_own():
    rng = np.random.default_rng(8)
    first, second = rng.random((4, 3, 20)) < 0.5, rng.random((4, 6, 20)) < 0.6
    low, high = crossed(first, second).limits(0.05)
    alone = np.array([crossed(a, b).limits(0.05) for a, b in zip(first, second, strict=True)])
    assert np.stack([low, high], axis=1) == pytest.approx(alone)


def test_equal_seeds_of_a_perfect_rate_have_clopper_and_pearsons_limit():
    model = crossed(np.ones((3, 32)), np.zeros((3, 32)))
    ones = model.first
    low, high = ones.limits(0.025, np.ones(()))
    assert (low, high) == pytest.approx((0.025 ** (1 / ones.episodes), 1.0))
    assert 96 / 1.25 < ones.episodes < 96  # 96 episodes whose seeds correlate by .1 in a condition
