"""Power of the clustered test against simulation, scipy's t test, and its own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps

from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.difference_model import difference_model
from s2robot.stats.power import power, seeds_needed, smallest_difference

MEASURED = VarianceComponents(seed_sd=0.11, interaction_sd=0.1, residual_sd=0.45)


def test_power_is_that_of_simulated_tests():
    rng = np.random.default_rng(0)
    seeds, conditions, sweeps = 6, 48, 1500
    common = rng.normal(0, 0.15, (sweeps, 1, conditions))
    tables = []
    for mean in (0.4, 0.6):
        rates = mean + rng.normal(0, 0.1, (sweeps, seeds, 1)) + common
        rates = rates + rng.normal(0, 0.08, (sweeps, 1, conditions))
        tables.append((rng.random((sweeps, seeds, conditions)) < rates).astype(float))
    present = np.ones((seeds, conditions), bool)
    low, high = difference_model(tables[0], present, tables[1], present).limits(0.025)
    components = VarianceComponents(0.1, 0.08, (0.24 - 0.1**2 - 0.15**2 - 0.08**2) ** 0.5)
    expected = power(0.2, seeds, conditions, components)
    assert np.mean((low > 0) | (high < 0)) == pytest.approx(expected, abs=0.06)


def test_without_interaction_it_is_the_power_of_the_t_test_of_the_seeds():
    components = VarianceComponents(0.1, 0.0, 0.4)
    spread = (0.1**2 + 0.4**2 / 64) ** 0.5
    dof = (2 * 7 * 7) ** 0.5  # geometric mean of both variants' and of one variant's
    center = 0.2 / (spread * (2 / 8) ** 0.5)
    critical = sps.t.isf(0.025, dof)
    expected = sps.nct.sf(critical, dof, center) + sps.nct.cdf(-critical, dof, center)
    assert power(0.2, 8, 64, components) == pytest.approx(expected)


def test_power_without_a_difference_is_the_level():
    assert power(0.0, 5, 64, MEASURED) == pytest.approx(0.05)
    assert power(0.0, 5, 64, MEASURED, comparisons=5) == pytest.approx(0.01)
    assert power(0.0, 5, 64, VarianceComponents(0, 0, 0), comparisons=5) == 0.01
    assert power(0.1, 5, 64, VarianceComponents(0, 0, 0)) == 1.0


def test_power_grows_with_seeds_conditions_and_difference_and_falls_with_comparisons():
    base = power(0.15, 6, 64, MEASURED)
    assert power(0.15, 7, 64, MEASURED) > base
    assert power(0.15, 6, 128, MEASURED) > base
    assert power(-0.2, 6, 64, MEASURED) > base
    assert power(0.15, 6, 64, MEASURED, comparisons=3) < base
    assert power(0.15, 6, 64, MEASURED, layout="nested") > base


def test_no_number_of_conditions_replaces_seeds():
    assert power(0.15, 4, 10**6, MEASURED) < 0.5 < power(0.15, 16, 64, MEASURED)


@pytest.mark.parametrize("layout", ["crossed", "nested"])
def test_seeds_needed_is_the_first_number_that_suffices(layout):
    seeds = seeds_needed(0.15, 64, MEASURED, comparisons=3, layout=layout)
    assert seeds is not None
    arguments = {"comparisons": 3, "layout": layout}
    assert power(0.15, seeds, 64, MEASURED, **arguments) >= 0.8
    assert power(0.15, seeds - 1, 64, MEASURED, **arguments) < 0.8


def test_at_least_three_seeds_and_none_where_no_number_suffices():
    assert seeds_needed(1.0, 64, MEASURED) == 3
    assert seeds_needed(0.0, 64, MEASURED) is None
    assert seeds_needed(0.03, 16, MEASURED) is None
    assert seeds_needed(0.03, 16, MEASURED, layout="nested") is not None


def test_the_smallest_difference_is_just_shown():
    smallest = smallest_difference(6, 64, MEASURED)
    assert smallest is not None
    assert power(smallest, 6, 64, MEASURED) >= 0.8 > power(smallest - 0.001, 6, 64, MEASURED)
    assert smallest_difference(2, 4, MEASURED) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power(1.5, 4, 64, MEASURED), "difference"),
        (lambda: power(0.1, 1, 64, MEASURED), "seeds must be at least 2"),
        (lambda: power(0.1, 4, 1, MEASURED), "conditions"),
        (lambda: power(0.1, 4, 64, MEASURED, comparisons=0), "comparisons"),
        (lambda: power(0.1, 4, 64, MEASURED, alpha=5), "alpha"),
        (lambda: seeds_needed(0.1, 64, MEASURED, wanted=80), "wanted"),
        (lambda: smallest_difference(4, 64, MEASURED, wanted=80), "wanted"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
