"""Errors with intervals over episodes: frames of an episode resemble each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.stats.intervals import Interval, block_draws, limits

Metric = Callable[[np.ndarray], np.ndarray]
"""Sums (..., K) over frames to a number (...)."""


def split_episodes(episodes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted different ``episodes`` without, and with, a share of them drawn by ``seed``.

    Raises:
        ValueError: one of the two would be empty.
    """
    count = round(share * len(episodes))
    if not 0 < count < len(episodes):
        raise ValueError(
            f"a share of {share} of {len(episodes)} episodes leaves one part empty; "
            "take a share between 0 and 1, and more episodes"
        )
    drawn = np.random.default_rng([seed, 3]).permutation(len(episodes))[:count]
    held_out = np.isin(np.arange(len(episodes)), drawn)
    return episodes[~held_out], episodes[held_out]


@dataclass(frozen=True)
class LocalizationError:
    """Errors on test frames [mm], with 95 % intervals over episodes."""

    mean_mm: Interval
    median_mm: Interval
    frames: int
    episodes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        parts = {"mean_mm": self.mean_mm, "median_mm": self.median_mm}
        intervals = {
            name: {"estimate": i.estimate, "low": i.low, "high": i.high}
            for name, i in parts.items()
        }
        return {**intervals, "frames": self.frames, "episodes": self.episodes}


def error_summary(errors_mm: np.ndarray, episode: np.ndarray) -> LocalizationError:
    """Mean and median of errors (N,), with intervals from resampled episodes (N,).

    Frames of an episode resemble each other, so whole episodes are drawn.
    """
    errors, weights = _resampled(errors_mm, episode)  # (N,), (draws, N)
    order = np.argsort(errors)
    summed = np.cumsum(weights[:, order], axis=1)
    middle = (summed >= summed[:, -1:] / 2).argmax(axis=1)
    medians = errors[order][middle]
    means = weights @ errors / weights.sum(axis=1)
    return LocalizationError(
        Interval(float(errors.mean()), *limits(means)),
        Interval(float(np.median(errors)), *limits(medians)),
        len(errors),
        len(np.unique(episode)),
    )


def mean_difference(first: np.ndarray, second: np.ndarray, episode: np.ndarray) -> Interval:
    """Mean of ``second`` minus ``first`` (N,) on the same frames, intervals from whole episodes."""
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"errors of the same frames are compared; got {np.shape(first)} and {np.shape(second)}"
        )
    difference, weights = _resampled(np.asarray(second) - np.asarray(first), episode)
    means = weights @ difference / weights.sum(axis=1)
    return Interval(float(difference.mean()), *limits(means))


def summed_by_episode(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Sums (E, K) of the frames' values (N, K) over each episode (N,), in the episodes' order."""
    groups, index = np.unique(episode, return_inverse=True)
    sums = np.zeros((len(groups), *np.shape(values)[1:]))
    np.add.at(sums, index, values)
    return sums


def metric_interval(sums: np.ndarray, metric: Metric) -> Interval:
    """A metric of summed values (E, K), with limits from resampled episodes.

    Draws that the metric is not defined on (NaN; a class that none of them shows) are left out.
    """
    draws = metric(block_draws(len(sums)) @ sums)
    return Interval(float(metric(sums.sum(axis=0))), *limits(draws))


def metric_difference(first: np.ndarray, second: np.ndarray, metric: Metric) -> Interval:
    """Metric of ``second`` minus that of ``first``, sums (E, K) over the same episodes, paired.

    Raises:
        ValueError: the shapes differ.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"sums over the same episodes are compared; got {np.shape(first)} and "
            f"{np.shape(second)}"
        )
    draws = block_draws(len(first))
    differences = metric(draws @ second) - metric(draws @ first)
    estimate = metric(second.sum(axis=0)) - metric(first.sum(axis=0))
    return Interval(float(estimate), *limits(differences))


def _resampled(values: np.ndarray, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checked values (N,) and how often each frame is drawn with its episode (draws, N)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.shape != np.shape(episode) or not len(values):
        raise ValueError(
            f"errors and episode must be (N,) each; got {values.shape} and {np.shape(episode)}"
        )
    groups, index = np.unique(episode, return_inverse=True)
    return values, block_draws(len(groups))[:, index]
