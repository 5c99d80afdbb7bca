"""One policy in LeRobot and in s2robot; skipped where LeRobot is not installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lerobot", reason="LeRobot is not in this environment: make test-lerobot")

from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs import preprocess_observation
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.processor import (
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    UnnormalizerProcessorStep,
)
from lerobot.utils.constants import (
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from lerobot_env_s2robot import S2RobotPickCubeEnvConfig
from lerobot_policy_s2robot import S2robotConfig
from lerobot_policy_s2robot.__main__ import main
from lerobot_policy_s2robot.conversion import to_lerobot, to_policy_file
from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy
from support.expert_policies import ENV_KWARGS, PROPRIO
from support.lerobot_data import small_lerobot
from support.lerobot_policies import (
    FRONT,
    HEADS,
    new_policy,
    open_set,
    policy_file,
    small_config,
    vector_env,
)
from torch.utils.data import default_collate

from s2robot import load_policy
from s2robot.data.config import cameras_of
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.evaluation.env_group import CameraView
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.evaluation.rollout import Agent, Batch, roll_out
from s2robot.evaluation.vector_env import make_vector_env

STEPS, EPISODES, SEED = 5, 2, 2_000_000


@pytest.fixture
def env_config() -> S2RobotPickCubeEnvConfig:
    return S2RobotPickCubeEnvConfig(image_size=32, state_keys=PROPRIO, horizon=STEPS)


def actions_in_lerobot(policy: Any, env_config: Any, pre: Any, post: Any) -> np.ndarray:
    """Return actions (B, T, A) in LeRobot's environment, through its processors."""
    env = vector_env(env_config, EPISODES)
    policy.reset()
    seen, found = env.reset(seed=[SEED, SEED + 1])[0], []
    for _ in range(STEPS):
        batch = {**preprocess_observation(seen), "task": [""] * EPISODES}
        with torch.inference_mode():
            action = post(policy.select_action(pre(batch)))
        found.append(action.numpy())
        seen = env.step(found[-1])[0]
    env.close()
    return np.stack(found, axis=1)


def actions_of_file(path: Path) -> np.ndarray:
    """Return actions (B, T, A) of a policy file in our own rollouts."""
    loaded = load_policy(path, device="cpu", runtime="eager")
    views = [CameraView.of(camera) for camera in cameras_of(loaded.header.frames)]
    envs = make_vector_env({**ENV_KWARGS, "horizon": STEPS}, EPISODES, views[0])
    agent = Agent(loaded.policy, loaded.proprio_keys, loaded.encoder)  # pyright: ignore[reportArgumentType]
    states = make_initial_states("easy", "test", EPISODES, ENV_KWARGS).states
    (episodes,) = roll_out([Batch(agent, states)], envs, STEPS)
    envs.close()
    return episodes.actions


PAST = dataclasses.replace(HEADS["act"], past_actions=True)
"""As the recipe s2-paper has it; `lerobot-train` cannot train it."""


@pytest.mark.parametrize("head", [HEADS["act"], HEADS["mlp"], PAST], ids=["act", "mlp", "past"])
def test_a_policy_file_acts_alike_in_lerobot(tmp_path, env_config, head):
    path = policy_file(tmp_path, head)
    expected = actions_of_file(path)
    config = S2robotConfig(checkpoint=str(path), device="cpu", runtime="eager")
    policy = make_policy(config, env_cfg=env_config)
    pre, post = make_pre_post_processors(config)
    found = actions_in_lerobot(policy, env_config, pre, post)
    assert float(np.abs(found - expected).max()) == 0
    assert np.ptp(expected) > 0.01

    to_lerobot(path, tmp_path / "folder", "eager")
    path.unlink()  # the folder does without it
    again = S2robotPolicy.from_pretrained(tmp_path / "folder")
    pre, post = make_pre_post_processors(again.config, str(tmp_path / "folder"))
    assert float(np.abs(actions_in_lerobot(again, env_config, pre, post) - expected).max()) == 0


@pytest.fixture
def trained(tmp_path) -> tuple[Path, Any]:
    """Folder of a policy on one camera of recorded data, and its data set."""
    root = small_lerobot(tmp_path)
    config = small_config(tmp_path, HEADS["act"])
    dataset = open_set(root, config)
    policy, pre, post = new_policy(config, dataset)
    policy(pre(default_collate(dataset.__getitems__([0, 1]))))
    for part in (policy, pre, post):
        part.save_pretrained(tmp_path / "folder")
    return tmp_path / "folder", dataset


def test_a_policy_of_lerobot_acts_alike_as_a_policy_file(trained, tmp_path):
    folder, dataset = trained
    policy = S2robotPolicy.from_pretrained(folder).eval()
    pre, post = make_pre_post_processors(policy.config, str(folder))
    to_policy_file(folder, tmp_path / "policy.safetensors")
    own = load_policy(tmp_path / "policy.safetensors", device="cpu", runtime="eager")
    assert own.proprio_keys == ("observation.state",)
    policy.reset()
    for row in range(3):
        keys = [k for k in dataset[row] if k.startswith("observation.") and "is_pad" not in k]
        batch = {key: dataset[row][key][-1:] for key in keys}
        expected = post(policy.select_action(pre({**batch, "task": [""]}))).numpy()
        frames = {
            key: (batch[key] * 255).round().byte().movedim(1, -1).numpy() for key in own.cameras
        }
        found = own(frames, {"observation.state": batch["observation.state"].numpy()})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_policy_of_pick_cube_goes_to_lerobot_and_back(tmp_path, env_config):
    """Weights of a head for the environment, normalized by LeRobot's processors."""
    config = small_config(tmp_path, HEADS["mlp"])
    policy: Any = make_policy(config, env_cfg=env_config)
    stats = {
        "observation.state": {"mean": torch.full((4,), 0.3), "std": torch.full((4,), 0.2)},
        "action": {"min": torch.full((4,), -0.8), "max": torch.full((4,), 1.0)},
    }
    pre, post = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, pre, post):
        part.save_pretrained(tmp_path / "folder")
    words = ["to-policy", str(tmp_path / "folder"), str(tmp_path / "own.safetensors")]
    assert main([*words, "--level", "easy", "--proprio", *PROPRIO]) == 0
    found = actions_of_file(tmp_path / "own.safetensors")
    expected = actions_in_lerobot(policy.eval(), env_config, pre, post)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert FRONT not in (config.input_features or {})


