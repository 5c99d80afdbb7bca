"""Rates and differences of clustered outcomes: values, symmetries, coverage and bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import ArrayLike

from s2robot.stats.clustered import (
    Outcomes,
    clustered_difference,
    clustered_rate,
    equivalence_p,
    variance_components,
)
from s2robot.stats.intervals import Interval


def outcomes_of(success: Sequence[int], seed: Sequence[int], condition: str) -> Outcomes:
    return Outcomes(np.array(success), np.array(seed), np.array(list(condition)))


def drawn(
    rng: np.random.Generator, rates: ArrayLike, conditions: int, spread: float = 0.0
) -> Outcomes:
    """Seeds with the given rates, all on the same conditions, whose effects have a `spread`."""
    rates = np.asarray(rates)[:, None]
    effect = rng.normal(0, spread, conditions) if spread else 0.0
    return Outcomes.from_matrix(rng.random((len(rates), conditions)) < rates + effect)


def test_a_difference_is_that_of_the_seeds_mean_rates():
    first = outcomes_of([1, 0, 1, 1], [0, 0, 1, 1], "abab")
    second = outcomes_of([1, 1, 1, 1, 0, 1], [5, 5, 6, 6, 7, 7], "ababab")
    assert (first.rate, second.rate) == (0.75, pytest.approx(5 / 6))
    difference = clustered_difference(first, second)
    assert difference.estimate == pytest.approx(5 / 6 - 0.75)
    assert (difference.seeds, difference.conditions) == ((2, 3), 2)


def test_seeds_of_unequal_numbers_of_conditions_count_alike():
    outcomes = outcomes_of([1, 0, 0, 0, 1], [3, 3, 3, 3, 9], "abcda")
    assert outcomes.rate == pytest.approx((0.25 + 1) / 2)
    assert (outcomes.seeds, outcomes.conditions) == ((3, 9), ("a", "b", "c", "d"))


def test_only_conditions_that_both_variants_have_count():
    rng = np.random.default_rng(2)
    full, other = drawn(rng, [0.3, 0.5, 0.4], 30), drawn(rng, [0.6, 0.8, 0.7], 20)
    kept = full.condition < 20
    part = Outcomes(full.success[kept], full.seed[kept], full.condition[kept])
    assert clustered_difference(full, other) == clustered_difference(part, other)
    assert clustered_difference(full, other).conditions == 20


def test_a_seed_without_a_common_condition_is_left_out():
    first = outcomes_of([1, 0, 1, 1, 0], [0, 0, 1, 1, 2], "ababz")
    second = outcomes_of([1, 0, 0, 1], [0, 0, 1, 1], "abab")
    assert clustered_difference(first, second).seeds == (2, 2)


def test_the_order_of_rows_and_the_names_of_seeds_do_not_matter():
    rng = np.random.default_rng(4)
    first, second = drawn(rng, [0.3, 0.5, 0.4], 30), drawn(rng, [0.6, 0.8, 0.7], 30)
    order = rng.permutation(first.success.size)
    shuffled = Outcomes(first.success[order], 100 - first.seed[order], first.condition[order])
    a, b = clustered_difference(first, second), clustered_difference(shuffled, second)
    assert b.p_value == pytest.approx(a.p_value)
    assert (b.low, b.high, b.dof) == pytest.approx((a.low, a.high, a.dof))


def test_swapped_variants_change_the_sign_alone():
    rng = np.random.default_rng(5)
    first, second = drawn(rng, [0.3, 0.5, 0.4], 30), drawn(rng, [0.6, 0.9, 0.7, 0.8], 30)
    forward, backward = clustered_difference(first, second), clustered_difference(second, first)
    assert forward.p_value == pytest.approx(backward.p_value)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert equivalence_p(forward, 0.6) == pytest.approx(equivalence_p(backward, 0.6))


@pytest.mark.parametrize("seed", range(8))
def test_the_p_value_is_that_of_the_interval_that_just_reaches_zero(seed):
    rng = np.random.default_rng(seed)
    difference = clustered_difference(
        drawn(rng, rng.random(3), 24), drawn(rng, rng.random(5), 24, 0.2)
    )
    level = 1 - difference.p_value
    assert not difference.confidence_interval(min(level + 0.001, 0.9999)).excludes_zero()
    assert difference.confidence_interval(level - 0.001).excludes_zero()
    assert difference.excludes_zero() == (difference.p_value < 0.05)


@pytest.mark.parametrize("seed", range(4))
def test_equivalence_is_the_90_percent_interval_inside_the_margin(seed):
    rng = np.random.default_rng(seed)
    difference = clustered_difference(
        drawn(rng, [0.5, 0.52, 0.48, 0.51], 100), drawn(rng, [0.5, 0.49, 0.53, 0.5], 100)
    )
    inner = difference.confidence_interval(0.9)
    margin = max(-inner.low, inner.high)
    assert equivalence_p(difference, margin) == pytest.approx(0.05, abs=1e-6)
    assert equivalence_p(difference, margin + 0.01) < 0.05 < equivalence_p(difference, 0.05)


def test_equivalence_is_not_shown_by_an_estimate_outside_the_margin():
    rng = np.random.default_rng(6)
    difference = clustered_difference(drawn(rng, [0.1] * 4, 50), drawn(rng, [0.9] * 4, 50))
    assert equivalence_p(difference) == 1.0


@pytest.mark.parametrize("rate", [0, 1])
def test_rates_of_zero_and_one_leave_doubt(rate):
    same = Outcomes.from_matrix(np.full((3, 32), rate))
    difference = clustered_difference(same, same)
    assert (difference.estimate, difference.p_value) == (0.0, 1.0)
    assert difference.low < -0.02
    assert difference.high > 0.02
    interval = clustered_rate(same)
    assert {interval.low, interval.high} & {float(rate)}
    assert interval.high - interval.low > 0.03  # Clopper and Pearson's with 96 episodes: .038


def test_a_success_rate_of_all_against_none_is_shown_with_three_seeds_among_fifteen_pairs():
    none, every = (Outcomes.from_matrix(np.full((3, 32), rate)) for rate in (0, 1))
    difference = clustered_difference(none, every)
    assert difference.p_value < 0.05 / 15
    assert difference.low > 0.8


def test_one_seed_says_nothing_of_further_seeds():
    one, three = (Outcomes.from_matrix(np.ones((seeds, 32))) for seeds in (1, 3))
    difference = clustered_difference(one, three)
    assert (difference.low, difference.high, difference.p_value) == (-1, 1, 1)
    assert (difference.dof, difference.standard_error) == (0, math.inf)
    assert difference.confidence_interval(0.5).low == -1
    assert equivalence_p(difference) == 1
    assert clustered_rate(one) == Interval(1.0, 0.0, 1.0)


def test_seeds_that_disagree_widen_both_intervals():
    rng = np.random.default_rng(7)
    apart, even = drawn(rng, [0.3, 0.5, 0.7], 64), drawn(rng, [0.5, 0.5, 0.5], 64)
    width = {}
    for name, outcomes in (("apart", apart), ("even", even)):
        rate = clustered_rate(outcomes)
        difference = clustered_difference(even, outcomes)
        width[name] = rate.high - rate.low, difference.high - difference.low
    assert width["apart"][0] > 1.5 * width["even"][0]
    assert width["apart"][1] > 1.5 * width["even"][1]


def test_an_effect_of_conditions_that_both_variants_share_cancels():
    rng = np.random.default_rng(8)
    hard = np.repeat([False, True], 50)
    first, second = (
        Outcomes.from_matrix(rng.random((6, 100)) < np.where(hard, 0.1, 0.9)) for _ in range(2)
    )
    difference = clustered_difference(first, second)
    rate = clustered_rate(first)
    assert difference.high - difference.low < 0.6 * (rate.high - rate.low)


def test_limits_are_asymmetric_near_one():
    rng = np.random.default_rng(9)
    difference = clustered_difference(
        drawn(rng, [0.93, 0.97, 0.95, 0.94], 64), Outcomes.from_matrix(np.ones((4, 64)))
    )
    assert difference.high - difference.estimate > 1.2 * (difference.estimate - difference.low)


def test_false_positives_and_misses_stay_rare_with_clustered_seeds():
    rng = np.random.default_rng(10)
    misses = shown = 0
    for _ in range(150):
        a, b, c = (drawn(rng, rng.normal(mean, 0.08, 4), 48) for mean in (0.5, 0.5, 0.8))
        shown += clustered_difference(a, b).excludes_zero()
        difference = clustered_difference(a, c)
        misses += not difference.low < 0.3 < difference.high
        rate = clustered_rate(c)
        misses += not rate.low < 0.8 < rate.high
    assert shown <= 14  # of 150: 7.5 expected at 5 %, standard deviation 2.7
    assert misses <= 26  # of 300: 15 expected, standard deviation 3.8


def test_components_are_recovered_from_a_large_crossed_table():
    rng = np.random.default_rng(11)
    common = rng.normal(0, 0.1, 400)

    def variant():
        rates = 0.5 + rng.normal(0, 0.1, (40, 1)) + common + rng.normal(0, 0.08, 400)
        return Outcomes.from_matrix(rng.random((40, 400)) < rates)

    components = variance_components(variant(), variant())
    assert components.seed_sd == pytest.approx(0.1, abs=0.025)
    assert components.interaction_sd == pytest.approx(0.08, abs=0.015)
    assert components.residual_sd == pytest.approx(math.sqrt(0.25 - 0.1**2 * 2 - 0.08**2), abs=0.01)
    json.dumps(asdict(components), allow_nan=False)


def test_one_variants_conditions_count_as_interaction():
    rng = np.random.default_rng(12)
    table = rng.random((20, 300)) < 0.5 + rng.normal(0, 0.15, 300)
    components = variance_components(Outcomes.from_matrix(table))
    assert components.interaction_sd == pytest.approx(0.15, abs=0.02)
    assert components.seed_sd < 0.03


def test_in_a_nested_layout_the_residual_holds_the_interaction():
    rng = np.random.default_rng(13)
    seed = np.repeat(np.arange(30), 50)
    rates = 0.5 + rng.normal(0, 0.1, 30)[seed]
    first, second = (Outcomes(rng.random(1500) < rates, seed, np.arange(1500)) for _ in range(2))
    components = variance_components(first, second)
    assert components.interaction_sd < 0.15  # of the noise in the covariance between variants
    assert components.residual_sd == pytest.approx(0.49, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: outcomes_of([], [], ""), "non-empty"),
        (lambda: outcomes_of([1, 0], [0], "ab"), "one length"),
        (lambda: outcomes_of([1, 2], [0, 0], "ab"), "0 and 1"),
        (lambda: Outcomes(np.array([np.nan]), np.array([0]), np.array([1])), "0 and 1"),
        (lambda: Outcomes(np.ones(1), np.array([0.5]), np.array([1])), "integers"),
        (lambda: outcomes_of([1, 0], [4, 4], "bb"), "seed 4 has condition 'b' 2 times"),
        (lambda: Outcomes.from_matrix(np.ones(4)), "seeds, conditions"),
        (
            lambda: clustered_difference(
                outcomes_of([1, 1], [0, 1], "aa"), outcomes_of([1, 1], [0, 1], "bb")
            ),
            "no initial state in common",
        ),
        (lambda: clustered_rate(outcomes_of([1, 1], [0, 1], "aa"), 95), "confidence"),
        (lambda: variance_components(outcomes_of([1, 0], [0, 0], "ab")), "two seeds"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_margin_out_of_range_is_named():
    same = Outcomes.from_matrix(np.eye(4))
    with pytest.raises(ValueError, match="margin"):
        equivalence_p(clustered_difference(same, same), margin=5)
