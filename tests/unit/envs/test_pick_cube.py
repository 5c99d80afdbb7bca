# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import json
import pickle
import warnings

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from s2robot.envs import ENV_ID
from s2robot.envs.controllers import EE_STEP_M, JOINT_STEP_RAD
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv


def play(env: PickCubeEnv, actions: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [env.step(action)[0] for action in actions]


def assert_same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def random_actions(env: PickCubeEnv, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.sample().shape))


@pytest.mark.render
@pytest.mark.parametrize(
    "kwargs",
    [
        {"level": "easy"},
        {"level": "precise", "control": "joint_delta"},
        {"image_camera": "far", "image_size": (24, 32), "render_mode": "rgb_array"},
        {"yaw_range_rad": 0.5},
    ],
    ids=["easy", "joints", "pictures", "yaw"],
)
def test_gymnasium_accepts_the_environment(kwargs):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space (min|max)imum.*")
        check_env(gym.make(ENV_ID, **kwargs).unwrapped)


@pytest.mark.parametrize(
    ("kwargs", "size"),
    [({}, 4), ({"yaw_range_rad": 0.3}, 5), ({"control": "joint_delta"}, 8)],
)
def test_action_sizes(kwargs, size):
    assert PickCubeEnv(**kwargs).action_space.shape == (size,)


def test_actions_move_what_the_table_says():
    env = PickCubeEnv()
    start = env.reset(seed=0)[0]
    end = env.step(np.array([0.5, -1.0, -0.5, 1.0]))[0]
    np.testing.assert_allclose(
        end["ee_pos"] - start["ee_pos"], EE_STEP_M * np.array([0.5, -1.0, -0.5]), atol=2e-3
    )
    assert end["gripper_width"][0] == pytest.approx(0.08, abs=1e-3)
    assert env.step(np.array([0, 0, 0, -1.0]))[0]["gripper_width"][0] < 0.01


def test_joint_actions_move_joints():
    env = PickCubeEnv(control="joint_delta")
    start = env.reset(seed=0)[0]["joint_pos"]
    action = np.array([1, 0.5, 0, 0, -0.5, 0, -1, 1.0])
    end = env.step(action)[0]["joint_pos"]
    np.testing.assert_allclose(end - start, JOINT_STEP_RAD * action[:7], atol=0.01)


def test_a_held_command_leaves_the_arm_where_it_is():
    env = PickCubeEnv()
    start = env.reset(seed=0)[0]["ee_pos"]
    end = play(env, np.tile([0, 0, 0, 1.0], (15, 1)))[-1]["ee_pos"]
    np.testing.assert_allclose(end, start, atol=1e-3)


def test_pushing_into_the_table_is_stopped_and_let_go_at_once():
    env = PickCubeEnv()
    env.reset(seed=0)
    low = play(env, np.tile([0, 0, -1.0, 1.0], (12, 1)))[-1]["ee_pos"][2]
    assert low == pytest.approx(0.016, abs=3e-3)
    assert env.step(np.array([0, 0, 1.0, 1.0]))[0]["ee_pos"][2] > low + 0.9 * EE_STEP_M


def test_seeds_decide_the_start():
    env = PickCubeEnv("precise")
    first, again, other = (env.reset(seed=seed)[0] for seed in (5, 5, 6))
    assert_same(first, again)
    assert not np.array_equal(first["cube_pos"], other["cube_pos"])
    starts = np.array([env.reset()[0]["cube_pos"] for _ in range(50)])
    assert starts[:, 0].min() >= 0.40
    assert starts[:, 0].max() <= 0.65
    assert np.abs(starts[:, 1]).max() <= 0.15
    assert np.ptp(starts, axis=0)[:2].min() > 0.1


def test_global_seeds_do_not_matter():
    np.random.seed(0)  # noqa: NPY002
    first = PickCubeEnv().reset(seed=1)[0]
    np.random.seed(1)  # noqa: NPY002
    assert_same(first, PickCubeEnv().reset(seed=1)[0])


@pytest.mark.parametrize("control", ["ee_delta", "joint_delta"])
def test_replay_from_a_state_is_bit_identical(control):
    env = PickCubeEnv("precise", control=control)
    expert_like = random_actions(env, 12)
    env.reset(seed=2)
    play(env, expert_like[:5])
    state = env.get_state()
    expected = play(env, expert_like[5:])
    other = PickCubeEnv("precise", control=control)
    seen, _ = other.reset(options={"state": state})
    for observation in (expected, play(other, expert_like[5:])):
        assert_same(observation[-1], expected[-1])
    np.testing.assert_array_equal(env.get_state(), other.get_state())
    assert set(seen) == set(expected[0])


def test_replay_with_the_cube_in_the_gripper_is_bit_identical():
    env, expert = PickCubeEnv("precise"), ScriptedExpert(PickCubeEnv("precise").level)
    observation, _ = env.reset(seed=4)
    states, actions, seen = [], [], []
    for _ in range(16):
        states.append(env.get_state())
        actions.append(expert.action(observation))
        observation, _, _, _, info = env.step(actions[-1])
        seen.append(observation)
    assert info["is_success"]
    for start in (0, 6, 9, 12):
        env.set_state(states[start])
        assert_same(play(env, np.array(actions[start:]))[-1], seen[-1])


