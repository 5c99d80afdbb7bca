"""robosuite's Lift; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user

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


def test_observations_are_those_of_the_end_of_a_step(env) -> None:
    """robosuite's own grow older by a simulation step with each extra reading."""
    env.reset(seed=0)
    state = env.get_state()
    for _ in range(3):
        env.reset(options={"state": state})
    for _ in range(3):
        seen = env.step(np.array([0.5, -0.5, 0.5, 0.0, 0.0, 0.0, 1.0]))[0]["robot0_joint_pos"]
        joints = env.get_state()[2:9]  # behind the steps left and the time
        np.testing.assert_allclose(seen, joints, rtol=0, atol=1e-6)
