"""``s2robot report``: files, problems on standard error, outputs for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.synthetic_runs import SMALL, change_run, outcomes, write_run

from s2robot.cli.main import main


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    root = tmp_path / "cells"
    for seed in range(3):
        write_run(root, outcomes(0.9, seed), seed=seed)
        write_run(root, outcomes(0.2, 10 + seed), SMALL, (1, 2), seed=seed)
    change_run(write_run(root, outcomes(0.2, 9), seed=9), format=1)
    return root


def test_files_are_printed_and_problems_are_on_standard_error(cells, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["report", str(cells), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == [str(out / f"report.{kind}") for kind in ("html", "png", "json")]
    assert "left out: " in shown.err
    assert "format 1" in shown.err


@pytest.mark.parametrize(("options", "failures"), [([], 1), (["--fail-on", "better,not-shown"], 0)])
def test_outputs_for_other_tools(cells, tmp_path, options, failures):
    xml, text = tmp_path / "a" / "report.xml", tmp_path / "report.md"
    argv = ["--out", str(tmp_path / "out"), "--junit", str(xml), "--markdown", str(text)]
    assert main(["report", str(cells), *argv, *options]) == 0
    assert ElementTree.parse(xml).getroot().get("failures") == str(failures)
    assert "**worse**" in text.read_text()
    assert text.read_text().startswith("- **not shown** for mvp. A larger encoder was not tested;")


def test_the_metric_is_an_option(cells, tmp_path):
    argv = ["report", str(cells), "--out", str(tmp_path / "out"), "--metric", "success_at_end"]
    assert main(argv) == 0
    assert '"metric": "success_at_end"' in (tmp_path / "out" / "report.json").read_text()


def test_an_unknown_verdict_is_wrong_use(cells, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(cells), "--fail-on", "bad"])
    assert stop.value.code == 2
    assert "'bad' is no verdict; available: better, worse, equivalent, not-shown" in (
        capsys.readouterr().err
    )


def test_without_usable_runs_every_problem_is_named(tmp_path, capsys):
    change_run(write_run(tmp_path, outcomes(0.2, 9)), format=1)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "format 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("flag", "text", "deadline"), [("--hz", "25", 40.0), ("--ms", "12", 12.0)])
def test_the_deadline_is_in_page_and_numbers(cells, tmp_path, flag, text, deadline):
    assert main(["report", str(cells), "--out", str(tmp_path / "out"), flag, text]) == 0
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["deadline_ms"] == deadline
    assert content["groups"][0]["within_deadline"]["meets"] is True
    assert f'"deadline_ms":{deadline}' in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("words", [["--hz", "0"], ["--ms", "-1"], ["--hz", "30", "--ms", "30"]])
def test_a_deadline_that_is_none_is_wrong_use(cells, words):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(cells), *words])
    assert stop.value.code == 2


@pytest.mark.parametrize("command", ["report", "compare", "plan", "decide"])
def test_the_help_of_the_metric_holds_for_tasks_without_a_cube(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "success at any step, or when time is up; of pick-cube, the cube is lifted" in shown


@pytest.mark.parametrize(
    "command", [["report"], ["compare"], ["plan", "--difference", "9", "--runs"]]
)
def test_a_data_file_in_place_of_runs_is_named(tmp_path, capsys, command):
    path = tmp_path / "lift.hdf5"
    path.write_bytes(b"")
    words = ["a", "b"] if command == ["compare"] else []
    assert main([*command, str(path), *words]) in (1, 2)
    assert "lift.hdf5, which is a file" in " ".join(capsys.readouterr().err.split())
