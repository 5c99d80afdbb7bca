"""Sentences follow the verdicts and claim no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synthetic_runs import LARGE, OTHER, SMALL, outcomes, write_run

from s2robot.reporting.comparisons import Comparison, compare_groups
from s2robot.reporting.conclusions import (
    Conclusion,
    conclusions,
    p_text,
    sentence,
    signed,
    statement,
)
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import ComparisonGroup, group_runs

ONCE = "success_once"


def compared(root: Path) -> tuple[ComparisonGroup, list[Comparison]]:
    (group,) = group_runs(load_runs(root))
    (pairs,) = compare_groups([group], ONCE)
    return group, pairs


def only_sentence(root: Path) -> str:
    (pair,) = compared(root)[1]
    return sentence(pair, ONCE)


def conclusion_about(root: Path, topic: str) -> Conclusion:
    found = conclusions(*compared(root), ONCE)
    return next(conclusion for conclusion in found if topic in conclusion.question)


def two_scale_sets(root: Path, one: float, two: float, seeds: int = 4, n: int = 64) -> None:
    for seed in range(seeds):
        write_run(root, outcomes(one, seed, n), seed=seed)
        write_run(root, outcomes(two, 10 + seed, n), SMALL, (1, 2), seed=seed)


def test_a_shown_difference_has_its_size_interval_seeds_and_states(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.9)
    text = only_sentence(tmp_path)
    assert text.startswith(f"{SMALL} (1, 2) is better than {SMALL} (1): +")
    assert "95 % interval +" in text
    assert "4 training seeds, 64 initial states; p" in text
    conclusion = conclusion_about(tmp_path, "more scales")
    assert (conclusion.short, conclusion.tone) == (f"{SMALL} (1, 2) is better", "yes")


def test_a_loss_is_worded_as_the_table_has_it(tmp_path):
    two_scale_sets(tmp_path, 0.9, 0.5)
    assert only_sentence(tmp_path).startswith(f"{SMALL} (1, 2) is worse than {SMALL} (1): −")
    conclusion = conclusion_about(tmp_path, "more scales")
    assert (conclusion.short, conclusion.tone) == (f"{SMALL} (1, 2) is worse", "no")


def test_equivalence_names_the_margin(tmp_path):
    two_scale_sets(tmp_path, 0.97, 0.97, seeds=6, n=400)
    text = only_sentence(tmp_path)
    assert "are equivalent: no more than 5 points apart" in text
    assert "for equivalence" in text
    conclusion = conclusion_about(tmp_path, "more scales")
    assert conclusion.short == "Equivalent: no more than 5 points apart"


def test_a_shown_difference_within_the_margin_is_called_small(tmp_path):
    states = np.arange(2000)
    for seed in range(6):
        write_run(tmp_path, states % 100 < 96, seed=seed)
        write_run(tmp_path, states % 100 < 98, SMALL, (1, 2), seed=seed)
    text = only_sentence(tmp_path)
    assert "is better than" in text
    assert text.endswith("They are no more than 5 points apart.")


def test_a_small_difference_is_not_claimed_and_the_seeds_it_takes_are_named(tmp_path):
    for seed, rate in enumerate((0.5, 0.6, 0.7, 0.55)):
        write_run(tmp_path, outcomes(rate, seed), seed=seed)
        write_run(tmp_path, outcomes(rate + 0.08, 10 + seed), SMALL, (1, 2), seed=seed)
    text = only_sentence(tmp_path)
    assert "No difference is shown" in text
    assert "more training seeds of each variant on 64 initial states would show" in text
    assert "with 80 % power; no number of initial states alone would" in text
    assert "The present sample shows differences from" in text
    assert "is better" not in text
    conclusion = conclusion_about(tmp_path, "more scales")
    assert (conclusion.short, conclusion.tone) == ("No difference shown", "open")


def test_one_training_seed_is_never_better(tmp_path):
    two_scale_sets(tmp_path, 0.1, 0.95, seeds=1)
    text = only_sentence(tmp_path)
    assert "is better" not in text
    assert "A verdict takes 3 training seeds of each variant; from one, nothing is known" in text
    assert "more training seeds of each" not in text  # no variance was measured


def test_two_training_seeds_are_too_few(tmp_path):
    two_scale_sets(tmp_path, 0.1, 0.95, seeds=2)
    assert "A verdict takes 3 training seeds of each variant." in only_sentence(tmp_path)


def test_unequal_seeds_and_unshared_states_are_named_in_the_order_of_the_sentence(tmp_path):
    for seed in range(4):
        write_run(tmp_path, outcomes(0.3, seed, 96), seed=seed)
    for seed in range(3):
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
    text = only_sentence(tmp_path)
    assert "3 and 4 training seeds, 64 initial states that both have, of 64 and 96" in text


def test_near_the_ceiling_a_harder_level_is_advised(tmp_path):
    two_scale_sets(tmp_path, 0.98, 0.99)
    assert "near the ceiling" in only_sentence(tmp_path)


def test_what_differs_is_said_where_no_question_names_it(tmp_path):
    for backbone in (SMALL, OTHER):
        write_run(tmp_path, outcomes(0.5, 0), backbone)
    (pair,) = compared(tmp_path)[1]
    assert statement(pair, ONCE).endswith(f"What differs: backbone {SMALL} against {OTHER}.")


def test_a_question_without_comparisons_is_not_tested(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.6, seeds=1)
    conclusion = conclusion_about(tmp_path, "larger encoder help")
    assert conclusion.short == "Not tested"
    assert "of one family" in conclusion.sentences[0]


def test_mixed_comparisons_are_counted(tmp_path):
    for seed in range(4):
        write_run(tmp_path, outcomes(0.3, seed), seed=seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
        write_run(tmp_path, outcomes(0.9, 20 + seed), SMALL, (1, 2, 3), seed=seed)
    conclusion = conclusion_about(tmp_path, "more scales")
    assert conclusion.short == "More scales: better in 2 of 3 comparisons, not shown in the others"
    assert conclusion.tone == "open"


def test_equal_outcomes_need_no_more_seeds(tmp_path):
    same = np.arange(64) % 2 == 0
    for seed in range(3):
        for backbone in (SMALL, LARGE):
            write_run(tmp_path, same, backbone, seed=seed)
    text = only_sentence(tmp_path)
    assert "±0.0 points" in text
    assert "more training seeds" not in text


def test_numbers_as_text():
    assert [signed(x) for x in (3.14, -3.14, 0.01)] == ["+3.1", "−3.1", "±0.0"]
    assert [p_text(x) for x in (0.00002, 0.0424, 1.0)] == ["p < 0.001", "p = 0.042", "p = 1"]


@pytest.mark.parametrize("seeds", [3, 4])
def test_an_adjusted_p_value_is_called_so_only_among_several(tmp_path, seeds):
    two_scale_sets(tmp_path, 0.2, 0.9, seeds)
    assert "adjusted" not in only_sentence(tmp_path)
    for seed in range(seeds):
        write_run(tmp_path, outcomes(0.9, 20 + seed), SMALL, (1, 2, 3), seed=seed)
    assert all("adjusted p" in sentence(pair, ONCE) for pair in compared(tmp_path)[1])