def test_observation_after_set_state_is_the_one_before():
    env = PickCubeEnv()
    env.reset(seed=0)
    before, _, _, _, info = env.step(random_actions(env, 1)[0])
    state = env.get_state()
    play(env, random_actions(env, 3))
    after, info_after = env.reset(options={"state": state})
    assert_same(before, after)
    assert info == info_after


def test_pickle_carries_the_episode_on():
    env = PickCubeEnv("precise", yaw_range_rad=0.4)
    env.reset(seed=3)
    actions = random_actions(env, 6)
    play(env, actions[:3])
    copy = pickle.loads(pickle.dumps(env))
    assert_same(play(env, actions[3:])[-1], play(copy, actions[3:])[-1])
    assert_same(env.reset()[0], copy.reset()[0])  # the same random stream
    assert copy.env_kwargs() == env.env_kwargs()


def test_env_kwargs_are_json_and_rebuild_the_environment():
    env = PickCubeEnv("precise", image_camera="far", image_size=(20, 30), quality={"msaa": 2})
    kwargs = json.loads(json.dumps(env.env_kwargs()))
    again = PickCubeEnv(**kwargs)
    assert again.env_kwargs() == env.env_kwargs()
    assert again.observation_space == env.observation_space
    assert again.quality == env.quality


def test_model_xml_is_the_scene():
    env = PickCubeEnv("precise")
    model = mujoco.MjModel.from_xml_string(env.model_xml())
    assert (model.nq, model.nu) == (env.model.nq, env.model.nu)
    assert model.geom("cube").size[0] == pytest.approx(0.03)


def test_success_does_not_end_the_episode_but_the_horizon_does():
    env = PickCubeEnv("easy", horizon=20)
    expert = ScriptedExpert(env.level)
    observation, info = env.reset(seed=0)
    assert info["stage"] == "none"
    stages, ends = [], []
    for _ in range(20):
        observation, reward, terminated, truncated, info = env.step(expert.action(observation))
        assert reward == float(info["is_success"])
        stages.append(info["stage"])
        ends.append((terminated, truncated))
    assert list(dict.fromkeys(stages)) == ["none", "reach", "grasp", "lift", "success"]
    assert info["is_success"]
    assert info["grasped"]
    assert info["cube_height_m"] >= env.level.lift_height_m
    assert ends == [(False, False)] * 19 + [(False, True)]


def test_pressing_on_the_cube_from_above_is_no_grasp():
    env = PickCubeEnv("precise")
    observation, _ = env.reset(seed=0)
    for _ in range(8):  # 16 mm beside the cube, the jaws come down on its top
        offset = observation["cube_pos"] - observation["ee_pos"] + (0.0, 0.016, 0.0)
        action = np.append(np.clip(offset / EE_STEP_M, -1, 1), 1.0)
        observation, _, _, _, info = env.step(action)
        assert not info["grasped"]


@pytest.mark.slow
def test_async_vector_env():
    envs = gym.make_vec(
        ENV_ID, num_envs=2, vectorization_mode="async", level="precise", image_camera="far",
        image_size=32, vector_kwargs={"context": "spawn"},
    )  # fmt: skip
    try:
        observation, _ = envs.reset(seed=7)  # and 8
        assert observation["image"].shape == (2, 32, 32, 3)
        single = PickCubeEnv("precise").reset(seed=8)[0]
        np.testing.assert_array_equal(observation["cube_pos"][1], single["cube_pos"])
        assert envs.step(envs.action_space.sample())[0]["image"].std() > 5
    finally:
        envs.close()


@pytest.mark.render
def test_render_draws_the_levels_camera():
    env = PickCubeEnv("precise", render_mode="rgb_array", image_size=(30, 40))
    env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), env.render_frame("far", 30, 40))
    assert PickCubeEnv().render() is None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"level": "medium"}, r"unknown level 'medium'; available: easy, .*precise"),
        ({"control": "ee_dleta"}, r"unknown control 'ee_dleta'.*did you mean 'ee_delta'"),
        ({"image_camera": "side"}, r"unknown camera 'side'; available: far, front, wrist"),
        ({"render_mode": "human"}, r"unknown render_mode 'human'; available: rgb_array"),
        ({"quality": {"shadows": 1}}, r"unknown quality 'shadows'.*shadow_size"),
        ({"image_size": 0}, r"image_size is 0"),
        ({"horizon": 0}, r"horizon is 0"),
        ({"yaw_range_rad": -1.0}, r"yaw_range_rad is -1\.0"),
    ],
)
def test_bad_arguments_are_explained(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PickCubeEnv(**kwargs)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), r"action has shape \(5,\); control 'ee_delta' .* takes \(4,\)"),
        (np.array([0, np.nan, 0, 0]), "action holds NaN"),
        (np.array([0, np.inf, 0, 0]), "action holds NaN or infinite"),
    ],
)
def test_bad_actions_are_explained(action, message):
    env = PickCubeEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_bad_states_are_explained():
    env = PickCubeEnv()
    env.reset(seed=0)
    good = env.get_state()
    with pytest.raises(ValueError, match=r"state has shape \(7,\), this environment's is \("):
        env.set_state(np.zeros(7))
    with pytest.raises(ValueError, match="state holds NaN"):
        env.set_state(np.full_like(good, np.nan))
    np.testing.assert_array_equal(env.get_state(), good)  # nothing was half-set
