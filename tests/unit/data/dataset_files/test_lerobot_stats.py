"""Statistics of LeRobot data sets."""

from __future__ import annotations

import numpy as np
import pytest

from s2robot.data.dataset_files.lerobot_stats import FrameStats, merged, table_stats


def test_mean_and_spread_of_episodes_merge_to_those_of_all_rows():
    rng = np.random.default_rng(0)
    parts = [rng.normal(center, 1, (rows, 3)) for center, rows in ((0, 5), (4, 17))]
    found, rows = merged([table_stats(part) for part in parts]), np.concatenate(parts)
    for name, expected in (("mean", rows.mean(0)), ("std", rows.std(0)), ("max", rows.max(0))):
        assert np.allclose(found[name], expected)
    assert found["count"] == [22]


def test_quantiles_merge_as_means_of_the_episodes_as_in_lerobot():
    low, high = np.zeros((10, 1)), np.full((30, 1), 4.0)
    assert merged([table_stats(low), table_stats(high)])["q50"] == [pytest.approx(3.0)]


def test_frames_give_the_statistics_of_their_channels_between_0_and_1():
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    gathered = FrameStats(5)
    for frame in frames:
        gathered.add(frame)
    found, pixels = gathered.result(), frames.reshape(-1, 3) / 255
    assert np.allclose(np.ravel(found["mean"]), pixels.mean(axis=0))
    assert np.allclose(np.ravel(found["std"]), pixels.std(axis=0))
    assert np.allclose(np.ravel(found["q50"]), np.median(pixels, axis=0), atol=1 / 255)
    assert np.shape(found["min"]) == (3, 1, 1)


def test_of_a_long_episode_a_hundred_frames_are_counted():
    gathered = FrameStats(1000)
    for _ in range(1000):
        gathered.add(np.zeros((2, 2, 3), np.uint8))
    assert gathered.result()["count"] == [100]
