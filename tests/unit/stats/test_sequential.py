"""Tests that may be stopped at any time: their values, and errors if one looks at each seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as sps

from s2robot.stats.sequential import (
    PRIOR_VARIANCE,
    anytime_equivalence_p,
    anytime_p_value,
    confidence_sequence,
    e_values,
)

MANY = 10_000
"""Episodes: so many that the least spread of a difference does not count."""


def test_the_first_seed_is_no_evidence():
    assert e_values([0.9], MANY).tolist() == [1.0]
    assert anytime_p_value([0.9], MANY) == 1.0
    assert e_values([], MANY).size == 0
    assert anytime_p_value([], MANY) == 1.0


def test_an_e_value_is_the_likelihood_ratio_of_the_t_statistic():
    """Noncentral t with a normal prior on the noncentrality, against central t."""
    differences = np.array([0.3, 0.1, 0.25, -0.05, 0.2])
    result: Any = sps.ttest_1samp(differences, 0)
    t = result.statistic

    def weighted(effect: float) -> float:
        density = sps.nct.pdf(t, 4, effect * math.sqrt(5))
        return float(density * sps.norm.pdf(effect, 0, math.sqrt(PRIOR_VARIANCE)))

    ratio = integrate.quad(weighted, -15, 15, points=[0, 1], limit=200)[0] / sps.t.pdf(t, 4)
    assert e_values(differences, MANY)[-1] == pytest.approx(ratio, rel=1e-4)


def test_three_seeds_decide_a_difference_of_97_points_and_four_among_six_pairs():
    differences = [0.97, 0.94, 1.0, 0.97]
    assert anytime_p_value(differences[:3], 32) < 0.05
    assert anytime_p_value(differences, 32) < 0.05 / 6


def test_the_sign_does_not_matter_and_evidence_is_not_lost():
    differences = np.array([0.3, 0.2, 0.25, 0.3, 0.28])
    assert anytime_p_value(differences, 64) == anytime_p_value(-differences, 64)
    later = np.append(differences, [-0.9, 0.9, -0.9])
    assert anytime_p_value(later, 64) == anytime_p_value(differences, 64)
    assert e_values(later, 64)[-1] < e_values(differences, 64)[-1]


def test_seeds_that_agree_by_chance_are_no_certainty():
    once = [1 / 8, 1 / 8, 1 / 8]
    assert anytime_p_value(once, 8) > 0.05
    assert anytime_p_value(once, 8000) < 0.05


def test_the_confidence_sequence_excludes_zero_where_the_p_value_is_small():
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        differences = rng.normal(0.12, 0.1, 8)
        p, sequence = anytime_p_value(differences, MANY), confidence_sequence(differences, MANY)
        assert sequence.excludes_zero() == (p < 0.05)
        outcomes.add(p < 0.05)
    assert outcomes == {True, False}


def test_the_confidence_sequence_never_widens():
    differences = np.random.default_rng(1).normal(0.1, 0.1, 20)
    looks = [confidence_sequence(differences[:n], MANY) for n in range(1, 21)]
    assert (looks[0].low, looks[0].high) == (-1, 1)
    assert (np.diff([look.low for look in looks]) >= 0).all()
    assert (np.diff([look.high for look in looks]) <= 0).all()
    assert looks[-1].estimate == pytest.approx(differences.mean())


def test_a_sequence_without_seeds_or_with_contradicting_looks_stays_in_range():
    empty = confidence_sequence([], 64)
    assert math.isnan(empty.estimate)
    assert (empty.low, empty.high) == (-1, 1)
    turned = confidence_sequence([0.9, 0.9, 0.9, 0.9, *[-0.9] * 40], MANY)
    assert turned.low <= turned.estimate <= turned.high


def test_equivalence_is_the_confidence_sequence_inside_the_margin():
    differences = np.random.default_rng(2).normal(0, 0.02, 12)
    sequence = confidence_sequence(differences, MANY)
    margin = max(-sequence.low, sequence.high)
    assert anytime_equivalence_p(differences, MANY, margin + 1e-6) <= 0.05
    assert anytime_equivalence_p(differences, MANY, margin - 1e-6) > 0.05
    assert anytime_equivalence_p(differences + 0.5, MANY, 0.05) == 1.0


def outcomes(rng: np.random.Generator, rates: tuple[float, float], seeds: int) -> np.ndarray:
    """Differences of two variants whose seeds vary by .07, over 32 episodes a seed."""
    varied = np.clip(np.asarray(rates)[:, None] + rng.normal(0, 0.07, (2, seeds)), 0, 1)
    first, second = rng.binomial(32, varied) / 32
    return second - first


def test_looking_after_each_of_32_seeds_keeps_the_error_rate():
    rng = np.random.default_rng(3)
    decided = [anytime_p_value(outcomes(rng, (0.6, 0.6), 32), 32) < 0.05 for _ in range(600)]
    assert sum(decided) <= 30  # 5 %


def test_looking_after_each_of_32_seeds_keeps_the_error_rate_of_equivalence():
    rng = np.random.default_rng(4)
    decided = [
        anytime_equivalence_p(outcomes(rng, (0.5, 0.6), 32), 32, margin=0.1) < 0.05
        for _ in range(600)
    ]
    assert sum(decided) <= 30  # 5 %


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: e_values([0.1, 1.5], 32), r"\[-1, 1\]"),
        (lambda: e_values([0.1, math.nan], 32), r"\[-1, 1\]"),
        (lambda: e_values(np.zeros((2, 2)), 32), r"\(S,\)"),
        (lambda: anytime_p_value([0.1], 0), "episodes"),
        (lambda: anytime_equivalence_p([0.1], 32, margin=5), "margin"),
        (lambda: confidence_sequence([0.1], 32, confidence=95), "confidence"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
