"""robosuite's Lift; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named

NAME = "robosuite/lift"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("robosuite") is None, reason="needs robosuite 1.5.2 and MuJoCo < 3.9"
)


@pytest.fixture(scope="module")
def env() -> Iterator:
    """Make the environment, which compiles robosuite's controllers the first time."""
    made = make_env({"level": named_by_user(NAME)})
    yield made
    made.close()


def _episode(env, actions) -> list[np.ndarray]:
    return [np.concatenate(list(env.step(action)[0].values())) for action in actions]


@pytest.mark.render
def test_it_fits_the_contract(env) -> None:
    assert (env.start, env.rate_hz, env.horizon) == ("state", 20.0, 100)
    assert env.cameras == ("agentview", "wrist")
    assert env.proprio_keys() == ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    assert env.action_space.shape == (7,)
    assert env.frame_shape("agentview") == env.frame_shape("wrist") == (128, 128)


@pytest.mark.render
def test_a_state_starts_the_same_episode_as_its_seed(env) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 7))
    env.reset(seed=3)
    state = env.get_state()
    from_seed = _episode(env, actions)
    env.reset(seed=8)
    assert not np.array_equal(env.get_state(), state)
    _episode(env, actions[:2])
    first, _ = env.reset(options={"state": state})
    assert np.array_equal(env.get_state(), state)
    assert np.array_equal(_episode(env, actions), from_seed)
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(first[key], again[key]) for key in first)


@pytest.mark.render
def test_looking_changes_nothing(env) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (3, 7))
    env.reset(seed=2)
    blind = _episode(env, actions)
    env.reset(seed=2)
    seen = []
    for action in actions:
        env.render_frame("wrist", 128, 128)
        seen += _episode(env, [action])
    assert np.array_equal(seen, blind)


@pytest.mark.render
def test_a_state_of_another_size_is_refused_with_the_versions(env) -> None:
    with pytest.raises(ValueError, match=r"has 7 numbers; this release of robosuite and MuJoCo"):
        env.reset(options={"state": np.zeros(8)})


@pytest.mark.render
def test_frames_are_upright(env) -> None:
    env.reset(seed=0)
    frame = env.render_frame("agentview", 128, 128).astype(int)
    red, green, blue = np.moveaxis(frame, -1, 0)
    cube = np.argwhere((red > 120) & (green < 100) & (blue < 100))
    assert len(cube) > 20
    assert 40 < cube[:, 0].mean() < 90
    assert frame[-40:].mean() > frame[:20].mean() + 30  # the white table is below, the wall above
    wrist = env.render_frame("wrist", 128, 128)
    assert wrist[-10:].mean() < 100 < wrist[:60].mean()  # the dark hand is at the lower edge


@pytest.mark.render
def test_the_expert_lifts_the_cube(env) -> None:
    task = task_named(NAME)
    for seed in range(2):
        env.reset(seed=seed)
        expert, noise = task.expert_of(env), task.noise_of(env, seed)
        assert expert is not None
        lifted = [env.step(noise(expert({})))[-1]["is_success"] for _ in range(60)]
        assert any(lifted)
