"""Sizes that a difference needs."""

from __future__ import annotations

import numpy as np

from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.power import power
from s2robot.stats.sample_sizes import (
    ASSUMED,
    SEEDS,
    STATES,
    Measured,
    Question,
    cheapest,
    forecast,
    least_seeds,
    smallest_differences,
)

NO_SEED_VARIANCE = Measured(VarianceComponents(0.0, 0.0, 0.45), "made up")


def test_more_seeds_and_more_states_show_smaller_differences():
    rows = smallest_differences(Question(0.1), ASSUMED)
    table = np.array(rows, dtype=float)
    assert table.shape == (len(SEEDS), len(STATES))
    assert (np.diff(table, axis=0) < 0).all()
    assert (np.diff(table, axis=1) < 0).all()


def test_the_cheapest_combination_has_the_wanted_power_and_one_seed_less_has_not():
    question = Question(0.12, comparisons=3)
    best = cheapest(question, ASSUMED)
    assert best is not None

    def reached(seeds: int) -> float:
        return power(0.12, seeds, best.states, ASSUMED.components, comparisons=3)

    assert reached(best.seeds) >= 0.8 > reached(best.seeds - 1)
    assert best.episodes == best.seeds * best.states


def test_a_difference_that_initial_states_hide_has_no_cheapest_combination():
    assert cheapest(Question(0.005), ASSUMED) is None


def test_initial_states_alone_are_enough_only_without_variance_of_seeds():
    assert least_seeds(Question(0.05), NO_SEED_VARIANCE) == 3
    least = least_seeds(Question(0.05), ASSUMED)
    assert least is not None
    assert least > 10


def test_a_large_difference_is_forecast_in_the_fewest_seeds():
    few = forecast(Question(0.97), Measured(VarianceComponents(0.0, 0.0, 0.1), "made up"), 32)
    assert (few.mean_seeds, few.shown) == (3, 1)


def test_more_pairs_need_more_seeds_and_the_forecast_repeats():
    alone, among = (forecast(Question(0.2, comparisons=n), ASSUMED, 64) for n in (1, 6))
    assert alone.mean_seeds < among.mean_seeds
    assert alone == forecast(Question(0.2), ASSUMED, 64)


def test_a_difference_of_nothing_is_rarely_shown():
    assert forecast(Question(1e-9), ASSUMED, 64).shown < 0.05
