"""Policies of many seeds: trained together, kept apart."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from s2robot.errors import DivergedError
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments import policy_training
from s2robot.experiments.jobs import RunJob, TrainJob
from s2robot.experiments.pipeline import execute_run
from s2robot.experiments.policy_training import (
    choose_hyperparameters,
    policy_folder,
    train_run,
)
from s2robot.experiments.variant import DemosChoice, Variant, VariantConfig
from s2robot.policies.checkpoint import load_policy
from s2robot.policies.config import PolicyConfig
from s2robot.training.hyperparameter_search import SearchConfig
from s2robot.training.seed_trainer import TrainConfig, Trainer
from s2robot.utils.io import locked, read_json


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    config = VariantConfig(
        level="easy",
        encoder="blind",
        demos=DemosChoice(episodes=3),
        data_dir=tmp_path_factory.mktemp("data"),
        device="cpu",
    )
    return Variant(config)


def job_of(variant: Variant, folder: Path, seed: int = 0, **changes: Any) -> TrainJob:
    policy = PolicyConfig(hidden=(8,))
    train = TrainConfig(epochs=2, batch_size=16)
    job = TrainJob(variant.config, policy, train, search=None, seed=seed)
    return dataclasses.replace(job, runs_dir=folder / "runs", **changes)


def weights(job: TrainJob, variant: Variant) -> list[torch.Tensor]:
    path = policy_folder(job, variant) / "policy.safetensors"
    return [value.detach() for value in load_policy(path)[0].parameters()]


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Record the seeds of each training."""
    calls: list[list[int]] = []
    train = policy_training.fit_many

    def counting(data: Any, policy: Any, config: Any, seeds: list[int], *rest: Any, **more: Any):
        calls.append(list(seeds))
        return train(data, policy, config, seeds, *rest, **more)

    monkeypatch.setattr(policy_training, "fit_many", counting)
    return calls


def test_the_first_run_trains_all_seeds_and_the_others_find_their_policies(
    tmp_path: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    jobs = [job_of(variant, tmp_path, seed) for seed in (0, 1, 2)]
    paths = [train_run(job, variant, together=(0, 1, 2)) for job in jobs]
    assert calls == [[0, 1, 2]]
    for job, path in zip(jobs, paths, strict=True):
        assert path.parent == policy_folder(job, variant)
        header = load_policy(path)[1]
        assert (header.seed, header.train["seed"]) == (job.seed, job.seed)
        assert len(read_json(path.with_name("history.json"))) == 2


def test_a_policy_is_the_same_with_and_without_others(tmp_path: Path, variant: Variant) -> None:
    train_run(job_of(variant, tmp_path / "a"), variant, together=(0, 1, 2))
    train_run(job_of(variant, tmp_path / "b", seed=1), variant)
    one, other = (weights(job_of(variant, tmp_path / name, 1), variant) for name in ("a", "b"))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    folders = [policy_folder(job_of(variant, tmp_path / name, 1), variant).name for name in "ab"]
    assert folders[0] == folders[1]


def test_seeds_that_exist_or_are_trained_elsewhere_are_left_alone(
    tmp_path: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(job_of(variant, tmp_path, seed=1), variant)
    calls = count_calls(monkeypatch)
    elsewhere = policy_folder(job_of(variant, tmp_path, seed=2), variant)
    with locked(elsewhere / "train"):
        train_run(job_of(variant, tmp_path), variant, together=(0, 1, 2, 3))
    assert calls == [[0, 3]]
    assert not (elsewhere / "policy.safetensors").exists()


def test_a_diverged_seed_stops_no_other(
    tmp_path: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(variant, tmp_path, seed) for seed in (0, 1)]
    spoil(monkeypatch, seed=1)
    train_run(jobs[0], variant, together=(0, 1))
    assert not (policy_folder(jobs[1], variant) / "policy.safetensors").exists()
    with pytest.raises(DivergedError, match="seed 1 "):
        train_run(jobs[1], variant, together=(0, 1))


def spoil(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Let the loss of one seed be NaN."""
    finish = Trainer.finish_epoch

    def spoiled(self: Any, lr: float, losses: list[torch.Tensor]) -> dict[str, float]:
        factor = math.nan if self.config.seed == seed else 1.0
        return finish(self, lr, [loss * factor for loss in losses])

    monkeypatch.setattr(Trainer, "finish_epoch", spoiled)


def test_each_seed_has_a_search_of_its_own(tmp_path: Path, variant: Variant) -> None:
    search = SearchConfig(trials=3, epochs=1, lrs=(1e-3, 1e-2), hidden=(4, 8))
    jobs = [job_of(variant, tmp_path, seed, search=search) for seed in range(3)]
    for job in jobs:
        train_run(job, variant, together=(0, 1, 2))
    for job in jobs:
        policy, header = load_policy(policy_folder(job, variant) / "policy.safetensors")
        again = job_of(variant, tmp_path / "again", job.seed, search=search)
        alone = choose_hyperparameters(again, variant)
        assert alone is not None
        assert policy.config == alone.policy_config
        assert header.train["lr"] == alone.lr
        assert [trial["key"] for trial in header.head["trials"]] == [t["key"] for t in alone.trials]
    assert choose_hyperparameters(job_of(variant, tmp_path), variant) is None


def test_an_executed_run_trains_the_seeds_of_its_sweep(
    tmp_path: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch)
    rollout = EvalConfig(num_envs=2, horizon=2, videos=0)
    run = RunJob(job_of(variant, tmp_path), n=2, rollout=rollout, train_together=(0, 4))
    execute_run(run, log=lambda _: None)
    assert calls == [[0, 4]]
    cells = [path.parent.name for path in tmp_path.glob("runs/cells/*/cell.json")]
    assert len(cells) == 1  # only its own policy is rolled out
