"""Errors on held-out episodes."""

import dataclasses

import numpy as np
import pytest
import torch

from s2robot.experiments.recorded.held_out import held_out_errors, open_loop, over_seeds
from s2robot.policies.action_space import ActionBounds
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.dataset import TrajectoryData, acting_windows
from s2robot.policies.policy import Policy
from s2robot.training.frames import DeviceFrames

ENDS = (4, 9, 16)
NAMES = ("dx", "grip")
WIDE = ActionBounds(np.full(2, -9.0), np.full(2, 9.0))


def _data(actions, train=(0,), held_out=(1, 2)):
    rng = torch.Generator().manual_seed(0)
    return TrajectoryData(
        embedding=torch.randn(ENDS[-1], 6, generator=rng),
        embedding_shape=(6,),
        proprio=torch.randn(ENDS[-1], 2, generator=rng),
        actions=torch.as_tensor(actions, dtype=torch.float32),
        episode_ends=torch.tensor(ENDS),
        train_episodes=torch.tensor(train),
        valid_episodes=torch.tensor(held_out),
        motion_dims=2,
        motion_unit=1.0,
    )


class _Always(Policy):
    """A policy that takes one action."""

    def act(self, embedding, proprio):
        return torch.tensor([[1.0, -2.0]]).expand(len(embedding), 2)


def _always():
    return _Always(PolicyConfig(hidden=(4,)), (6,), 2, 2)


def test_errors_are_means_of_episodes_in_the_units_of_the_data():
    actions = np.zeros((ENDS[-1], 2))
    actions[4:9], actions[9:16], actions[:4, 0] = (3, -2), (1, 2), (0, 0, 8, 8)
    found = held_out_errors(_always(), _data(actions), actions, NAMES, WIDE)
    assert found.errors.tolist() == [[2, 0], [0, 4]]
    dx, grip = found.entries
    assert (dx.name, dx.error.estimate, dx.error.low) == ("dx", 1, 0)  # no error is negative
    assert dx.error.high == pytest.approx(1 + 12.706, abs=1e-2)  # Student's t of two episodes
    assert dx.constant.estimate == pytest.approx((1 + 3) / 2)  # the median of training is 4
    assert (dx.range, dx.share_of_range) == ((0, 8), 1 / 8)
    assert (grip.share_of_range, grip.verdict) == (None, "does not vary")
    assert found.to_dict()["entries"][0]["change"]["estimate"] == -1


@pytest.mark.parametrize(
    ("offsets", "verdict"),
    [((1, 1.1), "better"), ((9, 9.1), "worse"), ((1, 9), "not told apart")],
)
def test_a_policy_is_called_better_than_a_constant_only_where_the_interval_says_so(
    offsets, verdict
):
    actions = np.zeros((ENDS[-1], 2))
    actions[:4, 0] = (1, 6, 6, 6)  # the median of training is 6, the policy's action 1
    actions[4:9, 0], actions[9:16, 0] = offsets
    found = held_out_errors(_always(), _data(actions), actions, NAMES, WIDE)
    assert verdict in found.entries[0].verdict


def test_one_held_out_episode_gives_no_interval():
    actions = np.random.default_rng(0).normal(size=(ENDS[-1], 2))
    found = held_out_errors(_always(), _data(actions, (0, 1), (2,)), actions, NAMES, WIDE)
    assert found.entries[0].verdict == "one episode: not decided"
    assert found.to_dict()["entries"][0]["error"]["low"] is None


def test_several_seeds_have_intervals_over_seeds_and_keep_their_own():
    actions = np.random.default_rng(0).normal(size=(ENDS[-1], 2))
    one = held_out_errors(_always(), _data(actions), actions, NAMES, WIDE)
    apart = dataclasses.replace(one, errors=one.errors + 1)
    found = over_seeds({3: one, 4: apart})
    assert np.allclose(found.errors, one.errors + 0.5)
    assert found.entries[0].error.estimate == pytest.approx(one.entries[0].error.estimate + 0.5)
    assert found.entries[0].constant == one.entries[0].constant
    record = found.to_dict()
    assert "episodes and 2 training seeds" in record["interval"]
    assert record["seeds"]["3"] == one.to_dict()
    assert over_seeds({3: one}) is one


def test_errors_are_those_of_actions_within_the_bounds_of_the_policy():
    actions = np.zeros((ENDS[-1], 2))
    actions[:4, 0] = (0, 0, 0.5, 0.5)  # the policy says 1, and -2 for the constant second entry
    bounds = ActionBounds(np.array([0.0, 0.0]), np.array([0.5, 0.0]))
    found = held_out_errors(_always(), _data(actions), actions, NAMES, bounds)
    assert found.errors.tolist() == [[0.5, 0], [0.5, 0]]
    assert np.unique(np.concatenate(found.predicted), axis=0).tolist() == [[0.5, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_open_loop_actions_are_those_of_validation_in_units(kind):
    config = PolicyConfig(
        kind=kind,
        hidden=(8,),
        context=3,
        rnn_hidden=8,
        transformer_width=8,
        transformer_heads=2,
        transformer_layers=1,
        ensemble=None,
    )
    data = _data(np.zeros((ENDS[-1], 2)))
    torch.manual_seed(0)
    policy = Policy.for_data(config, data).eval()
    windows = acting_windows(config, data, data.valid_episodes)
    frames = DeviceFrames(data, policy, torch.device("cpu"))
    embedding, proprio, _, mask = frames.gather(windows, torch.arange(len(windows)))
    with torch.no_grad():
        predicted = policy.predict(embedding, proprio)
    expected = predicted[:, 0] if config.is_chunked else predicted[mask]
    policy.action_units = ActionUnits.of_range(torch.tensor([-5.0, 0.0]), torch.tensor([15.0, 2.0]))
    found = open_loop(policy, data, data.valid_episodes)
    assert [len(each) for each in found] == [5, 7]
    scaled = policy.action_units(expected).detach()
    assert np.allclose(np.concatenate(found), scaled.numpy(), atol=1e-4)
