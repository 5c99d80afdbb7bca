"""The choice among candidates: intervals over episodes and trainings, ties, deadlines."""

from __future__ import annotations

import numpy as np
import pytest

from s2robot.analysis.recommend.choice import Errors, choose, difference

FOLD = np.arange(24) % 3


def errors(mean: float, noise: float = 0.1, seeds: int = 1, seed: int = 0) -> Errors:
    rng = np.random.default_rng(seed)
    return Errors(mean + noise * rng.normal(size=(seeds, 24)), FOLD)


def test_the_least_error_that_is_allowed_is_chosen() -> None:
    found = choose([errors(3), errors(1), errors(2)], [True, False, True])
    assert found is not None
    assert found.best == 2
    assert sorted(found.differences) == [0, 1]


def test_without_an_allowed_candidate_that_was_measured_there_is_no_choice() -> None:
    assert choose([errors(1), None], [False, True]) is None
    assert choose([], []) is None


def test_a_clear_difference_is_told_apart_and_a_small_one_is_not() -> None:
    found = choose(
        [errors(1.0, seed=1), errors(1.01, seed=2), errors(2.0, seed=3)], [True, True, True]
    )
    assert found is not None
    assert (found.best, found.not_told_apart) == (0, [1])


def test_differences_are_paired_by_episode() -> None:
    hard = np.linspace(0, 100, 24)[None]
    found = difference(Errors(hard, FOLD), Errors(hard + errors(1).values, FOLD))
    assert 0.9 < found.low < found.high < 1.1


def test_trainings_that_differ_widen_the_interval_although_episodes_agree() -> None:
    steady = Errors(np.ones((3, 24)), FOLD)
    shaken = Errors(np.repeat([[0.5], [1.0], [1.5]], 24, axis=1), FOLD)
    assert difference(steady, steady).high == 0
    found = difference(steady, shaken)
    assert found.estimate == pytest.approx(0)
    # each of three folds has three trainings of standard deviation 0.5: 0.5 / sqrt(9)
    assert found.high == pytest.approx(2.447 * 0.5 / 3, abs=0.001)


def test_intervals_of_many_candidates_are_wider_since_they_hold_together() -> None:
    few = choose([errors(1, seed=1), errors(1, seed=2)], [True] * 2)
    many = choose([errors(1 + 1e-6 * i, seed=1 + i % 2) for i in range(12)], [True] * 12)
    assert few is not None
    assert many is not None
    assert many.best == few.best
    width = few.differences[1 - few.best].high - few.differences[1 - few.best].low
    other = 1 - many.best
    assert many.differences[other].high - many.differences[other].low > 1.3 * width


def test_of_twelve_equal_candidates_all_are_rarely_told_apart() -> None:
    """The best of twelve is the luckiest, so intervals for it alone would be too narrow."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        episodes = rng.normal(size=24)
        equal = [Errors((episodes + rng.normal(size=24))[None], FOLD) for _ in range(12)]
        found = choose(equal, [True] * 12)
        assert found is not None
        wrong += len(found.not_told_apart) < 11
    assert wrong <= 20  # 5 % of 200 and twice that; 13 to 14 % with eleven intervals


def test_intervals_cover_the_true_difference_about_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(5), 0
    for _ in range(400):
        trainings = rng.normal(size=(3, 3))[:, FOLD]  # one effect for each training of a fold
        first = Errors(rng.normal(size=(3, 24)) + trainings, FOLD)
        found = difference(Errors(np.zeros((3, 24)), FOLD), first)
        hits += found.low <= 0 <= found.high
    assert 372 <= hits <= 400


def test_other_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        difference(errors(1), Errors(np.ones((1, 12)), FOLD[:12]))
