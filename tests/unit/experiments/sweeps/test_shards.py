"""Shards: whole batches of a run, and what does not merge."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2robot.errors import MismatchError
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.initial_states import InitialStates, condition_of
from s2robot.experiments.jobs import EvalJob, RunJob
from s2robot.experiments.sweeps.shards import begin_shard, merge, missing_parts, parts

STATES = InitialStates("easy", "test", {}, np.arange(10.0).reshape(5, 2), 0)
IDENTITY: dict[str, Any] = {
    "format": 2,
    "policy": "ab",
    **dict.fromkeys(("task", "camera", "rollout", "inference", "versions")),
}
TIMES = {"encode": [1.0], "policy": [1.0], "env": [1.0], "render": [1.0]}


def job(shard: str | None, n: int = 5) -> EvalJob:
    return EvalJob(Path("p.safetensors"), n=n, rollout=EvalConfig(num_envs=2), shard=shard)


def row(index: int) -> dict[str, Any]:
    return {
        "index": index,
        "condition": condition_of(STATES.states[index]),
        "success_once": False,
        "success_at_end": False,
        "stage": "reach",
        "steps": 3,
        "steps_to_success": None,
        "steps_lifted": 0,
        "min_distance_m": 0.1,
        "max_height_m": 0.0,
    }


def roll_out(out: Path, shard: str, **changes: Any) -> None:
    """Write a shard as an evaluation would."""
    own = begin_shard(job(shard), out)
    assert own.out is not None
    states = dataclasses.replace(
        STATES, states=STATES.states[own.first : own.first + own.n], first=own.first
    )
    folder = RunFolder(own.out, 2)
    folder.claim({**IDENTITY, **changes}, states)
    for start in range(0, own.n, 2):
        rows = [row(own.first + number) for number in range(start, min(start + 2, own.n))]
        folder.add_batch(start, rows, np.full((len(rows), 3, 4), own.first, np.float32), TIMES)


@pytest.mark.parametrize("n", [1, 5, 64, 1000])
@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_shards_are_whole_batches_that_cover_all(n: int, of: int) -> None:
    if -(-n // 2) < of:
        with pytest.raises(ValueError, match="allowed are up to"):
            parts(job(f"1/{of}", n))
        return
    found = parts(job(f"1/{of}", n))
    assert [0, *(part.stop for part in found)] == [*(part.start for part in found), n]
    assert all(part.start % 2 == 0 and part.stop > part.start for part in found)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", ""])
def test_a_shard_that_there_is_not_is_refused(text: str) -> None:
    for make in (job, lambda shard: RunJob(shard=shard)):
        with pytest.raises(ValueError, match="K/N"):
            make(text)


def test_all_shards_become_one_run(tmp_path: Path) -> None:
    roll_out(tmp_path, "2/2")
    assert [(part.start, part.stop) for part in missing_parts(job("1/2"), tmp_path)] == [(0, 2)]
    roll_out(tmp_path, "1/2")
    assert missing_parts(job("1/2"), tmp_path) == []
    merge(job("1/2"), tmp_path, STATES)
    run = RunFolder(tmp_path, 2)
    assert run.rows() == [row(index) for index in range(5)]
    assert [int(run.actions_of(number)[0, 0]) for number in range(5)] == [0, 0, 2, 2, 2]
    assert [each["start"] for each in run.timing()] == [0, 2, 4]
    assert run.record()["conditions"]["n"] == 5


def test_a_killed_merge_goes_on(tmp_path: Path) -> None:
    roll_out(tmp_path, "1/2")
    roll_out(tmp_path, "2/2")
    run = RunFolder(tmp_path, 2)
    run.claim(IDENTITY, STATES)
    run.add_batch(0, [row(0), row(1)], np.zeros((2, 3, 4), np.float32), TIMES)
    merge(job("1/2"), tmp_path, STATES)
    assert [each["index"] for each in run.rows()] == [0, 1, 2, 3, 4]


def test_shards_of_different_runs_are_named(tmp_path: Path) -> None:
    roll_out(tmp_path, "1/2")
    roll_out(tmp_path, "2/2", policy="cd")
    with pytest.raises(MismatchError, match=r"000002-000005 are of different runs:\n  policy: ab"):
        merge(job("1/2"), tmp_path, STATES)
    assert not (tmp_path / "episodes.jsonl").exists()


def test_rows_of_other_initial_states_are_named(tmp_path: Path) -> None:
    roll_out(tmp_path, "1/2")
    roll_out(tmp_path, "2/2")
    other = dataclasses.replace(STATES, states=STATES.states[::-1])
    with pytest.raises(MismatchError, match="000000-000002 has 2 rows"):
        merge(job("1/2"), tmp_path, other)


def test_shards_that_overlap_are_refused(tmp_path: Path) -> None:
    begin_shard(job("1/2"), tmp_path)
    for other in (job("1/3"), job("1/2", n=8)):
        with pytest.raises(MismatchError, match="overlap"):
            begin_shard(other, tmp_path)
