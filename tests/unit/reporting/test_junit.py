"""JUnit XML: cases, failures, errors, characters that XML does not have."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.synthetic_runs import SMALL, change_run, outcomes, write_run

from s2robot.reporting.junit import junit
from s2robot.reporting.report import Report, make_report
from s2robot.reporting.run_files import Problem


@pytest.fixture
def report(tmp_path: Path) -> Report:
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), seed=seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
        folder = write_run(tmp_path, outcomes(0.2, 20 + seed), SMALL, (1, 2, 3), seed=seed)
        change_run(folder, label="a <b> & \x00\x1b \ud800 c")
    change_run(write_run(tmp_path, outcomes(0.2, 9), seed=9), format=1)
    return make_report(tmp_path)


def parsed(report: Report, *fail_on: str) -> ElementTree.Element:
    text = junit(report.families, report.problems, report.metric, fail_on)
    return ElementTree.fromstring(text.encode())


def test_each_comparison_is_a_case_and_chosen_verdicts_fail(report):
    root = parsed(report, "worse")
    suite, runs = root
    verdicts = [pair.verdict for pair in report.comparisons[0]]
    assert sorted(verdicts) == ["better", "not shown", "worse"]
    failures = list(root.iter("failure"))
    assert [failure.get("type") for failure in failures] == ["worse"]
    assert "is worse than" in failures[0].get("message", "")
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0"}
    assert (runs.get("tests"), runs.get("errors")) == ("1", "1")
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "1")
    assert len(list(parsed(report).iter("failure"))) == 0
    assert len(list(parsed(report, "worse", "better", "not shown").iter("failure"))) == 3


def test_a_run_that_was_left_out_is_an_error_and_what_was_noticed_is_output(report):
    _, runs = parsed(report)
    (case,) = runs.iter("testcase")
    assert "format 1" in case[0].get("message", "")
    output = runs.findtext("system-out") or ""
    assert "noticed: " in output
    assert "cannot be written" in output


def test_any_text_is_safe_in_xml(tmp_path):
    change_run(write_run(tmp_path / "a\x1b\x01", outcomes(0.5, 0)), format=1)
    write_run(tmp_path / "b", outcomes(0.5, 0))
    problems = [*make_report(tmp_path).problems, Problem("\ufffe", "\x00 ]]> <")]
    root = ElementTree.fromstring(junit([], problems, "success_once", ()).encode())
    assert [error.text for error in root.iter("error")][1] == "? ]]> <"


def test_labels_are_safe_in_xml(report):
    names = [case.get("name", "") for case in parsed(report).iter("testcase")]
    assert any("a <b> & ?? ? c" in name for name in names)