@pytest.mark.parametrize(
    ("proprio", "message"),
    [
        (("ee_pos",), "has 4 entries.*'ee_pos': 3.*--proprio"),
        (("ee_quat",), "quaternion.*--low-dim"),
        (("speed",), "speed.*ee_pos"),
    ],
    ids=["too few", "quaternion", "unknown"],
)
def test_measurements_that_do_not_fit_are_named(tmp_path, env_config, proprio, message):
    config = small_config(tmp_path, HEADS["mlp"])
    policy: Any = make_policy(config, env_cfg=env_config)
    stats = {
        "observation.state": {"mean": torch.zeros(4), "std": torch.ones(4)},
        "action": {"min": -torch.ones(4), "max": torch.ones(4)},
    }
    pre, post = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, pre, post):
        part.save_pretrained(tmp_path / "folder")
    with pytest.raises((MismatchError, ValueError), match=message):
        to_policy_file(tmp_path / "folder", tmp_path / "own.safetensors", "easy", proprio)


def test_a_constant_entry_stays_as_lerobot_has_it(trained, tmp_path):
    """With --policy.path, LeRobot's processors have raw statistics: std 0, min equal to max."""
    folder, dataset = trained
    stats = {key: dict(value) for key, value in dataset.meta.stats.items()}
    stats["observation.state"]["std"] = 0 * stats["observation.state"]["std"]
    stats["action"]["min"] = stats["action"]["min"].copy()
    stats["action"]["min"][0] = stats["action"]["max"][0]
    config = S2robotPolicy.from_pretrained(folder).config
    for part in NormalizerSteps.of(config, stats):
        part.save_pretrained(folder)
    to_policy_file(folder, tmp_path / "policy.safetensors")
    own = load_policy(tmp_path / "policy.safetensors", device="cpu", runtime="eager").policy
    assert torch.isfinite(1 / own.proprio_normalizer.std).all()
    assert own.action_units is not None
    assert own.action_units.half_range[0] == 0
    assert own.action_units.half_range[1] > 0


class NormalizerSteps:
    """Processors with statistics as they are."""

    @staticmethod
    def of(config: Any, stats: Any) -> list[Any]:
        features = {**config.input_features, **config.output_features}
        mapping = config.normalization_mapping
        pre = NormalizerProcessorStep(features, mapping, stats)
        post = UnnormalizerProcessorStep(config.output_features, mapping, stats)
        return [
            PolicyProcessorPipeline([pre], name=POLICY_PREPROCESSOR_DEFAULT_NAME),
            PolicyProcessorPipeline([post], name=POLICY_POSTPROCESSOR_DEFAULT_NAME),
        ]


def test_classes_that_a_processor_names_are_not_made(trained, tmp_path):
    folder, _ = trained
    path = folder / "policy_preprocessor.json"
    content = json.loads(path.read_text())
    content["steps"].append({"class": "pathlib.Path", "config": {"wrong": 1}})
    path.write_text(json.dumps(content))
    to_policy_file(folder, tmp_path / "policy.safetensors")
    content["steps"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match=r"policy_preprocessor.json.*copy the folder again"):
        to_policy_file(folder, tmp_path / "other.safetensors")


def test_folders_that_hold_no_policy_of_ours_are_named(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(FileNotFoundError, match="has no config.json; give a folder"):
        to_policy_file(tmp_path / "none", tmp_path / "policy.safetensors")
    act = ACTConfig(device="cpu", push_to_hub=False)
    act.save_pretrained(tmp_path / "act")
    with pytest.raises(MismatchError, match="holds a policy act; allowed: s2robot"):
        to_policy_file(tmp_path / "act", tmp_path / "policy.safetensors")
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (folder / name).write_text('{"name": "none", "steps": []}')
    with pytest.raises(MismatchError, match="no statistics of action, observation.state"):
        to_policy_file(folder, tmp_path / "policy.safetensors")


def test_pictures_that_pick_cube_does_not_draw_are_refused(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(MismatchError, match="actions have 3 entries, which no control of level"):
        to_policy_file(folder, tmp_path / "policy.safetensors", "easy", ())


def test_settings_of_a_converted_policy_cannot_change(tmp_path):
    to_lerobot(policy_file(tmp_path), tmp_path / "folder", "eager")
    config = PreTrainedConfig.from_pretrained(tmp_path / "folder", cli_overrides=["--scales=[1,2]"])
    with pytest.raises(MismatchError, match=r"policy\.scales is \(1\.0, 2\.0\).*trained with"):
        S2robotPolicy.from_pretrained(tmp_path / "folder", config=config)


def test_the_command_names_a_missing_file(tmp_path, capsys):
    assert main(["to-lerobot", str(tmp_path / "no.safetensors"), str(tmp_path / "folder")]) == 1
    assert "no policy file" in capsys.readouterr().err


def test_a_folder_that_exists_is_kept(tmp_path):
    with pytest.raises(FileExistsError, match="delete it"):
        to_lerobot(tmp_path / "any", tmp_path)
