"""dm_control's lift_brick; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user

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


@pytest.mark.render
def test_frames_are_upright(env) -> None:
    env.reset(seed=0)
    red, green, blue = np.moveaxis(env.render_frame("front_close", 128, 128).astype(int), -1, 0)
    brick = np.argwhere((red > 130) & (green < 60) & (blue < 60))
    arm = np.argwhere((red < 45) & (green < 45) & (blue < 45))
    assert len(brick) > 8
    assert len(arm) > 100
    assert arm[:, 0].mean() < brick[:, 0].mean() - 20  # the arm hangs above the brick
