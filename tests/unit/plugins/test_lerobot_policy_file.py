"""Policies that LeRobot trained as policy files, without LeRobot."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from support.lerobot_conversion import SIDE, STATS, converted_policy, trained_policy

from s2robot import load_policy
from s2robot.errors import MismatchError
from s2robot.policies.checkpoint import read_header

KEYS = ("ee_pos", "gripper_width")


def test_the_file_normalizes_as_lerobots_processors(tmp_path):
    """LeRobot: measurements to mean 0 and std 1 before, actions from [-1, 1] to their range."""
    bare = copy.deepcopy(trained_policy(tmp_path).policy)
    own = load_policy(converted_policy(tmp_path), device="cpu", runtime="eager")
    frame = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    state = torch.tensor([[0.4, 0.1, 0.2, 0.08]])
    found = own(frame, {"ee_pos": state[0, :3].numpy(), "gripper_width": state[0, 3:].numpy()})
    center, spread = STATS["observation.state"]["mean"], STATS["observation.state"]["std"]
    low, high = STATS["action"]["min"], STATS["action"]["max"]
    assert own.encoder is not None
    bare.reset(1)
    embedding = own.encoder(frame[None])  # pyright: ignore[reportArgumentType]
    scaled = bare.act(embedding.float(), (state - center) / (spread + 1e-8))
    expected = ((scaled[0] + 1) / 2 * (high - low) + low).clamp(-1, 1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_header_names_task_camera_and_training(tmp_path):
    header = read_header(converted_policy(tmp_path))
    assert (header.level, header.proprio_keys, header.seed) == ("easy", KEYS, 5)
    assert header.frames == {"camera": {"name": "front", "size": SIDE}}
    assert header.train["by"] == "lerobot-train"
    assert header.action_space["control"] == "ee_delta"


@pytest.mark.parametrize(
    ("changes", "level", "proprio", "message"),
    [
        ({}, "easy", ("ee_pos",), "has 4 entries.*'ee_pos': 3.*--proprio"),
        ({}, "easy", ("ee_quat",), "quaternion.*--low-dim"),
        ({}, "easy", ("speed",), "speed.*ee_pos"),
        ({}, "esay", KEYS, "esay.*easy"),
        ({"cameras": {"observation.images.top": (32, 32)}}, "easy", KEYS, "top.*front"),
        ({"cameras": {"observation.images.front": (32, 48)}}, "easy", KEYS, "32x48 px.*square"),
        ({"stats": {"action": STATS["action"]}}, "easy", KEYS, "no statistics of observation.st"),
        ({"stats": {}}, None, (), "no statistics of action, observation.state"),
    ],
    ids=["few", "quaternion", "unknown", "level", "camera", "shape", "state", "none"],
)
def test_what_does_not_fit_is_named(tmp_path, changes, level, proprio, message):
    trained = dataclasses.replace(trained_policy(tmp_path), **changes)
    with pytest.raises((MismatchError, ValueError), match=message):
        trained.write(tmp_path / "policy.safetensors", level, proprio)
    assert not (tmp_path / "policy.safetensors").exists()
