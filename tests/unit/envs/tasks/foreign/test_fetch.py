"""gymnasium-robotics' FetchPickAndPlace; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user

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
