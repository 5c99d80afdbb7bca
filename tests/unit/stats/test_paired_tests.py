"""Paired tests and sample sizes against published numbers and their own definitions."""

from __future__ import annotations

import numpy as np
import pytest

from s2robot.stats import paired_tests as stats


@pytest.mark.parametrize(("successes", "p_value"), [((7, 10), 0.48), ((8, 10), 0.72)])
def test_fisher_of_sixteen_rollouts(successes, p_value):
    assert stats.fisher(successes, (16, 16)) == pytest.approx(p_value, abs=0.005)


def test_mcnemar_counts_discordant_pairs_only():
    first = np.array([1, 1, 1, 0, 0, 1], bool)
    second = np.array([1, 0, 1, 1, 0, 0], bool)
    result = stats.mcnemar(first, second)
    assert (result.only_first, result.only_second, result.p_value) == (2, 1, 1.0)


def test_mcnemar_is_the_sign_test():
    first, second = np.zeros(20, bool), np.zeros(20, bool)
    second[:6] = True
    assert stats.mcnemar(first, second).p_value == pytest.approx(2 * 0.5**6)
    assert stats.mcnemar(first, first).p_value == 1.0


def test_holm_matches_a_worked_example():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.7]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_paired_difference_is_second_minus_first_and_antisymmetric():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 64)) < 0.5, rng.random((3, 64)) < 0.8
    forward = stats.paired_difference(first, second)
    backward = stats.paired_difference(second, first)
    assert forward.estimate == pytest.approx(second.mean() - first.mean())
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.excludes_zero()


def test_paired_difference_never_claims_certainty():
    same = np.ones((2, 64), bool)
    interval = stats.paired_difference(same, same)
    assert interval.low < -0.01 < interval.estimate < 0.01 < interval.high


def test_paired_difference_widens_when_seeds_disagree():
    """Two seeds at odds leave more doubt than the same outcomes spread evenly over both."""
    first, apart, even = np.zeros((3, 2, 64), bool)
    apart[0] = True
    even[:, ::2] = True
    disagree, agree = stats.paired_difference(first, apart), stats.paired_difference(first, even)
    assert disagree.estimate == agree.estimate == 0.5
    assert disagree.low == 0
    assert agree.low > 0.3


def test_paired_difference_covers_the_truth_when_seeds_vary():
    """Of 95 % intervals over three seeds, at least nine in ten hold the true difference (zero)."""
    rng = np.random.default_rng(1)

    def variant():
        rate = np.clip(0.7 + rng.normal(0, 0.06, (3, 1)), 0, 1)
        return rng.random((3, 48)) < rate

    intervals = [stats.paired_difference(variant(), variant()) for _ in range(40)]
    assert sum(not interval.excludes_zero() for interval in intervals) >= 36


def test_sample_sizes_of_the_published_experiment():
    assert stats.rollouts_needed(7 / 16, 10 / 16) == pytest.approx(110, abs=3)
    assert stats.rollouts_needed(8 / 16, 10 / 16) == pytest.approx(250, abs=6)
    assert stats.rollouts_needed(0.5, 0.5) is None


@pytest.mark.parametrize(("points", "low", "high"), [(5, 470, 780), (10, 155, 230), (15, 85, 120)])
def test_pairs_needed_lies_in_the_known_ranges(points, low, high):
    assert low <= stats.pairs_needed(points / 100, 0.2 + 0.005 * points) <= high


def test_pairs_needed_of_no_difference_is_none():
    assert stats.pairs_needed(0.0, 0.2) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.fisher((5, 1), (4, 4)), "5 of 4"),
        (lambda: stats.paired_difference(np.ones(3), np.ones(3), confidence=95), "confidence"),
        (lambda: stats.holm([0.5, 1.5]), "p-values"),
        (lambda: stats.mcnemar(np.ones(3), np.ones(4)), "one shape"),
        (lambda: stats.paired_difference(np.ones((2, 0)), np.ones((2, 0))), "non-empty"),
        (lambda: stats.pairs_needed(0.2, 0.1), "discordant"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
