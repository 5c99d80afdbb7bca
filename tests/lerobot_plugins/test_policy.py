"""The LeRobot policy; skipped where LeRobot is not installed (`make test-lerobot`)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lerobot", reason="LeRobot is not in this environment: make test-lerobot")

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.utils.constants import ACTION
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy
from support.lerobot_data import small_lerobot
from support.lerobot_policies import FRONT, HEADS, new_policy, open_set, small_config
from support.tiny_models import write_tiny_model
from torch.utils.data import default_collate

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import MismatchError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_lerobot(tmp_path_factory.mktemp("data"))


def batch_of(dataset: Any, pre: Any, rows: list[int]) -> dict[str, Any]:
    return pre(default_collate(dataset.__getitems__(rows)))


@pytest.mark.parametrize("episodes", [None, [1, 2]], ids=["all", "some"])
@pytest.mark.parametrize("kind", list(HEADS))
def test_rows_are_those_of_lerobot_without_pictures(root, tmp_path, kind, episodes):
    config = small_config(tmp_path, HEADS[kind])
    read = open_set(root, config, episodes=episodes)
    own = open_set(root, config, episodes=episodes)
    new_policy(config, own)
    rows = list(range(len(own)))
    for item, expected in zip(own.__getitems__(rows), (read[row] for row in rows), strict=True):
        assert FRONT not in item
        assert item["task"] == expected["task"]
        for key in (ACTION, "observation.state", "index", "timestamp", "episode_index"):
            torch.testing.assert_close(item[key], expected[key])
        if "action_is_pad" in expected:
            assert torch.equal(item["action_is_pad"], expected["action_is_pad"])


def test_other_data_sets_are_read_as_before(root, tmp_path):
    dataset = open_set(root, small_config(tmp_path))
    (item,) = dataset.__getitems__([5])
    assert torch.equal(item[FRONT], dataset[5][FRONT])


def test_a_worker_of_a_loader_gets_the_same_rows(root, tmp_path):
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    new_policy(config, dataset)
    sent = pickle.loads(pickle.dumps(dataset))
    for item, expected in zip(sent.__getitems__([0, 7]), dataset.__getitems__([0, 7]), strict=True):
        assert torch.equal(item[ACTION], expected[ACTION])


@pytest.mark.parametrize("kind", list(HEADS))
def test_the_loss_on_stored_embeddings_is_that_on_pictures(root, tmp_path, kind):
    config = small_config(tmp_path, HEADS[kind])
    dataset = open_set(root, config)
    policy, pre, _ = new_policy(config, dataset)
    policy.eval()
    rows = [0, 3, 9, len(dataset) - 1]
    stored, _ = policy(batch_of(dataset, pre, rows))
    with_pictures = pre(default_collate([dataset[row] for row in rows]))
    policy._meta = None
    encoded, _ = policy(with_pictures)
    torch.testing.assert_close(stored, encoded, rtol=2e-3, atol=2e-3)  # stored in half precision


def test_each_frame_is_encoded_once(root, tmp_path, monkeypatch):
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    policy, pre, _ = new_policy(config, dataset)
    policy(batch_of(dataset, pre, [0, 1]))
    monkeypatch.setattr(FrameEncoder, "encode_scales", None)  # a call would be an error
    monkeypatch.setattr(FrameEncoder, "__call__", None)
    policy(batch_of(dataset, pre, [2, 3]))
    again, pre, _ = new_policy(small_config(tmp_path), dataset)  # another training, same folder
    again(batch_of(dataset, pre, [2, 3]))


def test_the_encoder_is_frozen_and_saved_by_reference(root, tmp_path):
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    policy, pre, _ = new_policy(config, dataset)
    trained = [p for group in policy.get_optim_params() for p in group["params"]]
    assert {id(p) for p in trained} == {id(p) for p in policy.parameters()}
    before = {k: v.clone() for k, v in policy.cameras.encoder.backbone.model.state_dict().items()}
    policy.train()
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    loss, _ = policy(batch_of(dataset, pre, [0, 1, 2]))
    loss.backward()
    optimizer.step()
    after = policy.cameras.encoder.backbone.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not policy.cameras.encoder.backbone.model.training
    assert {name.partition(".")[0] for name in policy.state_dict()} == {"policy", "is_fitted"}
    assert config.encoder_spec["weights_digest"] == policy.cameras.encoder.backbone.weights_digest


@pytest.fixture
def saved(root, tmp_path) -> tuple[Path, S2robotPolicy, dict[str, Any]]:
    """A saved policy, and pictures of three environments."""
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    policy, pre, post = new_policy(config, dataset)
    policy(batch_of(dataset, pre, [0, 1]))
    for part in (policy, pre, post):
        part.save_pretrained(tmp_path / "model")
    items = [dataset[row] for row in (0, 6, 12)]
    seen = {
        key: torch.stack([i[key][-1] for i in items])
        for key in ("observation.state", FRONT, FRONT.replace("agentview", "robot0_eye_in_hand"))
    }
    return tmp_path / "model", policy.eval(), seen


def test_a_loaded_policy_acts_as_the_saved_one(saved):
    folder, policy, seen = saved
    loaded = S2robotPolicy.from_pretrained(folder)
    for one in (policy, loaded):
        one.reset()
    for _ in range(3):
        assert torch.equal(policy.select_action(seen), loaded.select_action(seen))
    assert policy.predict_action_chunk(seen).shape == (3, 4, 3)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_the_first_action_of_a_chunk_is_that_of_an_episode_that_begins(saved, tmp_path, kind):
    _, _, seen = saved
    config = small_config(tmp_path, HEADS[kind])
    policy, _, _ = new_policy(config, open_set(small_lerobot(tmp_path / "set"), config))
    policy.eval()
    torch.manual_seed(0)
    chunk = policy.predict_action_chunk(seen)
    policy.reset()
    torch.manual_seed(0)
    torch.testing.assert_close(chunk[:, 0], policy.select_action(seen))


def test_weights_of_samples_are_refused(root, tmp_path):
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    policy, pre, _ = new_policy(config, dataset)
    with pytest.raises(ValueError, match="reduction is 'none'; allowed: mean"):
        policy(batch_of(dataset, pre, [0, 1]), reduction="none")


def test_episodes_of_another_number_begin_with_a_reset(saved):
    folder, policy, seen = saved
    policy.reset()
    policy.select_action(seen)
    first = policy.select_action({key: value[:1] for key, value in seen.items()})
    assert first.shape == (1, 3)


def test_weights_that_are_not_those_of_the_training_are_refused(saved):
    folder, _, _ = saved
    write_tiny_model(folder.parent, preprocessing={
        "mean": [0.1, 0.1, 0.1], "std": [0.2, 0.3, 0.25], "input_size": 32})  # fmt: skip
    with pytest.raises(MismatchError, match="digest|weights"):
        S2robotPolicy.from_pretrained(folder)


def test_weights_of_another_head_are_refused(saved):
    folder, _, _ = saved
    config = PreTrainedConfig.from_pretrained(folder, cli_overrides=["--head.transformer_width=32"])
    with pytest.raises(MismatchError, match="copy the folder again"):
        S2robotPolicy.from_pretrained(folder, config=config)


def test_settings_of_the_encoder_cannot_change_after_training(saved):
    folder, _, _ = saved
    config = PreTrainedConfig.from_pretrained(folder, cli_overrides=["--scales=[1,2]"])
    with pytest.raises(MismatchError, match=r"policy\.scales is \(1\.0, 2\.0\).*trained with"):
        S2robotPolicy.from_pretrained(folder, config=config)


def test_a_camera_that_is_missing_is_named(saved):
    _, policy, seen = saved
    policy.reset()
    with pytest.raises(KeyError, match="lacks observation.images.agentview.*rename_map"):
        policy.select_action({k: v for k, v in seen.items() if k != FRONT})


def test_frames_of_another_size_are_named(saved):
    _, policy, seen = saved
    policy.reset()
    wrong = {**seen, FRONT: seen[FRONT][..., :24]}
    with pytest.raises(MismatchError, match=r"agentview has frames of 32 × 24 px.* 32 × 32 px"):
        policy.select_action(wrong)


def test_an_unknown_backbone_is_named(root, tmp_path):
    config = small_config(tmp_path, backbone="s2r-vitt16-12")
    with pytest.raises(ValueError, match="s2r-vitt16-12.*did you mean 's2r-vitt16-128'"):
        new_policy(config, open_set(root, config))


def test_image_transforms_are_refused(root, tmp_path):
    config = small_config(tmp_path)
    dataset = open_set(root, config, image_transforms=lambda image: image)
    new_policy(config, dataset)
    with pytest.raises(ValueError, match="image_transforms.enable=false"):
        dataset.__getitems__([0])


def test_past_actions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="past_actions"):
        small_config(tmp_path, HEADS["act"].__class__(kind="act", past_actions=True))


@pytest.mark.parametrize("mode", ["QUANTILES", "QUANTILE10"])
def test_quantiles_without_a_range_give_way_to_minimum_and_maximum(root, tmp_path, mode):
    """LeRobot averages quantiles over episodes, so those of a goal are both its mean."""
    chosen = NormalizationMode(mode)
    config = small_config(tmp_path, normalization_mapping={"STATE": chosen, "ACTION": chosen})
    dataset = open_set(root, config)
    for low, high in (("q01", "q99"), ("q10", "q90")):
        for key in (ACTION, "observation.state"):
            stats = dataset.meta.stats[key]  # pyright: ignore[reportOptionalSubscript]
            stats[low][0] = stats[high][0] = stats["mean"][0]
    _, pre, post = new_policy(config, dataset)
    batch = batch_of(dataset, pre, list(range(len(dataset))))
    for key in (ACTION, "observation.state"):
        assert 0.5 < batch[key][..., 0].abs().max() <= 1 + 1e-5
    assert batch[ACTION][..., 2].abs().max() == 0  # it is constant, 7
    assert post(torch.zeros(1, 3))[0, 2] == 7


def test_what_hardly_varies_is_not_scaled(root, tmp_path):
    """The third action is constant, 7; LeRobot's own rule would divide by 1e-8."""
    config = small_config(tmp_path)
    dataset = open_set(root, config)
    _, pre, post = new_policy(config, dataset)
    batch = batch_of(dataset, pre, [0, 5])
    assert batch[ACTION][..., 2].abs().max() == 0
    assert post(torch.zeros(1, 3))[0, 2] == 7
