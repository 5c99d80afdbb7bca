"""Signs of life of runs: who works on what, and who is dead."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from s2robot.experiments import heartbeats as module
from s2robot.experiments.heartbeats import job_number, sign_of_life, signs


def test_a_run_has_a_sign_until_it_ends(tmp_path: Path) -> None:
    with sign_of_life(tmp_path, "ab12", "encoder=r3m seed=0") as enter:
        enter("training", str(tmp_path / "cell"), 3)
        [(sign, lives)] = signs(tmp_path)
        assert lives
        assert (sign.name, sign.stage, sign.episodes_before) == (
            "encoder=r3m seed=0",
            "training",
            3,
        )
        assert (sign.host, sign.pid) == (socket.gethostname(), os.getpid())
    assert signs(tmp_path) == []


def _change(folder: Path, **entries: object) -> Path:
    [path] = (folder / "running").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return path


def test_the_sign_of_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    with sign_of_life(tmp_path, "ab12", "run"):
        _change(tmp_path, pid=2**22 - 1)
        assert [lives for _, lives in signs(tmp_path)] == [False]


def test_the_sign_of_another_machine_is_dead_once_it_is_old(tmp_path: Path) -> None:
    with sign_of_life(tmp_path, "ab12", "run"):
        path = _change(tmp_path, pid=2**22 - 1, host="node7")
        assert [lives for _, lives in signs(tmp_path)] == [True]
        os.utime(path, (0, 0))
        assert [lives for _, lives in signs(tmp_path)] == [False]


def test_a_sign_is_renewed_while_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWED_EVERY_S", 0.01)
    with sign_of_life(tmp_path, "ab12", "run"):
        [path] = (tmp_path / "running").glob("*.json")
        os.utime(path, (0, 0))
        for _ in range(1000):
            if path.stat().st_mtime > 0:
                break
            module.time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_a_new_process_of_a_run_drops_what_a_killed_one_left(tmp_path: Path) -> None:
    dead = tmp_path / "running" / "ab12.node7-5.json"
    with sign_of_life(tmp_path, "ab12", "run"):
        [own] = (tmp_path / "running").glob("*.json")
        dead.write_text(json.dumps({**json.loads(own.read_text()), "host": "node7", "pid": 5}))
    os.utime(dead, (0, 0))
    with sign_of_life(tmp_path, "ab12", "run"):
        assert not dead.exists()


@pytest.mark.parametrize("text", ["", "{", '{"digest": 1}', "[]"])
def test_a_damaged_sign_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / "ab12.node7-5.json").write_text(text)
    assert signs(tmp_path) == []


def test_a_job_of_an_array_is_named_as_scancel_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert job_number() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert job_number() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job_number() == "10_2"
