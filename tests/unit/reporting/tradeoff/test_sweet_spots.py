"""The best variant for each budget, and whether it is told apart from the runner-up."""

from __future__ import annotations

import json

import pytest
from support.synthetic_runs import LARGE, RANDOM, SMALL, outcomes, write_run

from s2robot.reporting.json_report import results
from s2robot.reporting.report import Report, make_report
from s2robot.reporting.tradeoff.sweet_spots import at_deadline, sweet_spots, within

RATES = {(SMALL, (1,)): (0.3, 10.0), (SMALL, (1, 2)): (0.9, 30.0), (LARGE, (1,)): (0.5, 20.0)}


def report_of(folder, rates=RATES) -> Report:
    for (backbone, scales), (rate, ms) in rates.items():
        for seed in range(4):
            run = write_run(folder, outcomes(rate, seed), backbone, scales, seed=seed)
            summary = json.loads((run / "summary.json").read_text())
            summary["latency_ms"]["single_frame"]["total"]["p50"] = ms
            (run / "summary.json").write_text(json.dumps(summary))
    return make_report(folder)


def spots_of(report: Report, cost: str = "ms"):
    return sweet_spots(report.groups[0], report.comparisons[0], report.metric, cost)


def test_a_larger_budget_has_another_best_once_that_fits(tmp_path):
    found = [(s.budget, s.best.label, s.told_apart) for s in spots_of(report_of(tmp_path))]
    assert found == [
        (10.0, f"{SMALL} (1)", False),
        (20.0, f"{LARGE} (1)", found[1][2]),
        (30.0, f"{SMALL} (1, 2)", True),
    ]


def test_the_order_of_budgets_follows_the_cost(tmp_path):
    found = spots_of(report_of(tmp_path), "gflops")
    assert [(round(s.budget, 1), s.best.label) for s in found] == [
        (9.2, f"{SMALL} (1)"), (35.0, f"{LARGE} (1)"), (46.0, f"{SMALL} (1, 2)")
    ]  # fmt: skip


def test_the_verdict_is_on_the_best_whichever_of_a_pair_it_is(tmp_path):
    rates = {(SMALL, (1, 2)): (0.9, 30.0), (LARGE, (1,)): (0.2, 40.0)}
    report = report_of(tmp_path, rates)
    (pair,) = report.comparisons[0]
    assert (pair.second.backbone, pair.verdict) == (LARGE, "worse")
    last = spots_of(report)[-1]
    assert (last.best.backbone, last.verdict) == (SMALL, "better")


def test_equal_rates_give_the_cheaper_one_and_are_not_told_apart(tmp_path):
    rates = {(SMALL, (1,)): (0.5, 10.0), (SMALL, (1, 2)): (0.5, 30.0)}
    (first, last) = spots_of(report_of(tmp_path, rates))
    assert (first.runner_up, first.verdict) == (None, None)
    assert (last.best.label, last.told_apart) == (f"{SMALL} (1)", False)


def test_random_weights_are_no_choice_unless_all_are_random(tmp_path):
    rates = {(SMALL, (1,)): (0.3, 10.0), (RANDOM, (1,)): (0.9, 10.0)}
    assert [s.best.label for s in spots_of(report_of(tmp_path / "a", rates))] == [f"{SMALL} (1)"]
    only = {(RANDOM, (1,)): (0.9, 10.0)}
    assert [s.best.label for s in spots_of(report_of(tmp_path / "b", only))] == [f"{RANDOM} (1)"]


@pytest.mark.parametrize(("budget", "best"), [(9.9, None), (10.0, SMALL), (29.0, LARGE)])
def test_a_budget_has_the_sweet_spot_below_it(tmp_path, budget, best):
    found = within(spots_of(report_of(tmp_path)), budget)
    assert (found and found.best.backbone) == best


def test_a_deadline_that_nothing_meets_names_what_comes_nearest(tmp_path):
    report = report_of(tmp_path)
    found = at_deadline(report.groups[0], spots_of(report), 5.0)
    assert found == {"meets": False, "nearest": f"{SMALL} (1)", "nearest_ms": 10.0}


def test_the_json_file_has_sweet_spots_answers_and_the_deadline(tmp_path):
    content = results(report_of(tmp_path), 25.0)
    (group,) = content["groups"]
    assert content["deadline_ms"] == 25.0
    assert group["within_deadline"]["best"] == f"{LARGE} (1)"
    assert set(group["sweet_spots"]) == {"ms", "gflops"}
    assert group["answers"][0]["family"] == "mvp"
    assert "within_deadline" not in results(report_of(tmp_path / "again"))["groups"][0]
