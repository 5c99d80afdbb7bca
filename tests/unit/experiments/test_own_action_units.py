"""Actions of policies of a user's own tasks, in the units of the environment."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support.own_tasks import NAME, ReachEnv

import s2robot
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.envs.tasks.action_scale import scale_of
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.evaluation.agents.loaded_policy import action_scale
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import DemosChoice, VariantConfig
from s2robot.experiments.jobs import EvalJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, train_run
from s2robot.experiments.variant import Variant
from s2robot.policies import checkpoint
from s2robot.policies.config import PolicyConfig
from s2robot.training.config import TrainConfig


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Policy file of ``Reach``, whose actions lie in -0.2 to 0.1."""
    folder = tmp_path_factory.mktemp("units")
    demos = collect(CollectConfig(task=NAME, episodes=4, out=folder / "demos.hdf5", workers=0))
    choice = DemosChoice(path=demos.path)
    variant = VariantConfig(task=NAME, encoder="blind", demos=choice, data_dir=folder)
    job = TrainJob(variant, PolicyConfig(hidden=(8,)), TrainConfig(epochs=2), None, 0, folder)
    return train_run(job, Variant(variant))


def test_a_loaded_policy_returns_what_the_environment_itself_takes(path: Path) -> None:
    assert checkpoint.read_header(path).action_space["own"] == {
        "low": pytest.approx([-0.2, -0.2]),
        "high": pytest.approx([0.1, 0.1]),
    }
    observed = {"agent_pos": np.array([[0.2, 0.7], [0.6, 0.4]])}
    actor, _ = checkpoint.load_policy(path)
    actor.reset(2)
    scaled = actor.act(np_to(np.zeros((2, 0))), np_to(observed["agent_pos"])).numpy().clip(-1, 1)
    policy = s2robot.load_policy(path)
    actions = policy(None, observed)
    np.testing.assert_allclose(actions, -0.2 + (scaled + 1) * 0.15, atol=1e-6)
    assert np.abs(actions - scaled).max() > 0.01


def test_a_task_of_its_own_without_a_scale_acts_within_its_bounds() -> None:
    space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    own = SimpleNamespace(control="native", action_space=space)
    scale = scale_of(own)
    assert scale is not None
    assert scale.record() == {"low": [-1.0, -1.0], "high": [1.0, 1.0]}
    np.testing.assert_allclose(scale.own(np.array([0.25, -1.0])), [0.25, -1.0])
    assert scale_of(SimpleNamespace(control="ee_delta", action_space=space)) is None


def np_to(array: np.ndarray) -> torch.Tensor:
    """Return a float32 tensor."""
    return torch.from_numpy(array.astype(np.float32))


def test_a_loop_with_a_loaded_policy_is_the_evaluation(path: Path, tmp_path: Path) -> None:
    rollout = EvalConfig(num_envs=1, workers=0, videos=0)
    job = EvalJob(path, task=NAME, n=1, rollout=rollout, out=tmp_path, data_dir=tmp_path)
    evaluate_policy(job)
    row = json.loads((tmp_path / "episodes.jsonl").read_text().splitlines()[0])
    env, policy = ReachEnv(), s2robot.load_policy(path)
    observation, _ = env.reset(seed=2_000_000)
    policy.reset()
    success = []
    for _ in range(row["steps"]):
        observation, *_, info = env.step(policy(None, observation))
        success.append(info["success"])
    assert (any(success), sum(success)) == (row["success_once"], row["steps_lifted"])


def test_a_policy_file_without_the_bounds_is_refused(path: Path, tmp_path: Path) -> None:
    header = checkpoint.read_header(path)
    del header.action_space["own"]
    with pytest.raises(MismatchError, match="so their units are not known; train again"):
        action_scale(header)


def test_bounds_of_another_environment_are_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium

    other = gymnasium.spaces.Box(-0.2, 0.3, (2,), np.float32)
    monkeypatch.setattr(ReachEnv, "action_space", other)
    with pytest.raises(MismatchError, match=r"different action spaces:(.|\n)*-0.2.*0.3"):
        evaluate_policy(EvalJob(path, task=NAME, n=1, out=tmp_path, data_dir=tmp_path))


def test_bounds_of_another_size_are_damage(path: Path, tmp_path: Path) -> None:
    with safe_open(path, framework="np") as file:
        content = json.loads(file.metadata()[checkpoint.FORMAT])
    content["action_space"]["own"]["low"] = [0.0]
    damaged = tmp_path / "damaged.safetensors"
    save_file(load_file(path), damaged, metadata={checkpoint.FORMAT: json.dumps(content)})
    with pytest.raises(CorruptFileError, match="action space has dim 2"):
        checkpoint.read_header(damaged)
