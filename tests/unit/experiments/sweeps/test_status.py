"""What runs of a folder do, from files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s2robot.experiments.heartbeats import sign_of_life
from s2robot.experiments.run_progress import SweepProgress, planned_run, run_names
from s2robot.experiments.sweeps.status import folder_status
from s2robot.utils.io import write_json


def settings(seed: int) -> dict[str, Any]:
    return {"encoder": "r3m", "seed": seed, "n": 8, "eval_levels": []}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepProgress:
    configs = [settings(seed) for seed in range(4)]
    runs = [planned_run(*each) for each in zip(configs, run_names(configs), strict=True)]
    return SweepProgress.begin(tmp_path, runs, in_turn=False, together=False)


def finish(sweep: SweepProgress, seed: int, **counts: dict[str, int]) -> None:
    with sweep.run(settings(seed)) as times:
        folder = sweep.runs_dir / "cells" / str(seed)
        write_json(folder / "summary.json", {"success_once": {"estimate": 0.625}})
        (folder / "episodes.jsonl").write_text("{}\n" * 8)
        times.folder, times.episodes, times.rollout_s = str(folder), 8, 40.0
        for name, value in counts.items():
            setattr(times, name, value)


def test_each_run_of_a_sweep_has_a_state(tmp_path: Path, sweep: SweepProgress) -> None:
    finish(sweep, 0)
    write_json(tmp_path / "failed" / planned_run(settings(1)).digest / "error.json", {"error": "E"})
    (tmp_path / "cells" / "2").mkdir()
    (tmp_path / "cells" / "2" / "episodes.jsonl").write_text("{}\n" * 3)
    with sweep.run(settings(2)) as times:
        times.enter("rolling out", tmp_path / "cells" / "2")
        status = folder_status(tmp_path)
    found = {run.name: (run.state, run.episodes, run.wanted) for run in status.runs}
    assert found == {
        "encoder=r3m seed=0": ("done", 8, 8),
        "encoder=r3m seed=1": ("failed", 0, 8),
        "encoder=r3m seed=2": ("running", 3, 8),
        "encoder=r3m seed=3": ("waiting", 0, 8),
    }
    details = [run.detail for run in status.runs]
    assert details[:2] == ["success 62.5 %", "E"]
    assert details[2].startswith("rolling out on ")
    assert details[2].endswith(" left")
    assert not status.over


def test_a_killed_run_is_lost_until_it_is_repeated(tmp_path: Path, sweep: SweepProgress) -> None:
    with sign_of_life(tmp_path / "progress", planned_run(settings(0)).digest, "a run"):
        [path] = (tmp_path / "progress" / "running").glob("*.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": 2**22 - 1}))
        status = folder_status(tmp_path)
    assert status.counts == {"lost": 1, "waiting": 3}
    assert "repeat the command" in status.runs[0].detail
    assert status.over
    finish(sweep, 0)
    assert folder_status(tmp_path).counts == {"waiting": 3, "done": 1}


def test_two_sweeps_at_once_are_both_shown(tmp_path: Path, sweep: SweepProgress) -> None:
    with sweep.run(settings(0)):
        other = SweepProgress.begin(tmp_path, [planned_run(settings(9))], True, True)
        status = folder_status(tmp_path)
        assert len(status.runs) == 5
        assert [line for line in status.lines if line.startswith("sweep: ")] == [
            "sweep: 0 of 1 runs finished, time left not known yet",
            "sweep: 0 of 4 runs finished, time left not known yet",
        ]
    assert len(folder_status(tmp_path).runs) == 1  # of the latest
    assert other.planned.keys() != sweep.planned.keys()


def test_failures_of_a_sweep_that_goes_on_are_kept(tmp_path: Path, sweep: SweepProgress) -> None:
    record = tmp_path / "failed" / planned_run(settings(1)).digest / "error.json"
    write_json(record, {"error": "E"})
    with sweep.run(settings(0)):
        SweepProgress.forget_failures(tmp_path)
        assert record.exists()
    SweepProgress.forget_failures(tmp_path)
    assert not record.exists()


def test_a_sweep_counts_what_was_encoded(tmp_path: Path, sweep: SweepProgress) -> None:
    finish(sweep, 0, encoded={"1": 54})
    finish(sweep, 1, encoded={"2": 54}, reused={"1": 54})
    finish(sweep, 2, reused={"1": 54, "2": 54})
    assert folder_status(tmp_path).lines[1] == (
        "features of demonstrations, by encoder and scale: encoded 2 × 54 frames, reused 3 times"
    )


def test_a_sequential_sweep_shows_rounds_and_evidence(tmp_path: Path) -> None:
    pair = {"first": 0, "second": 1, "difference": 0.25, "seeds": [0, 1], "adjusted_p": 0.031}
    record = {
        "variants": [
            {"label": "r3m (1)", "rates": {"0": 0.5}},
            {"label": "r3m (1,2)", "rates": {}},
        ],
        "pairs": [{**pair, "verdict": "better"}],
        "episodes": {"fixed_design_seeds": 32},
    }
    write_json(tmp_path / "sequential.json", record)
    with sign_of_life(tmp_path / "progress", "ab", "r3m (1), seed 1"):
        status = folder_status(tmp_path)
    assert [run.name for run in status.runs] == ["r3m (1), seed 1"]
    assert status.lines == [
        "sequential sweep: 1 of at most 32 seeds",
        "  r3m (1,2) against r3m (1): +25.0 points, 2 seeds, p 0.031 (any time, Holm): better",
    ]
