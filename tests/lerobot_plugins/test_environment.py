"""Pick-cube behind LeRobot's names; skipped where LeRobot is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("lerobot", reason="LeRobot is not in this environment: make test-lerobot")

from lerobot.envs import close_envs, preprocess_observation
from lerobot.envs.factory import make_env, make_env_pre_post_processors
from lerobot.envs.utils import env_to_policy_features
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.scripts.lerobot_eval import eval_policy
from lerobot_env_s2robot import S2RobotPickCubeEnvConfig
from support.expert_policies import ENV_KWARGS, PROPRIO, ExpertPolicy
from support.lerobot_policies import vector_env

from s2robot.evaluation.config import FIRST_SEEDS
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.evaluation.rollout import Agent, Batch, roll_out
from s2robot.evaluation.vector_env import make_vector_env

STEPS, EPISODES, FAILS = 14, 3, (1,)


def small(**changes: Any) -> S2RobotPickCubeEnvConfig:
    options = {"image_size": 32, "state_keys": PROPRIO, "horizon": STEPS}
    return S2RobotPickCubeEnvConfig(**{**options, **changes})


@pytest.fixture
def envs() -> Iterator[Any]:
    """Three environments as lerobot-eval makes them."""
    made = make_env(small(cameras=("front", "wrist")), n_envs=EPISODES, use_async_envs=False)
    yield made["s2robot_pick_cube"][0]
    close_envs(made)


class _Expert(PreTrainedPolicy):
    """The scripted expert on the ground truth of some environments, behind LeRobot's interface."""

    config_class: Any = ACTConfig
    name: Any = "expert"

    def __init__(self, envs: Any, fails: tuple[int, ...]) -> None:
        super().__init__(ACTConfig(device="cpu"))
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.envs, self.expert = envs, ExpertPolicy(fails)

    def select_action(self, batch: dict[str, Any], **_: Any) -> torch.Tensor:
        cubes = np.stack([env.unwrapped._env.observe()["cube_pos"] for env in self.envs.envs])
        return self.expert.act(torch.from_numpy(cubes), batch["observation.state"])

    def reset(self) -> None:
        self.expert.reset(len(self.envs.envs))

    def get_optim_params(self) -> dict[str, Any]:
        return {}

    def forward(self, batch: dict[str, Any]) -> Any:
        raise NotImplementedError

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> torch.Tensor:
        raise NotImplementedError


def test_success_counted_by_lerobot_is_ours_on_the_same_seeds(envs):
    seed = FIRST_SEEDS["test"]
    own = make_initial_states("easy", "test", EPISODES, ENV_KWARGS)
    vector = make_vector_env({**ENV_KWARGS, "horizon": STEPS}, EPISODES, None)
    agent = Agent(ExpertPolicy(FAILS), PROPRIO, baseline="state")
    (episodes,) = roll_out([Batch(agent, own.states)], vector, STEPS)
    vector.close()
    expected = np.any(episodes.info["is_success"], axis=1).tolist()
    pre, post = make_env_pre_post_processors(env_cfg=small(), policy_cfg=ACTConfig(device="cpu"))
    own_pre, own_post = make_pre_post_processors(ACTConfig(device="cpu"))
    found = eval_policy(
        envs, _Expert(envs, FAILS), pre, post, own_pre, own_post, EPISODES, start_seed=seed
    )
    assert [row["success"] for row in found["per_episode"]] == expected
    assert expected == [True, False, True]


def test_observations_have_lerobots_names(envs):
    seen = preprocess_observation(envs.reset(seed=[0, 1, 2])[0])
    shapes = {key: tuple(value.shape) for key, value in seen.items()}
    assert shapes == {
        "observation.images.front": (3, 3, 32, 32),
        "observation.images.wrist": (3, 3, 32, 32),
        "observation.state": (3, 4),
        "observation.ee_pos": (3, 3),
        "observation.gripper_width": (3, 1),
    }
    joined = torch.cat([seen["observation.ee_pos"], seen["observation.gripper_width"]], dim=1)
    assert torch.equal(seen["observation.state"], joined)
    assert 0.1 < float(seen["observation.images.front"].mean()) < 0.9
    assert not torch.equal(seen["observation.images.front"], seen["observation.images.wrist"])


def test_features_are_those_of_the_observations():
    features = env_to_policy_features(small(cameras=("front", "wrist")))
    assert {key: tuple(feature.shape) for key, feature in features.items()} == {
        "action": (4,),
        "observation.state": (4,),
        "observation.images.front": (3, 32, 32),
        "observation.images.wrist": (3, 32, 32),
    }


def test_every_info_tells_success_and_the_last_one_too(envs):
    """LeRobot takes a final info without it for success of the whole batch."""
    envs.reset(seed=[0, 1, 2])
    info = {}
    for _ in range(STEPS):
        info = envs.step(envs.action_space.sample() * 0)[-1]
        last = info["final_info"] if "final_info" in info else info
        assert last["is_success"].tolist() == [False] * 3
    assert "final_info" in info


def test_attributes_that_asynchronous_environments_are_asked_for(envs):
    for name in ("task", "task_description"):
        assert all(isinstance(value, str) for value in envs.call(name))
    assert envs.call("_max_episode_steps") == (STEPS,) * 3
    assert envs.metadata["render_fps"] == 5


def test_pictures_for_videos_are_those_of_the_observation(envs):
    seen = envs.reset(seed=[0, 1, 2])[0]
    assert np.array_equal(envs.envs[1].render(), seen["pixels"]["front"][1])


def test_unknown_options_of_a_reset_are_ignored(envs):
    first = envs.envs[0].reset(seed=4)[0]
    again = envs.envs[0].reset(seed=4, options={"lerobot_new_rollout": True})[0]
    assert np.array_equal(first["agent_pos"], again["agent_pos"])


def test_asynchronous_environments_run():
    env = vector_env(small(), 2, use_async_envs=True)
    seen = preprocess_observation(env.reset(seed=[0, 1])[0])
    one = vector_env(small(), 2)
    expected = preprocess_observation(one.reset(seed=[0, 1])[0])
    assert torch.equal(seen["observation.state"], expected["observation.state"])
    assert list(env.call("task_description")) == ["Pick up the cube."] * 2
    one.close()
    env.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("top",)}, "camera.*'top'.*front"),
        ({"cameras": ()}, "cameras is empty"),
        ({"state_keys": ("speed",)}, "speed.*ee_pos"),
        ({"level": "esy"}, "esy.*easy"),
    ],
    ids=["camera", "no camera", "measurement", "level"],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)
