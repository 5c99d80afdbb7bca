"""gymnasium-robotics' FetchPickAndPlace; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named

NAME = "fetch/pick-and-place"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gymnasium_robotics") is None,
    reason="needs gymnasium-robotics 1.4.2 and MuJoCo < 3.12",
)


@pytest.fixture(scope="module")
def env() -> Iterator:
    """Make the environment."""
    made = make_env({"level": named_by_user(NAME)})
    yield made
    made.close()


def _episode(env, actions) -> list[np.ndarray]:
    return [np.concatenate(list(env.step(action)[0].values())) for action in actions]


@pytest.mark.render
def test_it_fits_the_contract(env) -> None:
    assert (env.start, env.rate_hz, env.horizon) == ("state", 25.0, 50)
    assert env.cameras == ("front",)
    assert env.proprio_keys() == ("grip_pos", "fingers", "desired_goal")
    assert env.action_space.shape == (4,)
    assert env.frame_shape("front") == (128, 128)


@pytest.mark.render
def test_a_state_starts_the_same_episode_as_its_seed_with_the_same_goal(env) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 4))
    env.reset(seed=3)
    state = env.get_state()
    from_seed = _episode(env, actions)
    other, _ = env.reset(seed=8)
    _episode(env, actions[:5])
    first, _ = env.reset(options={"state": state})
    assert not np.array_equal(first["desired_goal"], other["desired_goal"])
    assert np.array_equal(env.get_state(), state)
    assert np.array_equal(_episode(env, actions), from_seed)
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(first[key], again[key]) for key in first)


@pytest.mark.render
def test_looking_changes_nothing(env) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (20, 4))
    env.reset(seed=2)
    blind = _episode(env, actions)
    env.reset(seed=2)
    seen = []
    for action in actions:
        env.render_frame("front", 128, 128)
        seen += _episode(env, [action])
    assert np.array_equal(seen, blind)


@pytest.mark.render
def test_a_state_of_another_size_is_refused_with_the_versions(env) -> None:
    with pytest.raises(ValueError, match=r"has 7 numbers; this release of gymnasium-robotics"):
        env.reset(options={"state": np.zeros(8)})


@pytest.mark.render
def test_frames_are_upright_with_the_goal_in_them(env) -> None:
    seen = []
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        red, green, blue = np.moveaxis(env.render_frame("front", 128, 128).astype(int), -1, 0)
        goal = np.argwhere((red > 130) & (green < 90) & (blue < 90))
        if len(goal):  # not behind the arm
            seen.append((float(observation["desired_goal"][2]), goal[:, 0].mean()))
    assert len(seen) >= 8
    assert max(seen)[1] < min(seen)[1] - 10  # a goal in the air is higher up


@pytest.mark.render
def test_the_expert_carries_the_block_to_the_goal(env) -> None:
    task, reached = task_named(NAME), 0
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        expert, noise = task.expert_of(env), task.noise_of(env, seed)
        assert expert is not None
        reached += any(
            env.step(noise(expert(observation)))[-1]["is_success"] for _ in range(env.horizon)
        )
    assert reached >= 5
