"""Markdown tables: one row a comparison, labels that break nothing."""

from __future__ import annotations

from support.synthetic_runs import SMALL, change_run, outcomes, write_run

from s2robot.reporting.html_report import report_answers
from s2robot.reporting.markdown import markdown
from s2robot.reporting.report import make_report


def test_a_table_has_a_row_and_a_sentence_for_each_comparison(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), seed=seed)
        folder = write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
        change_run(folder, label="two | scales\n<img src=x> @someone")
    change_run(write_run(tmp_path, outcomes(0.2, 9), seed=9), format=1)
    report = make_report(tmp_path)
    text = markdown(report.families, report.problems, report.metric)
    lines = text.splitlines()
    assert lines[0] == "#### precise, mlp, success\\_once"
    rows = [line for line in lines if line.startswith("| two")]
    assert len(rows) == 1
    assert rows[0].endswith("| 3 and 3 | 64 | **better** |")
    assert rows[0].startswith(r"| two \| scales \<img src=x\> \@someone against mvp-vits-hoi (1) |")
    assert sum("is better than" in line for line in lines) == 1
    assert "#### Left out, noticed" in lines
    assert any("format 1" in line for line in lines)


def test_an_answer_that_groups_give_in_the_same_words_has_one_line(tmp_path):
    for digest in ("a", "b"):
        write_run(tmp_path, outcomes(0.5, 0), settings={"demonstrations": {"digest": digest}})
    report = make_report(tmp_path)
    found = report_answers(report)
    assert len(found) == 2
    text = markdown(report.families, report.problems, report.metric, report.groups, found)
    assert text.count("- **not shown** for") == 1
