"""Intervals of success rates against published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from s2robot.stats import intervals as stats


@pytest.mark.parametrize(("successes", "low", "high"), [(7, 23, 67), (10, 39, 82), (8, 28, 72)])
def test_wilson_gives_the_known_intervals_of_sixteen_rollouts(successes, low, high):
    interval = stats.wilson(successes, 16)
    assert (round(100 * interval.low), round(100 * interval.high)) == (low, high)


def test_wilson_at_the_edges_stays_in_range_and_is_not_degenerate():
    none, all_ = stats.wilson(0, 64), stats.wilson(64, 64)
    assert (none.low, all_.high) == (0, 1)
    assert none.high == pytest.approx(1 - all_.low)
    assert 0.03 < none.high < 0.1
    assert math.isnan(stats.wilson(0, 0).estimate)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [stats.mean_interval(rng.normal(3.0, 2.0, 6)) for _ in range(2000)]
    assert np.mean([each.low < 3 < each.high for each in found]) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval():
    found = stats.mean_interval(np.array([2.0]))
    assert (found.estimate, found.low, found.high) == (2, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.mean_interval(np.zeros(0)), "no values"),
        (lambda: stats.wilson(5, 4), "5 of 4"),
        (lambda: stats.wilson(1, 4, confidence=95), "confidence"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("seed_sd", "episode_sd"), [(1.0, 1.0), (0.0, 1.0), (1.0, 0.1), (0.0, 0.0)]
)
def test_an_interval_over_seeds_and_episodes_covers_the_mean(seed_sd, episode_sd):
    rng = np.random.default_rng(0)
    covered, trials = 0, 1500
    for _ in range(trials):
        seeds, episodes = rng.normal(0, seed_sd, (4, 1)), rng.normal(0, episode_sd, (1, 10))
        found = stats.crossed_mean_interval(5 + seeds + episodes + rng.normal(0, 0.5, (4, 10)))
        covered += found.low <= 5 <= found.high
    assert covered / trials > 0.92  # 0.93 to 0.99


def test_the_interval_of_one_seed_is_that_over_episodes_and_of_one_episode_has_no_limits():
    values = np.array([[1.0, 2.0, 4.0]])
    assert stats.crossed_mean_interval(values) == stats.mean_interval(values[0])
    assert stats.crossed_mean_interval(values.T).low == -np.inf


def test_seeds_that_differ_widen_the_interval():
    episodes = np.linspace(0, 1, 10)
    equal = np.stack([episodes] * 3)
    apart = equal + np.array([[-1.0], [0.0], [1.0]])
    one = stats.mean_interval(episodes)
    same, wide = stats.crossed_mean_interval(equal), stats.crossed_mean_interval(apart)
    assert (same.low, same.high) == pytest.approx((one.low, one.high), rel=0.05)
    assert wide.high - wide.low > 2 * (one.high - one.low)
