"""Reports on runs whose number a sequential test chose: its verdicts are the headline."""

from __future__ import annotations

import json

import pytest
from support.sequential import write_sequential

from s2robot.experiments.sequential_results import SequentialTest
from s2robot.reporting.conclusions import sentence
from s2robot.reporting.html_report import write_report
from s2robot.reporting.junit import junit
from s2robot.reporting.markdown import markdown
from s2robot.reporting.report import make_report

FAR = ({"rate": 0.1}, {"rate": 0.95, "scales": (1, 2)})
NEAR = ({"rate": 0.5}, {"rate": 0.55, "scales": (1, 2)})


def pair_of(report):
    [[pair]] = report.comparisons
    return pair


def sequential_of(pair) -> SequentialTest:
    assert pair.sequential is not None
    return pair.sequential


def test_the_verdict_is_that_of_the_sequential_test(tmp_path):
    write_sequential(tmp_path, FAR, [(0, 1)])
    pair = pair_of(make_report(tmp_path / "cells"))
    assert pair.verdict == "better"
    test = sequential_of(pair)
    assert pair.limits == (test.difference, test.low, test.high)
    text = sentence(pair, "success_once")
    assert "is better than" in text
    assert "95 % interval at any stopping time" in text
    assert (
        "3 training seeds, each on 32 initial states of its own; sequential test, p = 0.0" in text
    )


def test_a_fixed_sample_test_cannot_overrule_an_undecided_sequential_one(tmp_path):
    write_sequential(tmp_path, NEAR, [(0, 1)], max_seeds=4)
    file = tmp_path / "sequential.json"
    before = pair_of(make_report(tmp_path / "cells"))
    assert before.verdict == "not shown"
    text = sentence(before, "success_once")
    assert "No difference is shown. `s2robot decide` with a larger --max-seeds adds seeds" in text
    write_sequential(tmp_path / "far", FAR, [(0, 1)], max_seeds=3, alpha=0.001)
    pair = pair_of(make_report(tmp_path / "far" / "cells"))
    assert pair.adjusted_p < 0.05  # of a fixed sample
    assert pair.verdict == "not shown"
    assert "99.9 % interval" in sentence(pair, "success_once")
    file.unlink()
    assert pair_of(make_report(tmp_path / "cells")).sequential is None


def test_a_pair_that_was_not_planned_gets_no_verdict(tmp_path):
    write_sequential(tmp_path, [*FAR, {"rate": 0.9, "readout": "cls", "scales": (1, 2)}], [(0, 1)])
    [pairs] = make_report(tmp_path / "cells").comparisons
    others = [pair for pair in pairs if not sequential_of(pair).planned]
    assert {pair.verdict for pair in others} == {"not shown"}
    assert "No verdict: a sequential test chose" in sentence(others[0], "success_once")


def test_the_test_that_planned_a_pair_decides_and_not_another_one_of_the_folder(tmp_path):
    third = {"rate": 0.9, "readout": "cls", "scales": (1, 2)}
    write_sequential(tmp_path, [*FAR, third], [(1, 2)])
    (tmp_path / "sequential").mkdir()
    (tmp_path / "sequential.json").rename(tmp_path / "sequential" / "a.json")
    write_sequential(tmp_path, [*FAR, third], [(0, 1)])
    (tmp_path / "sequential.json").rename(tmp_path / "sequential" / "b.json")
    [pairs] = make_report(tmp_path / "cells").comparisons
    planned = {pair.kind: sequential_of(pair).planned for pair in pairs}
    assert planned == {"scales": True, "readout": True, "several": False}
    assert {pair.kind: pair.verdict for pair in pairs}["scales"] == "better"


def test_equivalence_names_the_margin_of_the_sequential_test(tmp_path):
    same = ({"rate": 0.5}, {"rate": 0.5, "scales": (1, 2)})
    write_sequential(tmp_path, same, [(0, 1)], margin=0.2)
    pair = pair_of(make_report(tmp_path / "cells"))
    assert pair.verdict == "equivalent"
    assert "no more than 20 points apart" in sentence(pair, "success_once")


def test_page_and_numbers_have_the_sequential_test(tmp_path):
    sweep = write_sequential(tmp_path, FAR, [(0, 1)])
    paths = write_report(tmp_path / "cells", tmp_path / "report")
    page = paths.html.read_text()
    assert "Sequential test</h2>" in page
    assert "variant 1<br><small>against variant 0" in page
    assert '<a href="#sequential">sequential</a>' in page
    assert "192 episodes, where 8 seeds of each variant would have taken 512" in page
    record = json.loads(paths.json.read_text())
    [pair] = record["groups"][0]["comparisons"]
    assert pair["verdict"] == pair["sequential"]["verdict"] == "better"
    assert pair["sequential"]["e_value"] == max(sweep.family.pairs[0].e_values)
    assert pair["sequential"]["anytime_interval"][0] > 0
    [test] = record["sequential"]
    assert test["pairs"][0]["question"] == "scales"
    assert test["pairs"][0]["anytime_p"] == pair["sequential"]["anytime_p"]


def test_files_for_pull_requests_have_its_verdict(tmp_path):
    write_sequential(tmp_path, FAR, [(0, 1)], max_seeds=3, alpha=0.001)
    report = make_report(tmp_path / "cells")
    assert "**not shown**" in markdown(report.families, report.problems, report.metric)
    text = junit(report.families, report.problems, report.metric, ["not shown"])
    assert 'failures="1"' in text


def test_a_page_without_a_sequential_test_has_no_such_section(tmp_path):
    write_sequential(tmp_path, FAR, [(0, 1)])
    (tmp_path / "sequential.json").unlink()
    page = write_report(tmp_path / "cells", tmp_path / "report").html.read_text()
    assert "Sequential test" not in page


def test_a_damaged_file_is_noticed_and_the_report_is_made(tmp_path):
    write_sequential(tmp_path, FAR, [(0, 1)])
    (tmp_path / "sequential.json").write_text("{")
    report = make_report(tmp_path / "cells")
    assert any("sequential.json" in str(problem) for problem in report.problems)


@pytest.mark.parametrize("metric", ["success_at_end"])
def test_another_metric_gets_no_verdict(tmp_path, metric):
    write_sequential(tmp_path, FAR, [(0, 1)])
    assert pair_of(make_report(tmp_path / "cells", metric)).verdict == "not shown"


def test_a_variant_that_stopped_early_has_no_missing_runs(tmp_path):
    variants = ({"rate": 0.5}, {"rate": 0.55, "scales": (1, 2)}, {"rate": 0.97, "readout": "cls"})
    write_sequential(tmp_path, variants, [(0, 1), (0, 2)])
    report = make_report(tmp_path / "cells")
    assert len({len(variant.runs) for variant in report.groups[0].variants}) > 1
    assert report.missing == ()
    (tmp_path / "sequential.json").unlink()
    assert make_report(tmp_path / "cells").missing != ()
