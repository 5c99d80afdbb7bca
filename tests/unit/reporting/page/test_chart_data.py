"""The numbers inside the page: episodes by columns, text that cannot end its element."""

from __future__ import annotations

import json

from support.synthetic_runs import SMALL, change_run, outcomes, write_run

from s2robot.reporting.html_report import write_report
from s2robot.reporting.page.chart_data import page_data, script_text
from s2robot.reporting.report import make_report


def test_every_episode_is_in_the_page_with_its_outcome(tmp_path):
    write_run(tmp_path, outcomes(0.5, 3), SMALL)
    (run,) = page_data(make_report(tmp_path), None)["runs"]
    assert run["count"] == 64
    assert run["columns"]["success_once"] == [int(each) for each in outcomes(0.5, 3)]
    assert run["columns"]["index"] == list(range(64))
    assert run["replay"].startswith("s2robot replay ")


def test_a_column_of_equal_values_is_held_once(tmp_path):
    write_run(tmp_path, [True] * 7, SMALL, first=1)
    (run,) = page_data(make_report(tmp_path), None)["runs"]
    assert run["columns"]["success_once"] == 1
    assert run["columns"]["steps"] is None


def test_differences_in_the_page_are_second_minus_first(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), SMALL, (1,), seed=seed)
        write_run(tmp_path, outcomes(0.9, seed), SMALL, (1, 2), seed=seed)
    data = page_data(make_report(tmp_path), None)
    (pair,) = data["pairs"]
    assert (pair["second"], pair["verdict"]) == (f"{SMALL} (1, 2)", "better")
    assert pair["second_minus_first"] > 50
    rates = {v["label"]: v["rate"] for v in data["variants"]}
    gap = rates[pair["second"]] - rates[pair["first"]]
    assert abs(gap - pair["second_minus_first"]) < 0.02


def test_what_a_label_says_besides_encoder_and_scales_is_kept_apart(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1, 2), input_mode="interpolate")
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1,), copies=2)
    data = page_data(make_report(tmp_path), None)
    assert {(v["scales"], v["input"], v["extra"]) for v in data["variants"]} == {
        ("(1, 2)", "interpolate", ""),
        ("(1)", "native", "copies 2"),
    }


def test_a_label_cannot_end_the_script_that_holds_it(tmp_path):
    change_run(write_run(tmp_path, outcomes(0.5, 0)), label="</script><b>x")
    data = page_data(make_report(tmp_path), None)
    text = script_text(data)
    assert "<" not in text
    assert json.loads(text) == json.loads(json.dumps(data))
    page = write_report(tmp_path, tmp_path / "out").html.read_text(encoding="utf-8")
    assert "</script><b>" not in page
