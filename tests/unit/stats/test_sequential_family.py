"""Several pairs under one sequential test: errors, directions, what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from s2robot.stats.sequential_family import SequentialFamily

SEED_SD = 0.07
EPISODES = 32


def play(truth: list[float], seeds: int, rng: np.random.Generator) -> SequentialFamily:
    """Run all seeds with normal differences that have the demo's variances."""
    family = SequentialFamily(len(truth), EPISODES)
    spread = np.sqrt(2 * (SEED_SD**2 + 0.22 / EPISODES))
    for seed in range(seeds):
        drawn = rng.normal(truth, spread).clip(-1, 1)
        family.add(seed, {number: drawn[number] for number in family.undecided})
        if not family.undecided:
            break
    return family


def test_equal_variants_are_rarely_called_different_however_often_one_looks():
    rng = np.random.default_rng(0)
    families = [play([0.0, 0.0, 0.0], 32, rng) for _ in range(100)]
    wrong = sum(any(pair.verdict in ("better", "worse") for pair in f.pairs) for f in families)
    assert wrong <= 5  # 5 % of 100


@pytest.mark.parametrize("difference, verdict", [(0.97, "better"), (-0.97, "worse")])
@pytest.mark.parametrize("pairs, seeds", [(1, 3), (2, 4)])
def test_large_differences_are_decided_in_the_fewest_seeds(pairs, seeds, difference, verdict):
    family = SequentialFamily(pairs, EPISODES)
    for seed in range(seeds):
        assert len(family.undecided) == pairs
        family.add(seed, {number: difference for number in range(pairs)})
    assert [pair.verdict for pair in family.pairs] == [verdict] * pairs
    assert family.undecided == []


def test_two_seeds_decide_nothing():
    family = SequentialFamily(1, 1_000_000)
    for seed in range(2):
        family.add(seed, {0: 1.0})
        assert family.pairs[0].verdict == "not shown"


def test_small_differences_become_equivalent():
    rng = np.random.default_rng(1)
    family = SequentialFamily(1, 400, margin=0.1)
    for seed in range(40):
        family.add(seed, {0: rng.normal(0, 0.03)})
    assert family.pairs[0].verdict == "equivalent"
    assert len(family.pairs[0].seeds) < 40


def test_a_decided_pair_keeps_its_evidence():
    family = SequentialFamily(2, EPISODES)
    for seed in range(4):
        family.add(seed, {0: 0.9 + 0.01 * seed, 1: 0.01 * (-1) ** seed})
    decided = family.pairs[0]
    assert decided.decided
    family.add(4, {0: -1.0, 1: 0.0})
    assert family.pairs[0].differences == decided.differences
    assert family.pairs[0].verdict == "better"
    assert len(family.pairs[1].seeds) == 5


def test_all_planned_pairs_are_corrected_for():
    alone, among = SequentialFamily(1, EPISODES), SequentialFamily(5, EPISODES)
    for seed, difference in enumerate([0.5, 0.6, 0.55, 0.5]):
        alone.add(seed, {0: difference})
        among.add(seed, {0: difference})
    assert among.pairs[0].adjusted_p == pytest.approx(5 * among.pairs[0].p_value)
    assert alone.pairs[0].adjusted_p == alone.pairs[0].p_value


def test_the_interval_is_that_of_the_seeds_until_the_decision():
    family = SequentialFamily(1, EPISODES)
    for seed in range(3):
        family.add(seed, {0: 0.9 + 0.02 * seed})
    interval = family.interval(0)
    assert interval.low > 0
    assert interval.estimate == pytest.approx(0.92)


@pytest.mark.parametrize("name", ["alpha", "margin"])
def test_levels_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=name):
        SequentialFamily(1, EPISODES, **{name: 0.0})
