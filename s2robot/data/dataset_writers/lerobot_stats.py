"""Statistics of a LeRobot data set: of each episode, and of all frames together.

LeRobot's own recorder averages the quantiles of episodes, which are no quantiles of the data where
episodes differ. Here those of the data set are of all rows, and of all frames that were sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED_FRAMES = 100
"""Frames of an episode and camera that statistics are made of, evenly spaced."""
_LEVELS = np.arange(256) / 255
Stats = dict[str, Any]
"""min, max, mean, std, count and quantiles as nested lists."""


def table_stats(values: np.ndarray) -> Stats:
    """Return the statistics of the columns of a table ``(T, d)``."""
    values = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        **{name: np.quantile(values, share, axis=0) for name, share in QUANTILES.items()},
    }
    return {**{name: array.tolist() for name, array in found.items()}, "count": [len(values)]}


class FrameStats:
    """Statistics of the channels of a camera's frames, in [0, 1], gathered frame by frame.

    Args:
        frames: number of frames of the episode.
    """

    def __init__(self, frames: int) -> None:
        count = min(frames, SAMPLED_FRAMES)
        self._wanted = set(np.linspace(0, frames - 1, count).round().astype(int).tolist())
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._seen = self.sampled = 0

    def add(self, frame: np.ndarray) -> None:
        """Count a frame ``(H, W, 3)`` uint8, if it is one of those that are sampled."""
        if self._seen in self._wanted:
            for channel in range(3):
                self._counts[channel] += np.bincount(frame[..., channel].ravel(), minlength=256)
            self.sampled += 1
        self._seen += 1

    def pixels(self) -> np.ndarray:
        """Return pixels by channel and level ``(3, 256)``, as many as all frames have.

        Each sampled frame stands for the frames around it, so that a long episode counts as much as
        it has frames.
        """
        return self._counts * (self._seen / self.sampled)

    def result(self) -> Stats:
        """Return the statistics, each of shape (3, 1, 1), and the number of frames."""
        return pixel_stats(self._counts, self.sampled)


class DatasetStats:
    """Statistics of all frames of a data set, gathered episode by episode."""

    def __init__(self) -> None:
        self._tables: dict[str, list[np.ndarray]] = {}
        self._pixels: dict[str, np.ndarray] = {}
        self._sampled: dict[str, int] = {}

    def add_rows(self, key: str, values: np.ndarray) -> None:
        """Add an episode of a feature of numbers.

        Args:
            key: the feature.
            values: its rows ``(T, d)`` or ``(T,)``.
        """
        self._tables.setdefault(key, []).append(values)

    def add_frames(self, key: str, frames: FrameStats) -> None:
        """Add an episode of a camera.

        Args:
            key: the camera's feature.
            frames: its frames, all counted.
        """
        self._pixels[key] = self._pixels.get(key, 0) + frames.pixels()
        self._sampled[key] = self._sampled.get(key, 0) + frames.sampled

    def result(self) -> dict[str, Stats]:
        """Return the statistics of each feature."""
        tables = {key: table_stats(np.concatenate(parts)) for key, parts in self._tables.items()}
        cameras = {key: pixel_stats(self._pixels[key], self._sampled[key]) for key in self._pixels}
        return {**tables, **cameras}


def pixel_stats(counts: np.ndarray, frames: int) -> Stats:
    """Return the statistics of pixels in [0, 1], each of shape (3, 1, 1).

    Args:
        counts: pixels by channel and level ``(3, 256)``.
        frames: number of frames that were counted.
    """
    total = counts.sum(axis=1)
    mean = counts @ _LEVELS / total
    variance = counts @ _LEVELS**2 / total - mean**2
    found = {
        "min": _LEVELS[[np.flatnonzero(row)[0] for row in counts]],
        "max": _LEVELS[[np.flatnonzero(row)[-1] for row in counts]],
        "mean": mean,
        "std": np.sqrt(np.maximum(variance, 0)),
        **{
            name: np.array([_quantile(row, share) for row in counts])
            for name, share in QUANTILES.items()
        },
    }
    shaped = {name: array.reshape(3, 1, 1).tolist() for name, array in found.items()}
    return {**shaped, "count": [frames]}


def _quantile(counts: np.ndarray, share: float) -> float:
    """Return a quantile of pixels, linear between neighbors as numpy's."""
    rising = np.cumsum(counts)
    place = share * (rising[-1] - 1)
    ends = [np.floor(place), min(np.floor(place) + 1, rising[-1] - 1)]
    levels = np.minimum(np.searchsorted(rising, ends, side="right"), len(counts) - 1)
    low, high = _LEVELS[levels]
    return float(low + (place - ends[0]) * (high - low))
