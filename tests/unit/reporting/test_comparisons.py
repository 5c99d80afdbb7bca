"""Paired comparisons and the conclusions drawn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synthetic_runs import LARGE, SMALL, outcomes, write_run

from s2robot.reporting.comparisons import (
    Comparison,
    classify,
    compare_groups,
)
from s2robot.reporting.conclusions import Conclusion, conclusions, p_text, sentence, signed
from s2robot.reporting.run_results import ComparisonGroup, group_runs, load_runs

ONCE = "success_once"


def only_group(root: Path) -> ComparisonGroup:
    (group,) = group_runs(load_runs(root))
    return group


def compare(root: Path) -> list[Comparison]:
    (pairs,) = compare_groups([only_group(root)], ONCE)
    return pairs


def conclusion_about(root: Path, topic: str) -> Conclusion:
    found = conclusions(only_group(root), compare(root), ONCE)
    return next(conclusion for conclusion in found if topic in conclusion.question)


def two_scale_sets(root: Path, one: float, two: float, seeds: int = 3) -> None:
    for seed in range(seeds):
        write_run(root, outcomes(one, seed), seed=seed)
        write_run(root, outcomes(two, 10 + seed), SMALL, (1, 2), seed=seed)


def test_a_large_difference_is_shown_with_its_size_and_interval(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.9)
    (pair,) = compare(tmp_path)
    assert pair.kind == "scales"
    assert pair.second.scales == (1, 2)
    assert pair.distinguishable
    assert pair.pooled.only_second > pair.pooled.only_first
    assert sum(test.only_second for test in pair.per_seed) == pair.pooled.only_second
    text = sentence(pair, ONCE)
    assert text.startswith(f"{SMALL} (1, 2) beats {SMALL} (1) by ")
    assert "3 training seeds × 64 initial states" in text
    conclusion = conclusion_about(tmp_path, "more scales")
    assert (conclusion.short, conclusion.tone) == (f"{SMALL} (1, 2) is better", "yes")


@pytest.mark.parametrize(
    "other",
    [{"geometry": "full"}, {"taps": [5]}, {"resize_output_to_idx": -1}, {"merge": "sum"}],
)
def test_more_scales_with_another_view_are_not_a_comparison_of_scales(tmp_path, other):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.9, 10), SMALL, (1, 2), **other)
    assert [pair.kind for pair in compare(tmp_path)] == ["several"]


def test_a_loss_is_reported_in_favor_of_the_better_variant(tmp_path):
    two_scale_sets(tmp_path, 0.9, 0.5)
    (pair,) = compare(tmp_path)
    assert pair.difference.high < 0 < pair.gain[1]
    assert sentence(pair, ONCE).startswith(f"{SMALL} (1) beats {SMALL} (1, 2) by ")
    assert conclusion_about(tmp_path, "more scales").tone == "no"


def test_a_small_difference_is_not_claimed_and_the_sample_size_is_named(tmp_path):
    two_scale_sets(tmp_path, 0.68, 0.78)
    (pair,) = compare(tmp_path)
    assert not pair.distinguishable
    text = sentence(pair, ONCE)
    assert "No significant difference at this sample size" in text
    assert "more initial states per variant are needed" in text
    conclusion = conclusion_about(tmp_path, "more scales")
    assert (conclusion.short, conclusion.tone) == ("No significant difference", "open")


def test_seeds_that_disagree_are_not_overruled_by_many_episodes(tmp_path):
    """McNemar over pooled episodes is significant; the interval over seeds is not."""
    for seed, rate in enumerate((0.95, 0.45, 0.95)):
        write_run(tmp_path, outcomes(0.6, seed), seed=seed)
        write_run(tmp_path, outcomes(rate, 10 + seed), SMALL, (1, 2), seed=seed)
    (pair,) = compare(tmp_path)
    assert pair.adjusted_p < 0.05
    assert not pair.distinguishable
    assert "More training seeds" in sentence(pair, ONCE)


def test_one_training_seed_is_named_as_a_limit(tmp_path):
    two_scale_sets(tmp_path, 0.3, 0.95, seeds=1)
    (pair,) = compare(tmp_path)
    assert "one training seed, this holds for these two policies" in sentence(pair, ONCE)


def test_near_the_ceiling_a_harder_level_is_advised(tmp_path):
    two_scale_sets(tmp_path, 0.98, 0.99)
    (pair,) = compare(tmp_path)
    assert "near the ceiling" in sentence(pair, ONCE)


def test_holm_counts_the_comparisons_of_all_groups(tmp_path):
    for level in ("easy", "precise"):
        for scales in ((1,), (1, 2), (1, 2, 3)):
            write_run(tmp_path, outcomes(0.3 * len(scales), 1), SMALL, scales, level=level)
    groups = group_runs(load_runs(tmp_path))
    pairs = [pair for of_group in compare_groups(groups, ONCE) for pair in of_group]
    assert [pair.family for pair in pairs] == [6] * 6
    smallest = min(pairs, key=lambda pair: pair.pooled.p_value)
    assert smallest.adjusted_p == pytest.approx(min(1, 6 * smallest.pooled.p_value))


def test_only_finished_runs_of_common_seeds_are_compared(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0), seed=0)
    write_run(tmp_path, outcomes(0.5, 1), seed=1)
    write_run(tmp_path, outcomes(0.5, 2), SMALL, (1, 2), seed=1)
    write_run(tmp_path, outcomes(0.5, 3, n=8), SMALL, (1, 2, 3), seed=1, planned=64)
    write_run(tmp_path, outcomes(0.1, 4), "none", seed=1)
    (pair,) = compare(tmp_path)
    assert pair.seeds == (1,)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ((SMALL, (1,)), (SMALL, (1, 2)), "scales"),
        ((SMALL, (1,)), (SMALL, (1, 2), "interpolate"), "scales"),
        ((SMALL, (1,)), (LARGE, (1,)), "size"),
        ((SMALL, (1, 2)), (LARGE, (1,)), "size_or_scales"),
        ((SMALL, (1,)), (LARGE, (1, 2)), "several"),
        ((SMALL, (1, 2)), (SMALL, (1, 2), "interpolate"), "input"),
        ((SMALL, (1,)), (SMALL, (1,), "native", "mean"), "readout"),
        ((SMALL, (1,)), ("random/vitt16-128", (1,)), "weights"),
        ((LARGE, (1,)), ("random/vitt16-128", (1,)), "several"),
        ((SMALL, (1,)), (SMALL, (1, 2), "native", "mean"), "several"),
    ],
)
def test_every_pair_belongs_to_the_setting_in_which_it_differs(tmp_path, first, second, kind):
    for backbone, scales, *rest in (first, second):
        options = dict(zip(("input_mode", "readout"), rest, strict=False))
        write_run(tmp_path, outcomes(0.5, 0), backbone, scales, **options)
    variants = only_group(tmp_path).encoders
    assert classify(*variants) == classify(*variants[::-1]) == kind


def test_a_question_without_comparisons_is_not_tested(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.6, seeds=1)
    conclusion = conclusion_about(tmp_path, "larger encoder help")
    assert conclusion.short == "Not tested"
    assert "encoder size alone" in conclusion.sentences[0]


def test_mixed_comparisons_are_counted(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.3, seed), seed=seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
        write_run(tmp_path, outcomes(0.9, 20 + seed), SMALL, (1, 2, 3), seed=seed)
    conclusion = conclusion_about(tmp_path, "more scales")
    assert conclusion.short == "More scales: better in 2 of 3 comparisons, undecided in the others"
    assert conclusion.tone == "open"


def test_identical_outcomes_need_no_more_initial_states(tmp_path):
    same = np.arange(64) % 2 == 0
    write_run(tmp_path, same)
    write_run(tmp_path, same, SMALL, (1, 2))
    (pair,) = compare(tmp_path)
    assert pair.more_initial_states is None
    assert "±0.0 points" in sentence(pair, ONCE)


def test_numbers_as_text():
    assert [signed(x) for x in (3.14, -3.14, 0.01)] == ["+3.1", "−3.1", "±0.0"]
    assert [p_text(x) for x in (0.00002, 0.0424, 1.0)] == ["p < 0.001", "p = 0.042", "p = 1"]
