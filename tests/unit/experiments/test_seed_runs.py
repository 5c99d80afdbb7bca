"""Runs of a sequential sweep: blocks of initial states, seeds trained together, descriptions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from s2robot.data.collection import CollectConfig, collect
from s2robot.errors import MismatchError
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments.jobs import RunJob, TrainJob
from s2robot.experiments.pipeline import execute_run
from s2robot.experiments.seed_runs import SeedRuns, planned_record
from s2robot.experiments.variant import DemosChoice, Variant, VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.training.trainer import TrainConfig
from s2robot.utils.io import digest_of

N = 2


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demos") / "easy.hdf5"
    return collect(CollectConfig(level="easy", episodes=3, out=out)).path


def run_job(demos: Path, runs_dir: Path, encoder: str = "privileged_state") -> RunJob:
    variant = VariantConfig(
        encoder=encoder,
        level="easy",
        device="cpu",
        demos=DemosChoice(path=demos),
        data_dir=demos.parent / "data",
    )
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=1)
    job = TrainJob(variant, policy, train, search=None, runs_dir=runs_dir)
    return RunJob(job, n=N, rollout=EvalConfig(num_envs=N, horizon=2, videos=0))


def cells(runs_dir: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in runs_dir.rglob("cell.json")]
    return {info["seed"]: info for info in found}


def test_each_seed_has_initial_states_of_its_own_and_one_key(demos, tmp_path):
    runs = SeedRuns([run_job(demos, tmp_path)], "success_once", ["one"])
    assert runs.key(0) is None
    rates = [runs.rate(0, seed, [0, 1]) for seed in (0, 1)]
    assert rates == [0.0, 0.0]
    found = cells(tmp_path)
    assert {s: info["conditions"]["first"] for s, info in found.items()} == {0: 0, 1: N}
    assert {digest_of(info["settings"]) for info in found.values()} == {runs.key(0)}


def test_seeds_are_trained_together_and_evaluated_one_by_one(demos, tmp_path):
    runs = SeedRuns([run_job(demos, tmp_path)], "success_once", ["one"])
    runs.rate(0, 0, [0, 1, 2])
    assert len(list(tmp_path.rglob("policy.safetensors"))) == 3
    assert list(cells(tmp_path)) == [0]


def test_the_time_of_a_run_is_that_of_new_runs(demos, tmp_path):
    runs = SeedRuns([run_job(demos, tmp_path)], "success_once", ["one"])
    assert runs.seconds_per_run() is None
    runs.rate(0, 0, [0])
    [first] = runs.times
    assert (first.trained, first.episodes) == (True, N)
    assert runs.seconds_per_run() == first.training_s + first.rollout_s > 0
    runs.rate(0, 0, [0])  # is there already
    assert (runs.times[1].trained, runs.times[1].episodes) == (False, 0)
    assert runs.seconds_per_run() == first.training_s + first.rollout_s


def test_a_finished_run_counts_without_its_policy_file(demos, tmp_path):
    runs = SeedRuns([run_job(demos, tmp_path)], "success_once", ["one"])
    rate = runs.rate(0, 1, [1])
    [path] = tmp_path.rglob("policy.safetensors")
    path.unlink()
    again = SeedRuns([run_job(demos, tmp_path)], "success_once", ["one"])
    assert again.rate(0, 1, [1]) == rate
    assert again.key(0) == runs.key(0)
    assert not path.exists()  # nothing was trained
    assert (again.times[0].trained, again.times[0].episodes) == (False, 0)


def test_other_initial_states_of_such_a_run_are_named_before_training(demos, tmp_path):
    job = run_job(demos, tmp_path)
    execute_run(job)
    [path] = tmp_path.rglob("policy.safetensors")
    path.unlink()
    record = json.loads((path.parent / "run.json").read_text())
    record["conditions"]["hash"] = "0" * 64  # as another release may have drawn them
    (path.parent / "run.json").write_text(json.dumps(record))
    with pytest.raises(MismatchError, match="other initial states of the same numbers.*conditions"):
        execute_run(job)
    assert not path.exists()


@pytest.mark.parametrize("changed", ["n", "num_envs", "realtime", "versions"])
def test_other_rollouts_of_such_a_run_need_its_policy(demos, tmp_path, changed):
    job = run_job(demos, tmp_path)
    execute_run(job)
    [path] = tmp_path.rglob("policy.safetensors")
    path.unlink()
    if changed == "n":
        job = dataclasses.replace(job, n=N + 1)
    elif changed == "num_envs":
        job = dataclasses.replace(job, rollout=dataclasses.replace(job.rollout, num_envs=1))
    elif changed == "realtime":
        waits = {"realtime": True, "latency_ms": 250.0}
        job = dataclasses.replace(job, rollout=dataclasses.replace(job.rollout, **waits))
    else:
        record = json.loads((path.parent / "run.json").read_text())
        record["versions"]["torch"] = "1.0"
        (path.parent / "run.json").write_text(json.dumps(record))
    if changed in ("realtime", "versions"):  # they would mix with the rows that are there
        with pytest.raises(MismatchError, match={"versions": "torch"}.get(changed, changed)):
            execute_run(job)
    else:
        assert execute_run(job).episodes == job.n
    assert path.exists()  # trained again


def test_a_run_with_further_initial_states_is_refused(demos, tmp_path):
    job = run_job(demos, tmp_path)
    execute_run(dataclasses.replace(job, n=2 * N))
    with pytest.raises(MismatchError, match="4 episodes, not 2: another sweep added some"):
        SeedRuns([job], "success_once", ["one"]).rate(0, 0, [0])


@pytest.mark.parametrize(
    "encoder", ["privileged_state", pytest.param("random/vitt16-128", marks=pytest.mark.slow)]
)
def test_what_is_planned_is_what_the_run_then_says(demos, tmp_path, encoder):
    job = run_job(demos, tmp_path, encoder)
    planned = planned_record(job, Variant(job.train.variant))
    json.dumps(planned)  # it goes to a file
    if encoder == "privileged_state":
        SeedRuns([job], "success_once", ["one"]).rate(0, 0, [0])
        [made] = cells(tmp_path).values()
        for name in ("level", "label", "family", "policy_kind", "parameters", "gflops_per_frame"):
            assert planned[name] == made[name], name
        same = ("demonstrations", "encoder", "policy", "train", "search", "versions")
        assert {k: planned["settings"][k] for k in same} == {k: made["settings"][k] for k in same}
    else:
        assert planned["family"] == "random-vit"
        assert planned["settings"]["encoder"]["scales"] == [1.0, 2.0]
