"""robomimic's rollouts on its own environment of robosuite's Lift, with an S2Core in the policy.

Skipped where robosuite is not installed (`make test-tasks`).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.robomimic_configs import bc, write_config
from support.tiny_models import write_tiny_model

pytestmark = [
    pytest.mark.render,
    pytest.mark.skipif(
        importlib.util.find_spec("robosuite") is None,
        reason="needs robosuite 1.5.2 and MuJoCo < 3.9",
    ),
    pytest.mark.filterwarnings("ignore::s2robot.plugins.robomimic.core.SmallFrameWarning"),
]
SIZE, STEPS = 48, 3
ENV = {
    "env_name": "Lift",
    "type": 1,
    "env_version": "1.5.2",
    "env_kwargs": {
        "robots": ["Panda"],
        "camera_names": ["agentview"],
        "camera_heights": SIZE,
        "camera_widths": SIZE,
        "control_freq": 20,
        "reward_shaping": False,
    },
}
"""`env_args` as robomimic's files of Lift have them."""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy of random weights on frames and the gripper's place, as robomimic saves it."""
    from robomimic.algo import algo_factory
    from robomimic.utils import obs_utils, train_utils

    from s2robot.plugins.robomimic.configuration import read_config

    for name in ("OBS_MODALITIES_TO_KEYS", "OBS_KEYS_TO_MODALITIES", "DEFAULT_ENCODER_KWARGS"):
        monkeypatch.setattr(obs_utils, name, getattr(obs_utils, name))
    given = bc(tmp_path / "none.hdf5", tmp_path)
    core = given["observation"]["encoder"]["rgb"]["core_kwargs"]
    core = {**core, "backbone": f"file:{write_tiny_model(tmp_path)}"}
    given["observation"]["encoder"]["rgb"]["core_kwargs"] = core
    config = read_config(write_config(tmp_path / "bc.json", given))
    obs_utils.initialize_obs_utils_with_config(config)
    sizes = OrderedDict(agentview_image=[3, SIZE, SIZE], robot0_eef_pos=[3])
    torch.manual_seed(0)
    model = algo_factory("bc", config, sizes, 7, torch.device("cpu"))
    shapes = {"ac_dim": 7, "all_shapes": sizes, "all_obs_keys": list(sizes), "use_images": True}
    train_utils.save_model(model, config, ENV, shapes, str(tmp_path / "model.pth"))
    return tmp_path / "model.pth"


class _Watched:
    """Observations that a policy was given."""

    def __init__(self, policy: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        get = policy.policy.get_action

        def watched(obs_dict: Any, goal_dict: Any = None) -> Any:
            self.seen.append({key: value[0].numpy() for key, value in obs_dict.items()})
            return get(obs_dict=obs_dict, goal_dict=goal_dict)

        policy.policy.get_action = watched


def test_a_policy_with_our_core_is_rolled_out_by_robomimic_on_lift(checkpoint: Path) -> None:
    from robomimic.scripts.run_trained_agent import rollout
    from robomimic.utils import file_utils

    importlib.import_module("s2robot.plugins.robomimic")
    policy, content = file_utils.policy_from_checkpoint(ckpt_path=str(checkpoint))
    watched = _Watched(policy)
    env, _ = file_utils.env_from_checkpoint(ckpt_dict=content)
    assert type(env).__module__ == "robomimic.envs.env_robosuite"
    assert "mujoco_py" not in sys.modules
    stats, trajectory = rollout(policy, env, STEPS)
    assert (stats["Horizon"], stats["Success_Rate"]) == (STEPS, 0.0)
    assert trajectory["actions"].shape == (STEPS, 7)
    assert np.ptp(trajectory["actions"], axis=0).max() > 0  # what it sees changes them
    frame = watched.seen[0]["agentview_image"]
    assert frame.shape == (3, SIZE, SIZE)
    assert frame[:, -12:].mean() > frame[:, :8].mean() + 0.1  # upright: the white table is below
    moved = np.diff([seen["robot0_eef_pos"] for seen in watched.seen], axis=0)
    assert 1e-5 < np.abs(moved).max() < 0.1
