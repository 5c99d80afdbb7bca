"""Tasks of the package lerobot-env-so101; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named

NAMES = ["so101/pick-cube", "so101/pick-place"]


def _installed() -> bool:
    try:
        return bool(importlib.metadata.version("lerobot-env-so101"))
    except importlib.metadata.PackageNotFoundError:
        return False


needs_package = pytest.mark.skipif(not _installed(), reason="needs lerobot-env-so101 0.4")


@pytest.fixture(params=NAMES)
def env(request: pytest.FixtureRequest) -> Iterator:
    """Make the environment of each task."""
    made = make_env({"level": named_by_user(request.param)})
    yield made
    made.close()


def _episode(env, actions) -> list[np.ndarray]:
    return [env.step(action)[0]["agent_pos"] for action in actions]


@needs_package
def test_it_fits_the_contract(env) -> None:
    assert (env.start, env.rate_hz, env.proprio_keys()) == ("state", 10.0, ("agent_pos",))
    assert env.action_space.shape == (4,)
    assert env.frame_shape("render") == (128, 128)


@needs_package
def test_a_state_starts_the_same_episode_as_its_seed(env) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 4))
    env.reset(seed=3)
    state = env.get_state()
    from_seed = _episode(env, actions)
    env.reset(seed=8)
    other = env.get_state()
    env.reset(options={"state": state})
    assert np.array_equal(env.get_state(), state)
    assert not np.array_equal(other, state)
    assert np.array_equal(_episode(env, actions), from_seed)


@needs_package
def test_a_state_of_another_size_is_refused_with_the_versions(env) -> None:
    with pytest.raises(ValueError, match=r"has 7 numbers; this release of lerobot-env-so101"):
        env.reset(options={"state": np.zeros(8)})


@needs_package
@pytest.mark.render
def test_frames_are_upright(env) -> None:
    env.reset(seed=0)
    frame = env.render_frame("render", 128, 128).astype(int)
    red, green, blue = np.moveaxis(frame, -1, 0)
    arm = np.nonzero((red > 150) & (green > 100) & (blue < 90))[0]
    cube = np.nonzero((red > 120) & (blue > 120) & (green < red - 20))[0]
    assert len(arm) > 50
    assert len(cube) > 10
    assert arm.mean() < cube.mean()  # the arm stands behind and above the cube
    assert frame[:12].std(axis=(0, 1)).max() < frame[-64:].std(axis=(0, 1)).max()  # the sky is even


@needs_package
@pytest.mark.render
def test_the_goal_is_in_the_frames_where_there_is_one() -> None:
    def green_pixels(name: str) -> int:
        made = make_env({"level": named_by_user(name)})
        made.reset(seed=1)
        red, green, blue = np.moveaxis(made.render_frame("render", 128, 128).astype(int), -1, 0)
        made.close()
        return int(((green > red + 40) & (green > blue + 40)).sum())

    assert green_pixels("so101/pick-place") > 20
    assert green_pixels("so101/pick-cube") == 0


@needs_package
def test_the_expert_succeeds_on_most_starts(env) -> None:
    task, successes = task_named(env.env_kwargs()["level"]), 0
    for seed in range(4):
        env.reset(seed=seed)
        expert, noise = task.expert_of(env), task.noise_of(env, seed)
        assert expert is not None
        for _ in range(env.horizon):
            info = env.step(noise(expert({})))[-1]
            if info["is_success"]:
                successes += 1
                break
    assert successes >= 3
