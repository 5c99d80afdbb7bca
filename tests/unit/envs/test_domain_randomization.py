from __future__ import annotations

import numpy as np
import pytest

from s2robot.envs.domain_randomization import RandomScenes
from s2robot.envs.pick_cube import PickCubeEnv


@pytest.fixture(scope="module")
def scenes() -> RandomScenes:
    return RandomScenes(seed=0, size=64)


def test_frames_depend_on_seed_and_index_alone(scenes):
    frames = [scenes.frame(i) for i in range(6)]
    again = RandomScenes(seed=0, size=64)
    for index in (4, 1, 5):
        np.testing.assert_array_equal(again.frame(index), frames[index])
    assert not np.array_equal(RandomScenes(seed=1, size=64).frame(0), frames[0])
    np.testing.assert_array_equal(next(iter(scenes)), frames[0])


def test_frames_are_pictures_and_differ(scenes):
    frames = np.stack([scenes.frame(i) for i in range(40)])
    assert frames.shape == (40, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert len({frame.tobytes() for frame in frames}) == 40
    assert np.median(frames.std(axis=(1, 2, 3))) > 15


def test_the_tasks_own_appearance_is_among_them(scenes):
    """Many random frames have the table color of the task."""
    env = PickCubeEnv("precise")
    env.reset(seed=0)
    table = env.render_frame("front", 64, 64)[40:].reshape(-1, 3)
    nominal = np.median(table, axis=0)
    seen = [np.median(scenes.frame(i)[40:].reshape(-1, 3), axis=0) for i in range(60)]
    near = [np.abs(color - nominal).max() < 15 for color in seen]
    assert 0.1 < np.mean(near) < 0.7
