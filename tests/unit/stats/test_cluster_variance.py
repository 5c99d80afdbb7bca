"""Variances of clustered outcomes against statsmodels' cluster-robust covariance and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as sps

from s2robot.stats.cluster_variance import (
    clopper_pearson,
    condition_variance,
    effective_episodes,
    mean_between,
    overlap,
    rate_limits,
    seed_covariances,
    seed_rates,
    seed_variance,
)

SEEDS, CONDITIONS = (4, 5), 30


def two_tables(seeds: tuple[int, int] = SEEDS, conditions: int = CONDITIONS) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 0.3, conditions)
    return [
        (rng.random((count, conditions)) < rng.normal(0.5, 0.15, (count, 1)) + hard).astype(float)
        for count in seeds
    ]


def long_form(tables: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, variant, seed (numbered over both variants) and condition of each row."""
    stacked = np.concatenate(tables)
    seed, condition = np.indices(stacked.shape)
    return stacked.ravel(), (seed >= len(tables[0])).ravel(), seed.ravel(), condition.ravel()


def robust_variance(
    outcome: np.ndarray, design: np.ndarray, contrast: np.ndarray, by: np.ndarray
) -> float:
    """Statsmodels' variance of a contrast, clustered by one or two groups, without corrections."""
    fitted: Any = sm.OLS(outcome, design).fit(
        cov_type="cluster", cov_kwds={"groups": by, "use_correction": False}
    )
    return float(contrast @ fitted.cov_params() @ contrast)


def test_the_seeds_part_is_statsmodels_variance_clustered_by_seed():
    for table in two_tables():
        outcome, _, seed, _ = long_form([table, table[:0]])
        theirs = robust_variance(outcome, np.ones((outcome.size, 1)), np.ones(1), seed)
        ours = seed_variance(table, np.ones(table.shape, bool))
        assert ours == pytest.approx(theirs * len(table) / (len(table) - 1))


def condition_sum(tables: list[np.ndarray], contrast: np.ndarray) -> float:
    """Statsmodels' clusters by condition less single rows, with a constant for each seed.

    The constants make its residuals deviations from each seed's rate.
    """
    outcome, _, seed, condition = long_form(tables)
    design = np.eye(seed.max() + 1)[seed]
    clustered = robust_variance(outcome, design, contrast, condition)
    return clustered - robust_variance(outcome, design, contrast, np.arange(outcome.size))


def test_covariances_through_conditions_are_statsmodels_clusters_less_single_rows():
    tables = two_tables()
    present = [np.ones(t.shape, bool) for t in tables]
    count = len(tables[0])
    covariances = seed_covariances(np.concatenate(tables), np.concatenate(present))
    within = [covariances[:count, :count], covariances[count:, count:]]
    correction = CONDITIONS / (CONDITIONS - 1)
    both = np.repeat([-1 / SEEDS[0], 1 / SEEDS[1]], SEEDS)
    own = [np.where(np.sign(both) == sign, both, 0) for sign in (-1, 1)]
    of_variant = [correction * condition_sum(tables, contrast) for contrast in own]
    for block, expected, seeds in zip(within, of_variant, SEEDS, strict=True):
        assert mean_between(block) == pytest.approx(expected * seeds / (seeds - 1))
    between = correction * condition_sum(tables, both) - sum(of_variant)
    assert -2 * covariances[:count, count:].mean() == pytest.approx(between)


def test_with_many_seeds_and_conditions_it_is_the_two_way_clustered_variance():
    tables = two_tables((60, 60), 200)
    outcome, variant, seed, condition = long_form(tables)
    design = np.column_stack([np.ones(outcome.size), variant])
    theirs = robust_variance(outcome, design, np.array([0, 1]), np.c_[seed, condition])
    present = np.ones((60, 200), bool)
    covariances = seed_covariances(np.concatenate(tables), np.concatenate([present, present]))
    ours = (
        sum(float(seed_variance(t, present)) for t in tables)
        + mean_between(covariances[:60, :60])
        + mean_between(covariances[60:, 60:])
        - 2 * covariances[:60, 60:].mean()
    )
    assert ours == pytest.approx(theirs, rel=0.1)


def test_a_covariance_computed_by_hand():
    values = np.array([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    covariance = seed_covariances(values, np.ones((2, 4), bool))
    # deviations ½ ½ -½ -½ and ¾ -¼ -¼ -¼: products sum to ½; C/(C-1) of ½ / 4²
    assert covariance == pytest.approx(np.array([[0, 1], [1, 0]]) * 0.5 / 16 * 4 / 3)


def test_covariances_of_partly_shared_conditions_are_unbiased():
    """Two seeds share 6 of their conditions; a condition's effect has the variance .09."""
    rng = np.random.default_rng(3)
    present = np.zeros((2, 14), bool)
    present[0, :10] = present[1, 4:] = True
    effects = rng.normal(0, 0.3, (20_000, 1, 14)) * present
    covariance = seed_covariances(effects, present)[:, 0, 1]
    assert covariance.mean() == pytest.approx(0.09 * 6 / 100, rel=0.05)
    assert overlap(present)[0, 1] == pytest.approx(6 / 100)


def test_seeds_without_common_conditions_have_no_covariance():
    present = np.eye(3, dtype=bool).repeat(8, axis=1)
    values = np.random.default_rng(0).random((3, 24)) * present
    assert not seed_covariances(values, present).any()


def test_leading_axes_are_tables_of_their_own():
    rng = np.random.default_rng(4)
    values, present = (rng.random((5, 3, 20)) < 0.5).astype(float), np.ones((3, 20), bool)
    low, high = rate_limits(values, present, 0.95)
    alone = np.array([rate_limits(table, present, 0.95) for table in values])
    assert np.stack([low, high], axis=1) == pytest.approx(alone)
    assert seed_rates(values, present).shape == (5, 3)


def test_effective_episodes_have_the_variance_and_are_bounded():
    rates, variances = np.array([0.5, 0.5, 1.0]), np.array([0.01, 1e-9, 0.0])
    assert effective_episodes(rates, variances, np.full(3, 90.0)).tolist() == [25, 90, 90]


def test_equal_seeds_are_worth_their_episodes_less_their_correlation():
    values, present = np.tile(np.arange(32) % 2.0, (4, 1)), np.ones((4, 32), bool)
    within = mean_between(seed_covariances(values, present))
    shared, least = condition_variance(values, present, within)
    assert shared == pytest.approx(0.25 / 32 * 32 / 31)  # the conditions decide all
    assert least == pytest.approx(0.25 / 128 + 0.75 * shared)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (3, 20), (20, 20)])
def test_clopper_pearson_is_scipys(successes, trials):
    expected = sps.binomtest(successes, trials).proportion_ci(0.9)
    limits = clopper_pearson(np.array(float(successes)), np.array(float(trials)), 0.9)
    assert limits == pytest.approx((expected.low, expected.high))
