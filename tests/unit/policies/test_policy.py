from __future__ import annotations

import contextlib
import dataclasses
import io

import pytest
import torch
from support.policy_data import make_data

from s2robot.policies.config import KINDS, PolicyConfig
from s2robot.policies.dataset import TrajectoryData, acting_windows
from s2robot.policies.policy import Policy

SHAPES = [(4, 4, 6), (5,), (0,)]
STEPWISE = [kind for kind in KINDS if kind != "act"]  # chunks: test_action_chunks.py


def small(kind: str, **changes: object) -> PolicyConfig:
    sizes = {"hidden": (16,), "keypoints": 4, "keypoint_features": 2, "context": 3}
    sizes |= {"chunk": 3, "rnn_hidden": 8, "transformer_width": 8, "transformer_heads": 2}
    return PolicyConfig(kind=kind, **{**sizes, "transformer_layers": 1, **changes})


def make_policy(config: PolicyConfig, data: TrajectoryData) -> Policy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Policy.for_data(config, data)


def play(policy: Policy, data: TrajectoryData, episodes: list[int]) -> torch.Tensor:
    """Actions ``(T, B, A)`` along recorded episodes of equal length, one batch."""
    frames = torch.stack([data.frames_of(torch.tensor([episode])) for episode in episodes], dim=1)
    policy.reset(len(episodes))
    return torch.stack([policy.act(data.embedding[row], data.proprio[row]) for row in frames])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", STEPWISE)
def test_acting_gives_the_predictions_that_validation_scores(kind: str, shape: tuple) -> None:
    data = make_data(shape)
    policy = make_policy(small(kind), data)
    found = acting_windows(policy.config, data, data.valid_episodes)
    embedding = policy.normalize_embedding(data.embedding)
    proprio = policy.normalize_proprio(data.proprio)
    policy.eval()
    with torch.no_grad():
        predicted = policy.predict(embedding[found.index], proprio[found.index])[found.mask]
    torch.testing.assert_close(play(policy, data, [5])[:, 0], predicted, atol=1e-5, rtol=0)
    assert predicted.abs().max() <= 1


def test_proprioception_that_hardly_varies_is_centered_and_not_scaled_up() -> None:
    data = make_data((5,))
    proprio = data.proprio.clone()
    generator = torch.Generator().manual_seed(0)
    proprio[:, 0] = 0.3 + 2e-6 * torch.randn(len(proprio), generator=generator)
    policy = make_policy(small("mlp"), dataclasses.replace(data, proprio=proprio))
    frames = data.frames_of(data.train_episodes)
    found = policy.normalize_proprio(proprio[frames])
    assert found[:, 0].abs().max() < 1e-4
    assert found[:, 1:].std(dim=0, correction=0) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_negative_features_reach_the_network(kind: str) -> None:
    """A rectifier between the embedding and the network would make these two actions equal."""
    data = make_data((5,))
    policy = make_policy(small(kind, vector_width=0, vector_layer_norm=False), data)
    low = data.embedding.float().amin(dim=0, keepdim=True) - 1
    actions = []
    for embedding in (low, low - 3):
        policy.reset(1)
        actions.append(policy.act(embedding, data.proprio[:1]))
    assert not torch.equal(*actions)


@pytest.mark.parametrize("kind", KINDS)
def test_episodes_do_not_disturb_each_other(kind: str) -> None:
    data = make_data()
    policy = make_policy(small(kind), data)
    together = play(policy, data, [0, 1, 2])
    alone = torch.cat([play(policy, data, [episode]) for episode in (0, 1, 2)], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["rnn_gmm", "transformer"])
def test_reset_forgets_the_past(kind: str) -> None:
    data = make_data()
    policy = make_policy(small(kind), data)
    first = play(policy, data, [0])
    play(policy, data, [1])
    assert torch.equal(play(policy, data, [0]), first)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_ignores_masked_frames_and_reaches_every_weight(kind: str) -> None:
    data = make_data()
    policy = make_policy(small(kind, dropout=0.0), data)
    lead = (6, 3) if policy.config.is_sequence else (6,)
    embedding, proprio = torch.randn(*lead, 4, 4, 6), torch.randn(*lead, 4)
    actions = torch.rand(*lead, 4) * 1.8 - 0.9
    mask = torch.ones(lead, dtype=torch.bool)
    mask[..., -1] = False
    loss = policy.loss(embedding, proprio, actions, mask)
    loss.backward()
    assert [name for name, p in policy.named_parameters() if p.grad is None] == []
    changed = actions.clone()
    changed[..., -1, :] = 0
    torch.testing.assert_close(policy.loss(embedding, proprio, changed, mask), loss)


@pytest.mark.parametrize("loss", ["l1_l2", "smooth_l1", "l2"])
def test_regression_loss_is_zero_only_at_the_label(loss: str) -> None:
    data = make_data((5,))
    policy = make_policy(small("mlp", loss=loss), data)
    embedding, proprio, mask = torch.randn(3, 5), torch.randn(3, 4), torch.ones(3, dtype=torch.bool)
    label = policy.predict(embedding, proprio)
    assert policy.loss(embedding, proprio, label, mask) == 0
    assert policy.loss(embedding, proprio, label + 0.1, mask) > 0


def test_misuse_is_explained() -> None:
    data = make_data((5,))
    policy = make_policy(small("mlp"), data)
    with pytest.raises(ValueError, match="call reset"):
        policy.act(data.embedding[:1], data.proprio[:1])
    policy.reset(2)
    with pytest.raises(ValueError, match=r"embedding \(1, 5\).*takes \(2, 5\) and \(2, 4\)"):
        policy.act(data.embedding[:1], data.proprio[:1])


def test_building_is_quiet_and_keeps_foreign_observation_keys() -> None:
    import robomimic.utils.obs_utils as obs_utils

    make_policy(small("transformer"), make_data())
    known = obs_utils.OBS_KEYS_TO_MODALITIES
    assert known is not None
    known["agentview_image"] = "rgb"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        make_policy(small("transformer"), make_data())
    assert printed.getvalue() == ""
    assert known["agentview_image"] == "rgb"
    assert obs_utils.OBS_KEYS_TO_MODALITIES is known
