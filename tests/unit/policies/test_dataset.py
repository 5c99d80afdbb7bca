from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.policy_data import make_data

from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import (
    acting_windows,
    default_proprio_keys,
    stack_proprio,
    training_windows,
    windows,
)


def test_windows_repeat_the_edge_frames_masked() -> None:
    ends = torch.tensor([3, 5])
    ahead = windows(ends, torch.tensor([1]), range(3))
    assert ahead.index.tolist() == [[3, 4, 4], [4, 4, 4]]
    assert ahead.mask.tolist() == [[True, True, False], [True, False, False]]
    back = windows(ends, torch.tensor([0]), range(-2, 1))
    assert back.index.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2]]
    assert back.mask.sum(dim=1).tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", ["mlp", "gmm", "rnn_gmm", "transformer"])
def test_acting_windows_predict_each_frame_once(kind: str) -> None:
    data = make_data(steps=7)
    found = acting_windows(PolicyConfig(kind=kind, context=3), data, data.train_episodes)
    assert sorted(found.index[found.mask].tolist()) == data.frames_of(data.train_episodes).tolist()


@pytest.mark.parametrize("kind", ["mlp", "rnn_gmm", "transformer"])
def test_training_windows_stay_inside_their_episodes(kind: str) -> None:
    data = make_data(steps=7)
    found = training_windows(PolicyConfig(kind=kind, context=3), data, data.valid_episodes)
    assert set(found.index.flatten().tolist()) == set(range(35, 42))
    assert len(found) == 7


@pytest.mark.parametrize(
    "change, message",
    [
        ({"embedding_shape": (4, 4, 5)}, "embedding has width 96.*means 80"),
        ({"proprio": torch.zeros(3, 4)}, "proprio has 3 frames, embedding has 48"),
        ({"actions": torch.full((48, 4), torch.nan)}, "actions holds NaN"),
        ({"episode_ends": torch.tensor([8, 8, 48])}, "must rise strictly"),
        ({"episode_ends": torch.tensor([8, 16])}, "number of frames 48"),
        ({"valid_episodes": torch.tensor([0])}, "used twice"),
        ({"valid_episodes": torch.tensor([9])}, "episodes go from 0 to 5"),
        ({"train_episodes": torch.zeros(0, dtype=torch.int64)}, "nothing to train on"),
    ],
)
def test_refuses_inconsistent_data(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_data(), **change)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 63, 64, 199])
def test_a_single_value_that_is_not_finite_is_found(value: float, place: int) -> None:
    data = make_data(episodes=25)  # 200 frames, which are checked in chunks
    embedding = data.embedding.clone()
    embedding[place, 95] = value
    with pytest.raises(ValueError, match="embedding holds NaN or infinite values"):
        dataclasses.replace(data, embedding=embedding)


def test_digest_sees_every_field() -> None:
    data = make_data()
    changed = data.actions.clone()
    changed[5, 0] += 1e-6
    digests = {
        data.digest,
        dataclasses.replace(data, actions=changed).digest,
        dataclasses.replace(data, valid_episodes=torch.zeros(0, dtype=torch.int64)).digest,
        dataclasses.replace(data, motion_unit=0.05).digest,
    }
    assert len(digests) == 4
    assert make_data().digest == data.digest


def test_proprio_is_stacked_in_order() -> None:
    low_dim = {"gripper_width": np.array([0.1, 0.2]), "ee_pos": np.ones((2, 3)), "other": None}
    stacked = stack_proprio(low_dim, default_proprio_keys("ee_delta", yaw=False))
    np.testing.assert_allclose(stacked, [[1, 1, 1, 0.1], [1, 1, 1, 0.2]], rtol=1e-6)
    assert stacked.dtype == np.float32
    with pytest.raises(KeyError, match="joint_pos.*available.*gripper_width"):
        stack_proprio(low_dim, default_proprio_keys("joint_delta", yaw=False))


def test_a_quaternion_and_its_negative_are_the_same_proprioception() -> None:
    quarter = np.array([[np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]])  # 90 degrees about z
    stacked = stack_proprio({"ee_quat": quarter}, ["ee_quat"])
    np.testing.assert_allclose(stacked, [[0, 1, 0, -1, 0, 0]], atol=1e-7)
    np.testing.assert_array_equal(stack_proprio({"ee_quat": -quarter}, ["ee_quat"]), stacked)


def test_a_key_that_ends_in_quat_and_has_other_entries_is_taken_as_it_is() -> None:
    angles = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(stack_proprio({"wrist_quat": angles}, ["wrist_quat"]), angles)
