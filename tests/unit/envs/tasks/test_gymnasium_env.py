"""Adapter from Gymnasium environments to the task contract."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from support.own_tasks import SHAPE, Ending, Reach, ReachEnv, Saved

from s2robot.envs.tasks.gymnasium_env import GymnasiumTaskEnv, flat_observation
from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

STAY = np.array([1 / 3, 1.0])  # of bounds -0.2 to 0.1: 0.0 and 0.1


def made(env: gymnasium.Env, horizon: int | None = 5, **attributes: Any) -> GymnasiumTaskEnv:
    """Return the adapter around an environment."""
    task = GymnasiumTask()
    task.name = "mine"
    for name, value in attributes.items():
        setattr(task, name, value)
    return GymnasiumTaskEnv(task, env, horizon)


def start(env: Any) -> np.ndarray:
    """Return the state of a fresh start by seed 3."""
    env.reset(seed=3)
    return env.get_state()


def test_actions_are_scaled_to_the_bounds_of_the_environment() -> None:
    env = made(ReachEnv())
    before, _ = env.reset(seed=0)
    after = env.step(STAY)[0]
    np.testing.assert_allclose(after["agent_pos"] - before["agent_pos"], [0.0, 0.1], atol=1e-6)
    assert env.action_space.low.tolist() == [-1.0, -1.0]


def test_an_expert_acts_in_the_units_of_the_environment() -> None:
    env = Reach().make({})
    expert = Reach().expert_of(env)
    obs, info = env.reset(seed=1)
    for _ in range(10):
        assert expert is not None
        obs, _, _, _, info = env.step(expert(obs))
    assert info["is_success"]


def test_low_dimensional_observations_are_flat_and_pictures_are_cameras() -> None:
    env = made(ReachEnv())
    obs, _ = env.reset(seed=0)
    assert sorted(obs) == ["agent_pos", "goal"]
    assert all(value.dtype == np.float32 for value in obs.values())
    assert env.cameras == ("render", "pixels.top")
    assert env.frame_shape("pixels.top") == SHAPE
    assert env.proprio_keys() == ("agent_pos",)


def test_an_observation_can_be_the_default_camera() -> None:
    env = made(ReachEnv(render_mode=None), frames="pixels.top")
    assert env.cameras == ("pixels.top",)
    np.testing.assert_array_equal(env.render_frame("pixels.top", *SHAPE), env.env.render())


def test_proprioception_is_what_the_task_names() -> None:
    assert made(ReachEnv(), proprio=("goal",)).proprio_keys() == ("goal",)
    with pytest.raises(ValueError, match=r"unknown observation in proprio 'gaol'.*goal"):
        made(ReachEnv(), proprio=("gaol",)).proprio_keys()


def test_an_environment_without_numbers_gives_a_constant() -> None:
    assert flat_observation(np.zeros((9, 9, 3), np.uint8))["constant"].tolist() == [0.0]


@pytest.mark.parametrize("task", [Reach, Saved])
def test_an_episode_starts_from_its_state_and_goes_on_the_same(task: type[Reach]) -> None:
    env = task().make({})
    state = start(env)
    first = [env.step(STAY)[0] for _ in range(3)]
    env.reset(seed=9)
    env.step(STAY)
    env.reset(options={"state": state})
    again = [env.step(STAY)[0] for _ in range(3)]
    for one, other in zip(first, again, strict=True):
        assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in other.items()}
    assert env.start == ("state" if task is Saved else "seed")


def test_a_state_of_a_later_step_is_refused_with_the_way_there() -> None:
    env = Reach().make({})
    env.step(STAY)
    with pytest.raises(ValueError, match=r"of step 1; allowed: step 0"):
        env.reset(options={"state": env.get_state()})


@pytest.mark.parametrize(
    "state", [np.zeros(3), np.zeros(2, np.float32), np.array([0.0, np.nan]), np.array([0.0, -1.0])]
)
def test_a_vector_that_is_no_state_is_refused(state: np.ndarray) -> None:
    with pytest.raises(ValueError, match="allowed"):
        made(ReachEnv()).check_state(state)


@pytest.mark.parametrize("action", [np.zeros(3), np.array([0.0, np.nan]), np.array(["a", "b"])])
def test_an_action_that_does_not_fit_is_refused(action: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"allowed: \(2,\) finite numbers"):
        made(ReachEnv()).step(action)


def test_nothing_changes_after_the_end_of_an_episode() -> None:
    env = Ending().make({})
    obs, info = env.reset(seed=1)
    expert = Ending().expert_of(env)
    assert expert is not None
    while not info["over"]:
        obs, _, _, _, info = env.step(expert(obs))
    steps = env.env.unwrapped.steps  # pyright: ignore[reportAttributeAccessIssue]
    frame = env.render_frame("render", *SHAPE)
    later, _, _, _, after = env.step(STAY)
    assert info == after == {"is_success": True, "over": True}
    assert env.env.unwrapped.steps == steps < 12  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(later["agent_pos"], obs["agent_pos"])
    np.testing.assert_array_equal(env.render_frame("render", *SHAPE), frame)


def test_an_episode_is_over_at_the_horizon() -> None:
    env = made(ReachEnv(), horizon=2)
    env.reset(seed=0)
    assert [env.step(STAY)[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("key", ["is_success", "success", "succeed"])
def test_success_is_found_under_its_usual_names(key: str) -> None:
    env = made(ReachEnv(key=key))
    env.reset(seed=0)
    assert env.step(STAY)[4]["is_success"] is False


def test_an_info_without_success_is_an_error_that_names_its_entries() -> None:
    env = made(ReachEnv(key="won"))
    with pytest.raises(ValueError, match=r"Name the entry, as gym:ID.success_key=NAME or"):
        env.step(STAY)


def test_a_named_success_that_never_comes_is_an_error_at_the_end() -> None:
    env = made(ReachEnv(), horizon=2, success_key="won")
    assert env.step(STAY)[4]["is_success"] is False
    with pytest.raises(ValueError, match="looked for won; the info has success"):
        env.step(STAY)


def test_termination_can_be_the_success() -> None:
    env = made(ReachEnv(terminates=True), horizon=30, success_key="terminated")
    obs, info = env.reset(seed=1)
    expert = env.scaled_expert(Reach().expert(env.env))
    assert expert is not None
    while not info["over"]:
        obs, _, _, _, info = env.step(expert(obs))
    assert info["is_success"]


@pytest.mark.parametrize(
    "space", [spaces.Discrete(2), spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(0, 1, (2, 2))]
)
def test_an_action_space_that_cannot_be_scaled_is_refused(space: spaces.Space) -> None:
    env = ReachEnv()
    env.action_space = space  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="allowed: a Box of one dimension with finite bounds"):
        made(env)


def test_an_environment_that_cannot_draw_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"render mode is None; frames need .*gym:ID.frames=KEY"):
        made(ReachEnv(render_mode=None))


def test_an_environment_without_a_time_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no time limit; give .*horizon"):
        made(ReachEnv(), horizon=None)


@pytest.mark.parametrize(
    "frame", [None, [], np.zeros((64, 64, 3)), np.zeros((3, 64, 64), np.uint8)]
)
def test_what_is_no_picture_is_refused(frame: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReachEnv, "render", lambda _: frame)
    with pytest.raises(ValueError, match=r"render\(\) gives .*allowed: \(H, W, 3\) uint8 RGB"):
        made(ReachEnv())


def test_frames_of_another_size_than_the_policys_are_refused() -> None:
    with pytest.raises(ValueError, match="gives frames of 32x40 px, wanted are 64x64"):
        made(ReachEnv()).render_frame("render", 64, 64)


def test_an_unknown_camera_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(ValueError, match=r"'pixels.tip'.*pixels.top, render"):
        made(ReachEnv()).frame_shape("pixels.tip")
