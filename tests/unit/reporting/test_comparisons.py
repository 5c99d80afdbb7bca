"""Comparisons and their words: what is shown, and what is not claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synthetic_runs import LARGE, SMALL, outcomes, write_run

from s2robot.reporting.comparisons import (
    Comparison,
    Conclusion,
    classify,
    compare_groups,
    conclusions,
    p_text,
    sentence,
    signed,
)
from s2robot.reporting.run_results import ComparisonGroup, group_runs, load_runs

ONCE = "success_once"


def only_group(root: Path) -> ComparisonGroup:
    (group,) = group_runs(load_runs(root))
    return group


def compare(root: Path) -> list[Comparison]:
    (pairs,) = compare_groups([only_group(root)], ONCE)
    return pairs


def answer_to(root: Path, word: str) -> Conclusion:
    found = conclusions(only_group(root), compare(root), ONCE)
    return next(answer for answer in found if word in answer.question)


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
    words = sentence(pair, ONCE)
    assert words.startswith(f"{SMALL} (1, 2) beats {SMALL} (1) by ")
    assert "3 training seeds × 64 conditions" in words
    answer = answer_to(tmp_path, "more scales")
    assert (answer.short, answer.tone) == (f"{SMALL} (1, 2) is better", "yes")


@pytest.mark.parametrize(
    "other",
    [{"geometry": "full"}, {"taps": [5]}, {"resize_output_to_idx": -1}, {"merge": "sum"}],
)
def test_more_scales_and_another_view_are_not_taken_for_more_scales(tmp_path, other):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.9, 10), SMALL, (1, 2), **other)
    assert [pair.kind for pair in compare(tmp_path)] == ["several"]


def test_a_loss_is_told_in_favour_of_the_winner(tmp_path):
    two_scale_sets(tmp_path, 0.9, 0.5)
    (pair,) = compare(tmp_path)
    assert pair.difference.high < 0 < pair.gain[1]
    assert sentence(pair, ONCE).startswith(f"{SMALL} (1) beats {SMALL} (1, 2) by ")
    assert answer_to(tmp_path, "more scales").tone == "no"


def test_a_small_difference_is_not_claimed_and_its_price_is_told(tmp_path):
    two_scale_sets(tmp_path, 0.68, 0.78)
    (pair,) = compare(tmp_path)
    assert not pair.distinguishable
    words = sentence(pair, ONCE)
    assert "Not distinguishable at this n" in words
    assert "more conditions per arm" in words
    answer = answer_to(tmp_path, "more scales")
    assert (answer.short, answer.tone) == ("No difference shown", "open")


def test_seeds_that_disagree_are_not_overruled_by_many_episodes(tmp_path):
    """McNemar over pooled episodes is significant; the interval over seeds is not."""
    for seed, rate in enumerate((0.95, 0.45, 0.95)):
        write_run(tmp_path, outcomes(0.6, seed), seed=seed)
        write_run(tmp_path, outcomes(rate, 10 + seed), SMALL, (1, 2), seed=seed)
    (pair,) = compare(tmp_path)
    assert pair.adjusted_p < 0.05
    assert not pair.distinguishable
    assert "More training seeds" in sentence(pair, ONCE)


def test_one_seed_is_said_to_be_one(tmp_path):
    two_scale_sets(tmp_path, 0.3, 0.95, seeds=1)
    (pair,) = compare(tmp_path)
    assert "one training seed this holds for these two policies" in sentence(pair, ONCE)


def test_near_the_ceiling_the_level_is_blamed(tmp_path):
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


def test_only_finished_cells_of_common_seeds_are_compared(tmp_path):
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
def test_every_pair_belongs_to_the_question_it_answers(tmp_path, first, second, kind):
    for backbone, scales, *rest in (first, second):
        options = dict(zip(("input_mode", "readout"), rest, strict=False))
        write_run(tmp_path, outcomes(0.5, 0), backbone, scales, **options)
    variants = only_group(tmp_path).encoders
    assert classify(*variants) == classify(*variants[::-1]) == kind


def test_what_was_not_asked_is_said(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.6, seeds=1)
    answer = answer_to(tmp_path, "larger encoder help")
    assert answer.short == "Not asked"
    assert "encoder size alone" in answer.sentences[0]


def test_a_mixed_answer_is_counted(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.3, seed), seed=seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
        write_run(tmp_path, outcomes(0.9, 20 + seed), SMALL, (1, 2, 3), seed=seed)
    answer = answer_to(tmp_path, "more scales")
    assert answer.short == "More scales: better in 2 of 3 comparisons, undecided in the others"
    assert answer.tone == "open"


def test_identical_outcomes_ask_for_nothing(tmp_path):
    same = np.arange(64) % 2 == 0
    write_run(tmp_path, same)
    write_run(tmp_path, same, SMALL, (1, 2))
    (pair,) = compare(tmp_path)
    assert pair.more_conditions is None
    assert "±0.0 points" in sentence(pair, ONCE)


def test_numbers_in_words():
    assert [signed(x) for x in (3.14, -3.14, 0.01)] == ["+3.1", "−3.1", "±0.0"]
    assert [p_text(x) for x in (0.00002, 0.0424, 1.0)] == ["p < 0.001", "p = 0.042", "p = 1"]
