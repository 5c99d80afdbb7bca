"""The clustered model against statsmodels, scipy, hand-computed values and its own symmetries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as sps

from s2robot.stats.clustered import (
    Outcomes,
    clustered_difference,
)


def outcomes_of(success: list, seed: list, condition: str) -> Outcomes:
    return Outcomes(np.array(success), np.array(seed), np.array(list(condition)))


def crossed(rng: np.random.Generator, rates: np.ndarray, conditions: int) -> Outcomes:
    return Outcomes.from_matrix(rng.random((len(rates), conditions)) < rates[:, None])


def nested(rng: np.random.Generator, rates: np.ndarray, conditions: int) -> Outcomes:
    """Seed s on the conditions s * C to (s + 1) * C."""
    seeds = len(rates)
    success = (rng.random((seeds, conditions)) < rates[:, None]).ravel()
    return Outcomes(success, np.repeat(np.arange(seeds), conditions), np.arange(success.size))


def test_a_difference_is_that_of_the_seeds_mean_rates():
    first = outcomes_of([1, 0, 1, 1], [0, 0, 1, 1], "abab")
    second = outcomes_of([1, 1, 1, 1, 0, 1], [5, 5, 6, 6, 7, 7], "ababab")
    assert (first.rate, second.rate) == (0.75, pytest.approx(5 / 6))
    difference = clustered_difference(first, second)
    assert difference.estimate == pytest.approx(5 / 6 - 0.75)
    assert (difference.seeds, difference.conditions) == ((2, 3), 2)


def test_a_crossed_table_gives_the_values_computed_by_hand():
    first = Outcomes.from_matrix(np.array([[1, 1, 0, 0], [1, 1, 1, 1]]))
    second = Outcomes.from_matrix(np.array([[1, 0, 0, 0], [1, 0, 0, 0]]))
    difference = clustered_difference(first, second)
    # Seeds' rates .5 and 1 against .25 and .25: variances (.0625, 0) of their means.
    # Through conditions, within: 0 for the first, C/(C-1) * .75 / C² for the second.
    # Between: C/(C-1) * (.5 * .75 - .5 * .25 + .5 * .25 + .5 * .25) / C² for 2 of the 4 pairs.
    shared = 1 / 16 - 2 * (4 / 3) * 0.5 / 16 * 2 / 4
    variance = 0.0625 + shared
    assert difference.standard_error == pytest.approx(math.sqrt(variance))
    assert difference.dof == pytest.approx(variance**2 / (0.0625**2 + shared**2 / 3))
    t = 0.5 / math.sqrt(variance)
    assert difference.p_value == pytest.approx(2 * sps.t.sf(t, difference.dof))


def test_in_a_nested_layout_it_is_welchs_test_of_the_seeds_rates():
    rng = np.random.default_rng(3)
    rates = np.array([0.1, 0.5, 0.9, 0.3, 0.7]), np.array([0.6, 0.9, 0.7, 0.8, 0.9])
    for _ in range(20):
        first, second = nested(rng, rates[0], 40), nested(rng, rates[1], 40)
        tables = [outcomes.success.reshape(5, 40) for outcomes in (first, second)]
        means = [table.mean(axis=1) for table in tables]
        deviations = [table - table.mean(axis=1, keepdims=True) for table in tables]
        if (deviations[0] * deviations[1]).sum() > 0:  # the conditions' part then counts as 0
            welch: Any = sps.ttest_ind(means[1], means[0], equal_var=False)
            difference = clustered_difference(first, second)
            limits = welch.confidence_interval()
            assert difference.p_value == pytest.approx(welch.pvalue)
            assert difference.dof == pytest.approx(welch.df)
            assert (difference.low, difference.high) == pytest.approx((limits.low, limits.high))
            return
    pytest.fail("no draw had a condition part of zero")
