"""Errors with intervals over episodes, since frames of one episode are similar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.stats.intervals import Interval, block_draws, limits

Metric = Callable[[np.ndarray], np.ndarray]
"""Function from sums (..., K) over frames to numbers (...)."""


def split_episodes(episodes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a random split of episodes.

    Args:
        episodes: sorted, distinct numbers.
        share: fraction of the episodes in the second part.
        seed: of the draw.

    Returns:
        The other episodes, and the drawn ones.

    Raises:
        ValueError: one of the two would be empty.
    """
    count = round(share * len(episodes))
    if not 0 < count < len(episodes):
        raise ValueError(
            f"a fraction of {share} of {len(episodes)} episodes leaves one part empty; "
            "give a fraction between 0 and 1, and more episodes"
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
        """Return JSON-able values."""
        parts = {"mean_mm": self.mean_mm, "median_mm": self.median_mm}
        intervals = {
            name: {"estimate": i.estimate, "low": i.low, "high": i.high}
            for name, i in parts.items()
        }
        return {**intervals, "frames": self.frames, "episodes": self.episodes}


def error_summary(errors_mm: np.ndarray, episode: np.ndarray) -> LocalizationError:
    """Return mean and median error, with intervals from resampling whole episodes.

    Args:
        errors_mm: ``(N,)`` [mm].
        episode: ``(N,)`` episode of each frame.
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
    """Return the mean of ``second`` minus ``first``, with an interval over episodes.

    Args:
        first: ``(N,)`` errors.
        second: ``(N,)`` errors on the same frames.
        episode: ``(N,)`` episode of each frame.

    Raises:
        ValueError: the shapes differ.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"both need errors of the same frames; got {np.shape(first)} and {np.shape(second)}"
        )
    difference, weights = _resampled(np.asarray(second) - np.asarray(first), episode)
    means = weights @ difference / weights.sum(axis=1)
    return Interval(float(difference.mean()), *limits(means))


def summed_by_episode(values: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return the sums over each episode, in the order of the episodes.

    Args:
        values: ``(N, K)``.
        episode: ``(N,)`` episode of each frame.

    Returns:
        ``(E, K)``.

    Examples:
        >>> summed_by_episode(np.array([[1.0], [2.0], [5.0]]), np.array([0, 0, 7]))
        array([[3.],
               [5.]])
    """
    groups, index = np.unique(episode, return_inverse=True)
    sums = np.zeros((len(groups), *np.shape(values)[1:]))
    np.add.at(sums, index, values)
    return sums


def metric_interval(sums: np.ndarray, metric: Metric) -> Interval:
    """Return a metric with an interval from resampling episodes.

    Draws in which the metric is not defined (NaN; a class does not occur) are left out.

    Args:
        sums: ``(E, K)`` sums of each episode.
        metric: of such sums.
    """
    draws = metric(block_draws(len(sums)) @ sums)
    return Interval(float(metric(sums.sum(axis=0))), *limits(draws))


def metric_difference(first: np.ndarray, second: np.ndarray, metric: Metric) -> Interval:
    """Return the metric of ``second`` minus that of ``first``, paired by episode.

    Args:
        first: ``(E, K)`` sums of each episode.
        second: ``(E, K)`` sums of the same episodes.
        metric: of such sums.

    Raises:
        ValueError: the shapes differ.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"both need sums over the same episodes; got {np.shape(first)} and {np.shape(second)}"
        )
    draws = block_draws(len(first))
    differences = metric(draws @ second) - metric(draws @ first)
    estimate = metric(second.sum(axis=0)) - metric(first.sum(axis=0))
    return Interval(float(estimate), *limits(differences))


def _resampled(values: np.ndarray, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return checked values (N,) and how often each frame is drawn with its episode (draws, N)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.shape != np.shape(episode) or not len(values):
        raise ValueError(
            f"errors and episode must be (N,) each; got {values.shape} and {np.shape(episode)}"
        )
    groups, index = np.unique(episode, return_inverse=True)
    return values, block_draws(len(groups))[:, index]
