"""Policies that are trained and evaluated by hand are described as those of a sweep are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, execute_run, train_run
from s2robot.experiments.variant import DemosChoice, Variant, VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.reporting.run_files import read_runs
from s2robot.training.seed_trainer import TrainConfig
from s2robot.utils.io import read_json, write_json

ROLLOUT = EvalConfig(num_envs=2, horizon=2, videos=0)


def job_of(folder: Path, runs_dir: str, seed: int = 0) -> TrainJob:
    variant = VariantConfig(
        level="easy",
        encoder="blind",
        demos=DemosChoice(episodes=2),
        data_dir=folder / "data",
        device="cpu",
    )
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=1)
    return TrainJob(variant, policy, train, search=None, seed=seed, runs_dir=folder / runs_dir)


def by_hand(folder: Path, seed: int = 0) -> Path:
    """Train as `s2robot train` does and return the policy's path."""
    job = job_of(folder, "hand", seed)
    return train_run(job, Variant(job.variant))


def evaluated(path: Path, **changes: object) -> Path:
    folder = path.parents[3]
    job = EvalJob(path, n=2, rollout=ROLLOUT, data_dir=folder / "data")
    evaluate_policy(dataclasses.replace(job, **changes))  # pyright: ignore[reportArgumentType]
    return path


def test_a_policy_trained_by_hand_is_described_as_that_of_a_sweep(tmp_path: Path) -> None:
    path = evaluated(by_hand(tmp_path))
    execute_run(RunJob(job_of(tmp_path, "sweep"), n=2, rollout=ROLLOUT), log=lambda _: None)
    [swept] = (tmp_path / "sweep").rglob("cell.json")
    mine, other = read_json(path.with_name("cell.json")), read_json(swept)
    for record in (mine, other):
        record.pop("provenance")
    assert mine == other


def test_the_report_has_the_seeds_of_policies_trained_by_hand(tmp_path: Path) -> None:
    for seed in (0, 1):
        path = evaluated(by_hand(tmp_path, seed))
    runs, problems = read_runs(path.parents[1])
    assert problems == []
    assert [(run.seed, len(run.rows)) for run in runs] == [(0, 2), (1, 2)]
    assert len({run.variant_key for run in runs}) == 1


def test_another_level_is_described_in_its_own_folder(tmp_path: Path) -> None:
    path = evaluated(by_hand(tmp_path), level="easy-hard")
    record = read_json(path.parent / "easy-hard" / "cell.json")
    assert (record["level"], record["settings"]["task"]["level"]) == ("easy-hard", "easy-hard")
    assert not path.with_name("cell.json").exists()


def test_a_fresh_evaluation_keeps_the_run_in_the_report(tmp_path: Path) -> None:
    path = evaluated(evaluated(by_hand(tmp_path)), fresh=True)
    assert len(read_runs(path.parents[1])[0]) == 1


def test_an_older_policy_is_described_by_repeating_train(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = by_hand(tmp_path)
    content = path.read_bytes()
    path.with_name("training.json").unlink()
    evaluated(path)
    assert "report leaves" in capsys.readouterr().err
    assert not path.with_name("cell.json").exists()
    assert by_hand(tmp_path) == path
    assert path.read_bytes() == content
    evaluated(path)
    assert path.with_name("cell.json").exists()


@pytest.mark.parametrize("change", [{"policy": "another"}, {"format": 9}])
def test_a_description_of_another_policy_is_not_used(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = by_hand(tmp_path)
    training = path.with_name("training.json")
    write_json(training, {**read_json(training), **change})
    evaluated(path)
    assert not path.with_name("cell.json").exists()
