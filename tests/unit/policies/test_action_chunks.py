"""Chunks of actions: training targets, ensembling, open loop, history."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from support.policy_data import make_data

from s2robot.policies.action_chunks import ChunkExecution, ChunkTransformer, ensembled
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData, acting_windows, previous_actions
from s2robot.policies.policy import Policy
from s2robot.training.frames import DeviceFrames
from s2robot.training.trainer import TrainConfig, fit
from s2robot.utils.io import digest_of

CHUNK = 3


def small(**changes: object) -> PolicyConfig:
    sizes = {"transformer_width": 8, "transformer_heads": 2, "transformer_layers": 1}
    given = {"context": 2, "chunk": CHUNK, "keypoints": 4, "keypoint_features": 2, **sizes}
    return PolicyConfig(kind="act", **{**given, **changes})  # pyright: ignore[reportArgumentType]


def make_policy(data: TrajectoryData, **changes: object) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy.for_data(small(**changes), data).eval()


def chunks_along(policy: Policy, data: TrajectoryData, episode: int) -> torch.Tensor:
    """Chunks ``(T, K, A)`` that the policy predicts along a recorded episode."""
    found = acting_windows(policy.config, data, torch.tensor([episode]))
    frames = DeviceFrames(data, policy, torch.device("cpu"))
    embedding, proprio, _, _ = frames.gather(found, torch.arange(len(found)))
    with torch.no_grad():
        return policy.predict(embedding, proprio)


def play(policy: Policy, data: TrajectoryData, episode: int) -> torch.Tensor:
    """Actions ``(T, A)`` along a recorded episode."""
    frames = data.frames_of(torch.tensor([episode]))
    policy.reset(1)
    rows = [(data.embedding[i : i + 1], data.proprio[i : i + 1]) for i in frames.tolist()]
    return torch.cat([policy.act(*row) for row in rows])


# ------------------------------------------------------------------------------ training targets
def test_a_window_sees_the_past_and_predicts_the_future() -> None:
    data = make_data((5,), episodes=2, steps=4)
    found = acting_windows(small(), data, torch.tensor([1]))
    assert found.index.tolist() == [[4, 4], [4, 5], [5, 6], [6, 7]]
    assert found.targets.tolist() == [[4, 5, 6], [5, 6, 7], [6, 7, 7], [7, 7, 7]]
    assert found.mask.sum(dim=1).tolist() == [3, 3, 2, 1]


def test_actions_beyond_the_end_of_an_episode_do_not_count_in_the_loss() -> None:
    data = make_data((5,), episodes=2, steps=4)
    policy = make_policy(data)
    frames = DeviceFrames(data, policy, torch.device("cpu"))
    found = acting_windows(policy.config, data, torch.tensor([1]))
    embedding, proprio, actions, mask = frames.gather(found, torch.arange(4))
    changed = torch.where(mask[..., None], actions, -actions)
    losses = [policy.loss(embedding, proprio, each, mask) for each in (actions, changed)]
    assert torch.equal(*losses)
    assert not torch.equal(actions, changed)


def test_the_action_before_an_episodes_first_frame_is_zero() -> None:
    data = make_data((5,), episodes=2, steps=4)
    before = previous_actions(data)
    assert not before[[0, 4]].any()
    torch.testing.assert_close(before[[1, 2, 3, 5, 6, 7]], data.actions[[0, 1, 2, 4, 5, 6]])


# ------------------------------------------------------------------------------------ acting
def test_ensembling_is_the_weighted_mean_of_all_predictions_of_a_step() -> None:
    data = make_data((5,), episodes=2, steps=6)
    policy = make_policy(data, ensemble=0.5)
    chunks = chunks_along(policy, data, 1)
    wanted = []
    for t in range(6):
        born = range(max(0, t - CHUNK + 1), t + 1)  # steps of chunks with t
        weights = torch.tensor([2.718281828 ** (-0.5 * i) for i in range(len(born))])
        found = torch.stack([chunks[b, t - b] for b in born])
        wanted.append((found * weights[:, None]).sum(dim=0) / weights.sum())
    torch.testing.assert_close(play(policy, data, 1), torch.stack(wanted), atol=1e-5, rtol=0)


def test_open_loop_carries_out_so_many_actions_of_each_chunk() -> None:
    data = make_data((5,), episodes=2, steps=6)
    policy = make_policy(data, ensemble=None, action_steps=2)
    chunks = chunks_along(policy, data, 1)
    wanted = torch.stack([chunks[t - t % 2, t % 2] for t in range(6)])
    torch.testing.assert_close(play(policy, data, 1), wanted, atol=1e-5, rtol=0)


def test_open_loop_does_not_predict_between() -> None:
    calls = []
    run = ChunkExecution(small(ensemble=None, action_steps=3))

    def predict() -> torch.Tensor:
        calls.append(1)
        return torch.zeros(1, CHUNK, 2)

    for step in range(7):
        run.action(step, predict)
    assert len(calls) == 3


def test_a_reset_forgets_chunks_and_actions() -> None:
    data = make_data((5,), episodes=2, steps=6)
    policy = make_policy(data, past_actions=True)
    assert torch.equal(play(policy, data, 1), play(policy, data, 1))


def test_only_with_past_actions_the_policys_own_action_decides_the_next_one() -> None:
    data = make_data((5,), episodes=2, steps=6)
    rows = [(data.embedding[i : i + 1], data.proprio[i : i + 1]) for i in range(2)]
    differs = {}
    for reads in (False, True):
        policy = make_policy(data, past_actions=reads, ensemble=None)
        seconds = []
        for shift in (0.0, 1.0):
            policy.reset(1)
            policy.act(*rows[0])
            assert policy._last_action is not None
            policy._last_action = policy._last_action + shift
            seconds.append(policy.act(*rows[1]))
        differs[reads] = not torch.equal(*seconds)
    assert differs == {False: False, True: True}


def test_the_order_of_chunks_decides_their_weights() -> None:
    old, new = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[3.0], [9.0]]])
    assert float(ensembled([old, new], 0.0)) == 2.0
    assert float(ensembled([old, new], 50.0)) == 1.0  # the oldest alone
    assert float(ensembled([new], 0.01)) == 3.0


def test_the_order_of_observations_in_time_counts() -> None:
    config = small()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ChunkTransformer(config, {"proprio": 4}, 2).eval()
        seen = torch.randn(1, 2, 4)
    with torch.no_grad():
        assert not torch.allclose(network({"proprio": seen}), network({"proprio": seen.flip(1)}))


# ---------------------------------------------------------------------------------- training
@pytest.mark.parametrize("past", [False, True])
def test_a_policy_with_chunks_learns(past: bool, tmp_path: Path) -> None:
    data = make_data((5,), episodes=40, steps=8)
    config = small(chunk=2, past_actions=past, dropout=0.0, transformer_width=32)
    result = fit(data, config, TrainConfig(epochs=20, batch_size=32, lr=5e-3), tmp_path)
    first, last = result.history[0], result.history[-1]
    assert last["train_loss"] < 0.8 * first["train_loss"]
    assert last["motion_error"] < 0.7 * first["motion_error"]
    # The next frame's action cannot be known from this one, so a whole chunk has a larger error.
    assert last["chunk_error"] > last["motion_error"]


def test_chunks_learn_from_a_grid_as_fast_as_an_mlp() -> None:
    """Positions in token grids are small differences, which a transformer is slow to find."""
    data = spots()
    train = TrainConfig(epochs=12, batch_size=32, lr=3e-3)
    mlp = fit(data, PolicyConfig(kind="mlp"), train).history[-1]["motion_error"]
    chunks = fit(data, PolicyConfig(kind="act", context=1), train).history[-1]["motion_error"]
    alone = PolicyConfig(kind="act", context=1, shortcut_width=0)
    transformer = fit(data, alone, train).history[-1]["motion_error"]
    assert chunks < 1.2 * mlp
    assert chunks < 0.85 * transformer


def spots(frames: int = 6, episodes: int = 60, side: int = 8) -> TrajectoryData:
    """Grids with a spot, whose place decides the action, among channels that vary more."""
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(episodes, 1, 2, generator=generator).expand(-1, frames, -1).flatten(0, 1)
    cells = (torch.arange(side) + 0.5) / side
    spot = [torch.exp(-((cells - at[:, None]) ** 2) / 0.02) for at in place.T]
    grid = 0.3 * torch.randn(len(place), side, side, 16, generator=generator)
    grid[..., 0] += spot[0][:, :, None] * spot[1][:, None, :]
    actions = torch.cat([2 * place - 1, torch.zeros(len(place), 2)], dim=1)
    ends = torch.arange(1, episodes + 1) * frames
    held_out = episodes // 6
    return TrajectoryData(
        embedding=grid.flatten(1),
        embedding_shape=(side, side, 16),
        proprio=torch.randn(len(place), 4, generator=generator),
        actions=actions,
        episode_ends=ends,
        train_episodes=torch.arange(held_out, episodes),
        valid_episodes=torch.arange(held_out),
    )


def test_the_motion_error_is_that_of_the_present_step() -> None:
    data = make_data((5,))
    result = fit(data, small(), TrainConfig(epochs=1, batch_size=16))
    frames = data.frames_of(data.valid_episodes)
    chunks = chunks_along(result.policy, data, int(data.valid_episodes[0]))
    wrong = (chunks[:, 0] - data.actions[frames])[:, :3].abs().mean() * 0.04
    assert result.history[-1]["motion_error"] == pytest.approx(float(wrong), rel=1e-4)


def test_training_resumes_with_the_same_weights(tmp_path: Path) -> None:
    data = make_data((5,))
    config, train = small(past_actions=True), TrainConfig(epochs=4, checkpoint_every=2)
    whole = fit(data, config, train)

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, config, train, tmp_path, on_epoch=stop)
    resumed = fit(data, config, train, tmp_path)
    assert resumed.resumed_from == 2
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name


# ----------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 0}, "chunk is 0"),
        ({"ensemble": -1.0}, "ensemble is -1.0; allowed: a finite number, 0 or more"),
        ({"action_steps": 2}, "action_steps is 2 and ensemble 0.01; .*an ensemble of None"),
        ({"ensemble": None, "action_steps": 4}, "a chunk has 3 actions: allowed are 1 to 3"),
    ],
)
def test_impossible_chunks_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_records_of_other_kinds_do_not_name_chunks() -> None:
    names = {"chunk", "ensemble", "action_steps", "past_actions", "shortcut_width"}
    assert not names & PolicyConfig(kind="mlp").to_dict().keys()
    assert names <= small().to_dict().keys()
    mlp = PolicyConfig(kind="gmm", hidden=(8,))
    assert PolicyConfig(**mlp.to_dict()) == mlp
    assert dataclasses.asdict(small()) == small().to_dict()


def test_digests_of_other_kinds_are_those_of_before_there_were_chunks() -> None:
    """Names of policies, searches and results are made of them."""
    kinds = ("mlp", "gmm", "rnn_gmm", "transformer")
    found = digest_of([PolicyConfig(kind=kind).to_dict() for kind in kinds])
    assert found == ("3893626fb5bd95b0f73990335656f63157a76cbecf68e3d280f74b741d5bbbad")


def test_batches_that_run_at_once_have_chunks_of_their_own() -> None:
    data = make_data((5,), episodes=2, steps=6)
    policy = make_policy(data, past_actions=True)
    alone = [play(policy, data, episode) for episode in range(2)]
    both = [policy, copy.deepcopy(policy)]
    found: list[list[torch.Tensor]] = [[], []]
    for each in both:
        each.reset(1)
    for step in range(6):
        for episode, each in enumerate(both):
            row = slice(6 * episode + step, 6 * episode + step + 1)
            found[episode].append(each.act(data.embedding[row], data.proprio[row]))
    for wanted, actions in zip(alone, found, strict=True):
        assert torch.equal(torch.cat(actions), wanted)
