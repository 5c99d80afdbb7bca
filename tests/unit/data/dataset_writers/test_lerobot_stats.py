"""Statistics of LeRobot data sets."""

from __future__ import annotations

import numpy as np

from s2robot.data.dataset_writers.lerobot_stats import DatasetStats, FrameStats

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def test_statistics_of_numbers_are_those_of_all_rows():
    """A goal is constant within an episode: a mean of its quantiles would have no range."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(center, 1, (rows, 2)) for center, rows in ((0, 5), (4, 17), (-9, 250))]
    parts = [np.c_[part, np.full(len(part), i)] for i, part in enumerate(parts)]
    gathered, rows = DatasetStats(), np.concatenate(parts)
    for part in parts:
        gathered.add_rows("action", part)
    found = gathered.result()["action"]
    for name in ("mean", "std", "max", "min"):
        assert np.allclose(found[name], getattr(rows, name)(axis=0))
    for name, share in QUANTILES.items():
        assert np.allclose(found[name], np.quantile(rows, share, axis=0), atol=0, rtol=1e-12)
    assert found["q99"][2] > found["q01"][2]
    assert found["count"] == [272]


def test_quantiles_of_pixels_are_numpys_over_all_episodes():
    rng = np.random.default_rng(1)
    bright = [rng.integers(low, low + 40, (frames, 6, 5, 3), dtype=np.uint8)
              for low, frames in ((0, 3), (200, 7), (90, 1))]  # fmt: skip
    gathered = DatasetStats()
    for frames in bright:
        of_episode = FrameStats(len(frames))
        for frame in frames:
            of_episode.add(frame)
        gathered.add_frames("front", of_episode)
    found, pixels = gathered.result()["front"], np.concatenate(bright).reshape(-1, 3) / 255
    for name, share in QUANTILES.items():
        assert np.allclose(np.ravel(found[name]), np.quantile(pixels, share, axis=0))
    assert np.allclose(np.ravel(found["mean"]), pixels.mean(axis=0))
    assert found["count"] == [11]


def test_an_episode_counts_as_much_as_it_has_frames_though_fewer_are_sampled():
    gathered = DatasetStats()
    for level, frames in ((255, 900), (0, 100)):
        of_episode = FrameStats(frames)
        for _ in range(frames):
            of_episode.add(np.full((2, 2, 3), level, np.uint8))
        gathered.add_frames("front", of_episode)
    found = gathered.result()["front"]
    assert np.allclose(found["mean"], 0.9)
    assert (np.ravel(found["q01"])[0], np.ravel(found["q50"])[0]) == (0, 1)
    assert found["count"] == [200]


def test_frames_give_the_statistics_of_their_channels_between_0_and_1():
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    gathered = FrameStats(5)
    for frame in frames:
        gathered.add(frame)
    found, pixels = gathered.result(), frames.reshape(-1, 3) / 255
    assert np.allclose(np.ravel(found["mean"]), pixels.mean(axis=0))
    assert np.allclose(np.ravel(found["std"]), pixels.std(axis=0))
    assert np.allclose(np.ravel(found["q50"]), np.median(pixels, axis=0))
    assert np.shape(found["min"]) == (3, 1, 1)


def test_of_a_long_episode_a_hundred_frames_are_counted():
    gathered = FrameStats(1000)
    for _ in range(1000):
        gathered.add(np.zeros((2, 2, 3), np.uint8))
    assert gathered.result()["count"] == [100]
