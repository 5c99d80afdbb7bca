"""``s2robot progress``: its exit status, and folders without a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s2robot.cli.main import main
from s2robot.cli.sweeps import progress
from s2robot.experiments.run_progress import SweepProgress, planned_run
from s2robot.utils.io import write_json

RUN: dict[str, Any] = {"encoder": "r3m", "seed": 0, "n": 8, "eval_levels": []}


def test_a_sweep_that_has_not_failed_gives_status_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    SweepProgress.begin(tmp_path, [planned_run(RUN, "encoder=r3m seed=0")], True, True)
    assert main(["progress", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "encoder=r3m seed=0" in printed
    assert printed.endswith("runs: 1 waiting\n")


def test_a_failed_run_gives_status_one(tmp_path: Path) -> None:
    SweepProgress.begin(tmp_path, [planned_run(RUN)], True, True)
    write_json(tmp_path / "failed" / planned_run(RUN).digest / "error.json", {"error": "E"})
    assert main(["progress", str(tmp_path)]) == 1


def test_watching_ends_with_the_last_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    sweep = SweepProgress.begin(tmp_path, [planned_run(RUN)], False, False)
    going_on = sweep.run(RUN)
    going_on.__enter__()
    monkeypatch.setattr(progress.time, "sleep", lambda _: going_on.__exit__(None, None, None))
    assert main(["progress", str(tmp_path), "--watch"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("runs: 1 running") < printed.index("runs: 1 waiting")


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_folder_without_a_sweep_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    assert main(["progress", str(tmp_path / name)]) == 2
    assert "runs_dir" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "lift.hdf5").write_bytes(b"")
    assert main(["progress", str(tmp_path / "lift.hdf5")]) == 2
    assert "lift.hdf5 is a file; give the folder" in " ".join(capsys.readouterr().err.split())
