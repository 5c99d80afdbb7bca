"""dm_control's lift_brick; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named

NAME = "dm-control/lift-brick"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("dm_control") is None, reason="needs dm_control 1.0.50"
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
    assert (env.start, env.rate_hz, env.horizon) == ("state", 25.0, 250)
    assert env.cameras == ("front_close",)
    assert env.proprio_keys() == ("joints", "fingers", "tool_pos", "tool_rotation")
    assert env.action_space.shape == (9,)
    assert env.frame_shape("front_close") == (128, 128)


@pytest.mark.render
def test_a_state_starts_the_same_episode_as_its_seed(env) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 9))
    env.reset(seed=3)
    state = env.get_state()
    from_seed = _episode(env, actions)
    env.reset(seed=8)
    assert not np.array_equal(env.get_state(), state)
    _episode(env, actions[:5])
    first, _ = env.reset(options={"state": state})
    assert np.array_equal(env.get_state(), state)
    assert np.array_equal(_episode(env, actions), from_seed)
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(first[key], again[key]) for key in first)


@pytest.mark.render
def test_looking_changes_nothing(env) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (10, 9))
    env.reset(seed=2)
    blind = _episode(env, actions)
    env.reset(seed=2)
    seen = []
    for action in actions:
        env.render_frame("front_close", 128, 128)
        seen += _episode(env, [action])
    assert np.array_equal(seen, blind)


@pytest.mark.render
def test_a_state_of_another_size_is_refused_with_the_versions(env) -> None:
    with pytest.raises(ValueError, match=r"has 7 numbers; this release of dm_control and MuJoCo"):
        env.reset(options={"state": np.zeros(8)})


@pytest.mark.render
def test_frames_are_upright(env) -> None:
    env.reset(seed=0)
    red, green, blue = np.moveaxis(env.render_frame("front_close", 128, 128).astype(int), -1, 0)
    brick = np.argwhere((red > 130) & (green < 60) & (blue < 60))
    arm = np.argwhere((red < 45) & (green < 45) & (blue < 45))
    assert len(brick) > 8
    assert len(arm) > 100
    assert arm[:, 0].mean() < brick[:, 0].mean() - 20  # the arm hangs above the brick


@pytest.mark.render
def test_the_expert_lifts_the_brick(env) -> None:
    task, lifted = task_named(NAME), 0
    for seed in range(2):
        env.reset(seed=seed)
        expert, noise = task.expert_of(env), task.noise_of(env, seed)
        assert expert is not None
        lifted += any(env.step(noise(expert({})))[-1]["is_success"] for _ in range(200))
    assert lifted >= 1
