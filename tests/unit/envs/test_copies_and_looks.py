"""Copies go on as the original does, and looking changes nothing."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from s2robot.envs import ENV_ID
from s2robot.envs.domain_randomization import RandomScenes
from s2robot.envs.expert import JointSpaceExpert, ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
KWARGS = {
    "easy": {"level": "easy"},
    "joints": {"level": "precise", "control": "joint_delta"},
    "perturbed": {"level": "mixed", "horizon": 7, "yaw_range_rad": 0.3},
}


@pytest.fixture(params=COPIES)
def copied(request) -> Callable[[Any], Any]:
    return COPIES[request.param]


def course(env: Any, seed: int | None = None) -> list[np.ndarray]:
    """Return what an environment does next: two episodes of actions that it samples itself."""
    found = []
    for _ in range(2):
        for _ in range(3):
            action = env.action_space.sample()
            observation, reward, _, truncated, info = env.step(action)
            found += [action, *observation.values(), np.array([reward, truncated])]
            found += [np.array([info["cube_height_m"]]), env.unwrapped.get_state()]
        observation, _ = env.reset(seed=seed)
        found += [*observation.values(), env.unwrapped.get_state()]
    return found


def assert_same_course(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kwargs", KWARGS.values(), ids=list(KWARGS))
def test_a_copy_in_mid_episode_goes_on_as_the_original(copied, kwargs):
    env = PickCubeEnv(**kwargs)
    env.action_space.seed(1)
    env.reset(seed=5)
    for _ in range(4):
        env.step(env.action_space.sample())
    again = copied(env)
    assert again.np_random_seed == env.np_random_seed == 5
    assert again.appearance == env.appearance
    assert again.env_kwargs() == env.env_kwargs()
    assert_same_course(course(again), course(env))


def test_a_copy_does_not_share_the_random_stream(copied):
    env, alone = PickCubeEnv(), PickCubeEnv()
    env.reset(seed=5)
    alone.reset(seed=5)
    again = copied(env)
    again.reset()  # draws, and so does its action space
    again.action_space.sample()
    np.testing.assert_array_equal(env.reset()[0]["cube_pos"], alone.reset()[0]["cube_pos"])


def test_a_copy_before_the_first_reset_has_no_seed_and_takes_the_next(copied):
    env = PickCubeEnv()
    env.action_space.seed(2)
    again = copied(env)
    assert again._np_random is None
    assert_same_course(course(again, seed=7), course(env, seed=7))
    assert again.np_random_seed == 7


def test_a_copy_after_close_goes_on(copied):
    env = PickCubeEnv()
    env.reset(seed=3)
    env.action_space.seed(0)
    env.close()
    assert_same_course(course(copied(env)), course(env))


def test_a_copy_between_begin_and_advance_finishes_the_action(copied):
    env = PickCubeEnv()
    env.reset(seed=3)
    env.begin(np.array([1.0, -0.5, -1.0, 1.0]))
    env.advance(15)
    again, rested = copied(env), PickCubeEnv()
    rested.set_state(env.get_state())  # drops the action
    for each in (env, again, rested):
        each.advance(25)
    np.testing.assert_array_equal(again.get_state(), env.get_state())
    assert np.linalg.norm(again.observe()["ee_pos"] - rested.observe()["ee_pos"]) > 0.01


@pytest.mark.parametrize("copied", [COPIES["pickle"], copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_of_a_wrapped_environment_goes_on(copied):
    env = gym.make(ENV_ID, level="hard", max_episode_steps=5)
    env.action_space.seed(1)
    env.reset(seed=5)
    env.step(env.action_space.sample())
    again = copied(env)
    assert again.spec == env.spec
    assert again.unwrapped.np_random_seed == 5
    assert_same_course(course(again), course(env))


def test_a_wrapped_copy_that_was_not_reset_still_refuses_to_step():
    again = pickle.loads(pickle.dumps(gym.make(ENV_ID)))
    with pytest.raises(gym.error.ResetNeeded):
        again.step(again.action_space.sample())


def test_a_subclass_keeps_its_own_attributes(copied):
    class Counting(PickCubeEnv):
        def __init__(self, label: str) -> None:
            super().__init__("precise")
            self.label = label

    env = Counting("mine")
    env.reset(seed=1)
    if copied is COPIES["pickle"]:
        again = Counting.__new__(Counting)  # a local class has no address for pickle
        again.__setstate__(pickle.loads(pickle.dumps(env.__getstate__())))
    else:
        again = copied(env)
    assert (again.label, again.level.name) == ("mine", "precise")


@pytest.mark.process
def test_a_pickle_goes_on_in_another_process(tmp_path):
    env = PickCubeEnv("mixed")
    env.action_space.seed(1)
    env.reset(seed=5)
    env.step(env.action_space.sample())
    (tmp_path / "env.pkl").write_bytes(pickle.dumps(env))
    script = (
        "import pickle, sys, pathlib\n"
        "env = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "env.step(env.action_space.sample()); env.reset()\n"
        "print(env.np_random_seed, env.get_state().tobytes().hex())\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "env.pkl")]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    env.step(env.action_space.sample())
    env.reset()
    assert found == ["5", env.get_state().tobytes().hex()]


def test_a_pickle_from_a_mujoco_that_differs_is_refused(monkeypatch):
    monkeypatch.setattr("mujoco.__version__", "3.14.0")
    saved = pickle.dumps(PickCubeEnv())
    monkeypatch.setattr("mujoco.__version__", "3.15.0")
    with pytest.raises(MismatchError, match=r"could not go on .*3\.14\.0 and 3\.15\.0"):
        pickle.loads(saved)


# ------------------------------------------------------------------------------------------ looks
LOOKS: dict[str, Callable[[PickCubeEnv], object]] = {
    "np_random": lambda env: env.np_random,
    "np_random_seed": lambda env: env.np_random_seed,
    "get_state": lambda env: env.get_state(),
    "observe": lambda env: env.observe(),
    "info": lambda env: env.info(),
    "joints": lambda env: env.joints(),
    "appearance": lambda env: env.appearance,
    "env_kwargs": lambda env: env.env_kwargs(),
    "model_xml": lambda env: env.model_xml(),
    "repr": repr,
    "level": lambda env: (env.level, env.quality, env.image_shape),
    "kinematics": lambda env: env.kinematics.inverse(np.zeros(7), np.ones(3), np.eye(4)[0]),
    "expert": lambda env: ScriptedExpert(env.level).action(env.observe()),
    "joint expert": lambda env: JointSpaceExpert(env.level, env.kinematics).action(env.observe()),
    "pickle": pickle.dumps,
    "deepcopy": copy.deepcopy,
}
DRAWN_LOOKS: dict[str, Callable[[PickCubeEnv], object]] = {
    "render": lambda env: env.render(),
    "render_frame": lambda env: env.render_frame("wrist", 20, 30),
    "render_labels": lambda env: env.render_labels("far", 20, 30),
    "pickle": pickle.dumps,
}


def looked_at(look: Callable[[PickCubeEnv], object], drawn: bool) -> list[np.ndarray]:
    """Return the course of an environment that is looked at before each step."""
    env = PickCubeEnv("mixed", render_mode="rgb_array", image_size=24)
    env.action_space.seed(3)
    env.reset(seed=5)
    found = []
    for _ in range(3):
        for _ in range(2):
            look(env)
            env.step(env.action_space.sample())
            found.append(env.get_state())
            found += [
                env.data.cam_xpos.copy(),
                env.data.cam_xmat.copy(),
                env.data.light_xpos.copy(),
            ]
            if drawn:
                found.append(env.render_frame("far", 24, 24))
        look(env)
        env.reset()
        found.append(env.get_state())
    return found


@pytest.mark.parametrize("look", LOOKS.values(), ids=list(LOOKS))
def test_looking_changes_no_state(look):
    assert_same_course(looked_at(look, drawn=False), looked_at(lambda _: None, drawn=False))


@pytest.mark.render
@pytest.mark.parametrize(
    "look", [*DRAWN_LOOKS.values(), pickle.dumps], ids=[*DRAWN_LOOKS, "pickle"]
)
def test_looking_changes_no_state_and_no_picture(look):
    assert_same_course(looked_at(look, drawn=True), looked_at(lambda _: None, drawn=True))


@pytest.mark.render
def test_rendering_a_perturbed_episode_leaves_the_cameras_where_they_were():
    env = PickCubeEnv("hard")
    env.reset(seed=0)
    before = env.data.cam_xpos.copy(), env.data.light_xpos.copy()
    env.render_frame("far", 20, 20)
    np.testing.assert_array_equal(env.data.cam_xpos, before[0])
    np.testing.assert_array_equal(env.data.light_xpos, before[1])


@pytest.mark.render
def test_labels_are_those_of_the_picture_in_either_order():
    first, second = PickCubeEnv("hard"), PickCubeEnv("hard")
    for env in (first, second):
        env.reset(seed=0)
    labels = first.render_labels("far", 48, 48)
    second.render_frame("far", 48, 48)
    after = second.render_labels("far", 48, 48)
    np.testing.assert_array_equal(labels.geom_id, after.geom_id)
    np.testing.assert_array_equal(labels.depth_m, after.depth_m)
    nominal = PickCubeEnv("precise")
    nominal.reset(seed=0)
    assert (labels.depth_m != nominal.render_labels("far", 48, 48).depth_m).any()  # moved camera


@pytest.mark.render
def test_a_copy_draws_what_the_original_draws_and_holds_no_gl_context(copied):
    env = PickCubeEnv("hard", render_mode="rgb_array", image_size=(24, 32), quality={"msaa": 2})
    env.reset(seed=5)
    picture = env.render()
    again = copied(env)
    np.testing.assert_array_equal(again.render(), picture)
    env.close()
    np.testing.assert_array_equal(again.render(), picture)


@pytest.mark.render
def test_random_scenes_do_not_depend_on_what_was_drawn_before():
    scenes, fresh = RandomScenes(3, size=32), RandomScenes(3, size=32)
    expected = [fresh.frame(i) for i in range(4)]
    for index in (2, 0, 3, 1):
        scenes.segments(index, 16)
        np.testing.assert_array_equal(scenes.frame(index), expected[index])
        scenes.segments((index + 1) % 4, 16)
    again = copy.deepcopy(scenes)
    np.testing.assert_array_equal(again.frame(2), expected[2])


@pytest.mark.parametrize("control", ["ee_delta", "joint_delta"])
def test_a_copied_expert_acts_as_the_original(copied, control):
    env = PickCubeEnv("precise", control=control)
    observation, _ = env.reset(seed=0)
    expert: Any = ScriptedExpert(env.level)
    if control == "joint_delta":
        expert = JointSpaceExpert(env.level, env.kinematics)
    again = copied(expert)
    for _ in range(12):
        action = expert.action(observation)
        np.testing.assert_array_equal(again.action(observation), action)
        observation = env.step(action)[0]
