"""Tasks of the package lerobot-env-so101; skipped where it is not installed (`make test-tasks`)."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user

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
