"""A policy file acts on frames and measurements as the evaluation's parts do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.expert_policies import header
from support.tiny_models import write_tiny_model

import s2robot
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import S2RobotError
from s2robot.evaluation.agents.loaded_policy import LoadedPolicy, load_policy
from s2robot.evaluation.rollout import Agent
from s2robot.evaluation.vector_env import VectorStep
from s2robot.policies import checkpoint
from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.policy import Policy

SIZE, WIDTH = 32, 24
KEYS = ("ee_pos", "gripper_width")


def small(kind: str) -> PolicyConfig:
    return PolicyConfig(
        kind=kind,
        hidden=(8,),
        context=3,
        rnn_hidden=8,
        transformer_width=8,
        transformer_heads=2,
        transformer_layers=1,
    )


def write(path: Path, kind: str = "mlp", backbone: str = "", **changes: Any) -> Path:
    """Write a random policy on a tiny encoder, or on a baseline's embedding."""
    shape = {"": (WIDTH,), "none": (0,), "state": (3,)}[backbone]
    described: dict[str, Any] = {"embedding_shape": shape, "policy_config": small(kind), **changes}
    if not backbone:
        encoder = FrameEncoder.from_name(f"file:{write_tiny_model(path.parent)}", (1.0,), "mean")
        described["encoder"] = encoder.spec.to_dict()
        described.setdefault("frames", {"camera": {"name": "front", "size": SIZE}})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(small(kind), shape, 4, 4).eval()
    checkpoint.save_policy(path, policy, header(backbone or "tiny", **described))
    return path


def loaded(path: Path) -> LoadedPolicy:
    return s2robot.load_policy(path, device="cpu", runtime="eager")


@pytest.fixture
def policy(tmp_path: Path) -> LoadedPolicy:
    return loaded(write(tmp_path / "policy.safetensors"))


def frames(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, SIZE, SIZE, 3)).astype(np.uint8)


def proprio(batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(seed).normal(size=(batch, 5))
    return {
        "ee_pos": drawn[:, :3],
        "gripper_width": drawn[:, 3:4],
        "cube_pos": drawn[:, :3],
        "unused": drawn,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_actions_are_those_of_the_evaluation(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "policy.safetensors", kind)
    policy = loaded(path)
    actor, head = checkpoint.load_policy(path)
    agent = Agent(actor, head.proprio_keys, policy.encoder)
    actor.reset(2)
    policy.reset()
    for step in range(7):  # longer than the context of sequence policies
        images, observed = frames(2, step), proprio(2, step)
        seen = VectorStep(observed, {}, images, 0.0, 0.0)
        wanted = agent.select_action(agent.encode(seen), seen)
        np.testing.assert_array_equal(policy({"front": images}, observed), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_one_robot_gets_the_actions_of_a_batch_of_one(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "policy.safetensors", kind)
    one, batch = loaded(path), loaded(path)
    for step in range(4):
        images, observed = frames(1, step), proprio(1, step)
        action = one(images[0], {key: value[0] for key, value in observed.items()})
        assert (action.shape, action.dtype) == ((4,), np.float32)
        np.testing.assert_array_equal(action, batch(images, observed)[0])


def test_reset_forgets_the_past(tmp_path: Path) -> None:
    policy = loaded(write(tmp_path / "policy.safetensors", "rnn_gmm"))
    first = policy(frames(1), proprio(1))
    second = policy(frames(1), proprio(1))
    policy.reset()
    np.testing.assert_array_equal(policy(frames(1), proprio(1)), first)
    assert not np.array_equal(first, second)


def test_an_array_stands_for_the_measurements_in_the_policys_order(policy: LoadedPolicy) -> None:
    observed = proprio(2)
    vector = np.concatenate([observed[key] for key in KEYS], axis=1)
    np.testing.assert_array_equal(
        policy(frames(2), vector.astype(np.float32)), policy(frames(2), observed)
    )


@pytest.mark.parametrize("backbone", ["none", "state"])
def test_baselines_act_without_frames(backbone: str, tmp_path: Path) -> None:
    policy = loaded(write(tmp_path / "policy.safetensors", backbone=backbone))
    observed = proprio(2)
    assert policy.cameras == {}
    actions = policy(None, observed)
    assert actions.shape == (2, 4)
    policy.reset()
    alone = policy(proprio={key: value[1] for key, value in observed.items()})
    np.testing.assert_allclose(alone, actions[1], atol=1e-6)


def test_a_privileged_policy_asks_for_the_cube(tmp_path: Path) -> None:
    policy = loaded(write(tmp_path / "policy.safetensors", backbone="state"))
    observed = {key: proprio(1)[key] for key in KEYS}
    with pytest.raises(KeyError, match="lacks cube_pos; it has ee_pos, gripper_width"):
        policy(None, observed)
    with pytest.raises(ValueError, match="privileged_state reads cube_pos: give proprio as a dict"):
        policy(None, np.zeros(4))


def test_a_blind_policy_takes_an_array(tmp_path: Path) -> None:
    policy = loaded(write(tmp_path / "policy.safetensors", backbone="none"))
    assert policy(None, np.zeros((3, 4))).shape == (3, 4)


def test_the_policy_tells_what_it_reads(policy: LoadedPolicy) -> None:
    assert policy.cameras == {"front": (SIZE, SIZE)}
    assert policy.proprio_keys == KEYS
    assert policy.action_names == ("dx", "dy", "dz", "gripper")
    assert policy.control_hz == 5


def test_an_observation_of_another_size_is_named(policy: LoadedPolicy) -> None:
    observed = {"ee_pos": np.zeros(7), "gripper_width": 0.08}
    with pytest.raises(ValueError, match="ee_pos 7, gripper_width 1; the policy takes 4 numbers"):
        policy(frames(1)[0], observed)
    with pytest.raises(ValueError, match="proprio is None; the policy reads ee_pos, gripper_width"):
        policy(frames(1)[0])


def test_a_batch_of_another_size_needs_a_reset(policy: LoadedPolicy) -> None:
    policy(frames(2), proprio(2))
    with pytest.raises(ValueError, match=r"has 3 episodes, the step before 2; call reset\(\)"):
        policy(frames(3), proprio(3))
    policy.reset()
    assert policy(frames(3), proprio(3)).shape == (3, 4)


def test_actions_stay_in_the_environments_bounds(tmp_path: Path) -> None:
    made = header("tiny").action_space
    space = {**made, "low": [-0.001] * 4, "high": [0.001] * 4}
    policy = loaded(write(tmp_path / "policy.safetensors", action_space=space))
    assert np.abs(policy(frames(1), proprio(1))).max() == np.float32(0.001)


def test_an_action_that_is_not_finite_is_an_error(policy: LoadedPolicy) -> None:
    with torch.no_grad():
        next(policy.policy.network.parameters()).fill_(float("nan"))
    with pytest.raises(S2RobotError, match="action is .*nan.*; train it again"):
        policy(frames(1), proprio(1))


def test_a_policy_that_does_not_tell_its_camera_takes_any_size(tmp_path: Path) -> None:
    policy = loaded(write(tmp_path / "policy.safetensors", frames={}))
    assert policy.cameras == {"camera": None}
    assert policy(np.zeros((48, 64, 3), np.uint8), proprio(1)).shape == (4,)


def test_a_header_without_frames_of_a_baseline_needs_no_encoder(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path / "policy.safetensors", backbone="none"))
    assert policy.encoder is None
    assert dataclasses.asdict(policy.header)["frames"] == {}
