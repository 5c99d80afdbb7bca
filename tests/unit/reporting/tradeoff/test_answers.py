"""The one-line answer follows from verdicts, and from nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from support.synthetic_runs import LARGE, OTHER, RANDOM, SMALL, outcomes, write_run

from s2robot.reporting.report import Report, make_report
from s2robot.reporting.tradeoff.answers import answers

RATES = {
    "a larger encoder": {(SMALL, (1,)): 0.2, (SMALL, (1, 2)): 0.2, (LARGE, (1,)): 0.9},
    "more scales": {(SMALL, (1,)): 0.2, (SMALL, (1, 2)): 0.9, (LARGE, (1,)): 0.2},
    "both": {(SMALL, (1,)): 0.1, (SMALL, (1, 2)): 0.8, (LARGE, (1,)): 0.8},
    "nothing": {(SMALL, (1,)): 0.4, (SMALL, (1, 2)): 0.46, (LARGE, (1,)): 0.45},
}


def report_of(folder, rates, seeds=4) -> Report:
    for (backbone, scales), rate in rates.items():
        for seed in range(seeds):
            write_run(folder, outcomes(rate, seed), backbone, scales, seed=seed)
    return make_report(folder)


def answer_of(report: Report, number: int = 0):
    return answers(report.groups[0], report.comparisons[0])[number]


@pytest.mark.parametrize(
    ("helps", "word", "text"),
    [
        ("a larger encoder", "larger", "of 1 direct comparison, the larger encoder wins 1."),
        ("more scales", "more scales", "of 1 direct comparison, more scales win 1."),
        ("both", "either", "A larger encoder helps in 1 of 1 comparison; a further scale helps"),
        ("nothing", "not shown", "A larger encoder is not shown to help (1 comparison)"),
    ],
)
def test_the_word_says_which_of_the_two_is_shown_to_help(tmp_path, helps, word, text):
    answer = answer_of(report_of(tmp_path, RATES[helps]))
    assert (answer.family, answer.word) == ("mvp", word)
    assert text in answer.text


def test_a_larger_encoder_that_was_not_tested_is_named_so(tmp_path):
    rates = {(SMALL, (1,)): 0.2, (SMALL, (1, 2)): 0.9}
    answer = answer_of(report_of(tmp_path, rates))
    assert answer.word == "more scales"
    assert answer.text == (
        "A larger encoder was not tested; a further scale helps in 1 of 1 comparison."
    )


def test_equal_rates_that_are_shown_equivalent_make_either(tmp_path):
    answer = answer_of(report_of(tmp_path, {(SMALL, (1, 2)): 0.5, (LARGE, (1,)): 0.5}))
    assert answer.word == "either"
    assert "both are equivalent in 1 direct comparison" in answer.text


def test_too_few_seeds_show_nothing_however_large_the_difference(tmp_path):
    assert answer_of(report_of(tmp_path, RATES["more scales"], seeds=2)).word == "not shown"


def test_scales_that_hurt_are_not_an_answer_for_more_scales(tmp_path):
    rates = {(SMALL, (1,)): 0.9, (SMALL, (1, 2)): 0.2}
    answer = answer_of(report_of(tmp_path, rates))
    assert answer.word == "not shown"
    assert "a further scale hurts in 1 of 1 comparison" in answer.text


def test_direct_comparisons_that_disagree_make_either(tmp_path):
    rates = {(SMALL, (1, 2)): 0.1, (LARGE, (1,)): 0.5, (SMALL, (1, 2, 3)): 0.95}
    answer = answer_of(report_of(tmp_path, rates))
    assert answer.word == "either"
    assert "the larger encoder wins 1 and more scales win 1" in answer.text


def test_families_are_answered_apart_and_random_weights_not_at_all(tmp_path):
    rates = {**RATES["more scales"], (OTHER, (1,)): 0.9, (RANDOM, (1,)): 0.1, (RANDOM, (1, 2)): 0.9}
    report = report_of(tmp_path, rates)
    found = answers(report.groups[0], report.comparisons[0])
    assert [answer.family for answer in found] == ["mvp", "r3m"]
    assert found[1].text == "A larger encoder was not tested; a further scale was not tested."


def test_a_control_of_equal_width_is_told_with_the_answer(tmp_path):
    report_of(tmp_path, {(SMALL, (1,)): 0.2, (SMALL, (1, 2)): 0.9})
    for seed in range(4):
        write_run(tmp_path, outcomes(0.2, seed), SMALL, (1,), seed=seed, copies=2)
    answer = answer_of(make_report(tmp_path))
    assert answer.word == "more scales"
    assert "against as many channels of one scale, it helps in 1 of 1 comparison" in answer.text


def test_the_words_agree_with_the_sign_of_the_difference(tmp_path):
    report = report_of(tmp_path, RATES["more scales"])
    (pair,) = [p for p in report.comparisons[0] if p.kind == "size_or_scales"]
    assert (pair.second.backbone, pair.first.backbone) == (LARGE, SMALL)
    assert pair.difference.estimate < 0  # larger minus more scales
    flipped = dataclasses.replace(pair, first=pair.second, second=pair.first)
    assert flipped.verdict == pair.verdict == "worse"
