"""Statistics of a LeRobot data set: of each episode, and of all as LeRobot merges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED_FRAMES = 100
"""Frames of an episode and camera that statistics are made of, evenly spaced."""
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
        self._seen = self._sampled = 0

    def add(self, frame: np.ndarray) -> None:
        """Count a frame ``(H, W, 3)`` uint8, if it is one of those that are sampled."""
        if self._seen in self._wanted:
            for channel in range(3):
                self._counts[channel] += np.bincount(frame[..., channel].ravel(), minlength=256)
            self._sampled += 1
        self._seen += 1

    def result(self) -> Stats:
        """Return the statistics, each of shape (3, 1, 1), and the number of frames."""
        levels = np.arange(256) / 255
        total = self._counts.sum(axis=1)
        mean = self._counts @ levels / total
        variance = self._counts @ levels**2 / total - mean**2
        found = {
            "min": levels[[np.flatnonzero(row)[0] for row in self._counts]],
            "max": levels[[np.flatnonzero(row)[-1] for row in self._counts]],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
            **{name: self._quantile(share, levels) for name, share in QUANTILES.items()},
        }
        shaped = {name: array.reshape(3, 1, 1).tolist() for name, array in found.items()}
        return {**shaped, "count": [self._sampled]}

    def _quantile(self, share: float, levels: np.ndarray) -> np.ndarray:
        rising = np.cumsum(self._counts, axis=1)
        return levels[[int(np.searchsorted(row, share * row[-1])) for row in rising]]


def merged(parts: Sequence[Mapping[str, Any]]) -> Stats:
    """Return the statistics of several episodes together.

    As in LeRobot, the quantiles are means of the episodes' quantiles, not quantiles of the data.

    Args:
        parts: statistics of the episodes.
    """
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    arrays = {
        name: np.array([part[name] for part in parts]) for name in parts[0] if name != "count"
    }
    shares = (counts / counts.sum()).reshape(-1, *[1] * (arrays["mean"].ndim - 1))
    mean = (shares * arrays["mean"]).sum(axis=0)
    spread = arrays["std"] ** 2 + (arrays["mean"] - mean) ** 2
    found = {
        "min": arrays["min"].min(axis=0),
        "max": arrays["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt((shares * spread).sum(axis=0)),
        **{name: (shares * arrays[name]).sum(axis=0) for name in QUANTILES},
    }
    return {**{name: array.tolist() for name, array in found.items()}, "count": [int(counts.sum())]}
