"""Metrics of probes as functions of sums over frames, so that episodes can be resampled.

Each takes sums (..., K) and returns numbers (...), NaN where it is not defined.
"""

from __future__ import annotations

import numpy as np

from s2robot.analysis.probes.intervals import Metric
from s2robot.stats.intervals import Interval, block_draws, limits


def mean(sums: np.ndarray) -> np.ndarray:
    """Of sums (..., 2): of values, and how many there are."""
    return _share(sums[..., 0], sums[..., 1])


def root_mean(first: int) -> Metric:
    """Of squares' sum in column ``first`` and how many there are in the next."""

    def metric(sums: np.ndarray) -> np.ndarray:
        return np.sqrt(_share(sums[..., first], sums[..., first + 1]))

    return metric


def balanced_accuracy(first: int) -> Metric:
    """Mean of the shares of both classes told rightly.

    Columns from ``first``: of positive frames those told rightly and wrongly, then of negative.
    """

    def metric(sums: np.ndarray) -> np.ndarray:
        right, wrong = sums[..., [first, first + 2]], sums[..., [first + 1, first + 3]]
        return _share(right, right + wrong).mean(axis=-1)

    return metric


def counts_of(told: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Columns (N, 4) for ``balanced_accuracy``, of booleans (N,)."""
    columns = [positive & told, positive & ~told, ~positive & ~told, ~positive & told]
    return np.stack(columns, axis=1).astype(float)


def confusion(segments: np.ndarray, told: np.ndarray, classes: int) -> np.ndarray:
    """Pixels (n, K · K) of each frame by true class and told class, of labels (n, L, L)."""
    pairs = segments.astype(np.int64) * classes + told
    counts = [np.bincount(frame.ravel(), minlength=classes**2) for frame in pairs]
    return np.stack(counts).astype(float)


def class_iou(classes: int) -> Metric:
    """Intersection over union (..., K) of each class, from confusion (..., K · K)."""

    def metric(sums: np.ndarray) -> np.ndarray:
        table = sums.reshape(*sums.shape[:-1], classes, classes)
        met = np.diagonal(table, axis1=-2, axis2=-1)
        return _share(met, table.sum(axis=-1) + table.sum(axis=-2) - met)

    return metric


def one_iou(number: int, classes: int) -> Metric:
    """Intersection over union of one class, from confusion (..., K · K)."""
    every = class_iou(classes)
    return lambda sums: every(sums)[..., number]


def mean_iou(classes: int) -> Metric:
    """Mean over those classes that are seen or told, from confusion (..., K · K)."""
    every = class_iou(classes)

    def metric(sums: np.ndarray) -> np.ndarray:
        coverage = every(sums)
        return _share(np.nansum(coverage, axis=-1), (~np.isnan(coverage)).sum(axis=-1))

    return metric


def auroc(scores: np.ndarray, positive: np.ndarray, episode: np.ndarray) -> Interval:
    """Chance that a positive frame scores above a negative one, with limits over episodes.

    Args:
        scores: (N,)
        positive: (N,) bool
        episode: (N,)
    """
    groups, index = np.unique(episode, return_inverse=True)
    draws = block_draws(len(groups))[:, index]
    found = _weighted_auroc(scores, positive, np.concatenate([np.ones((1, len(scores))), draws]))
    return Interval(float(found[0]), *limits(found[1:]))


def _weighted_auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of frames that count ``weights`` (draws, N) times: (draws,); equal scores count half."""
    order = np.argsort(scores)
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    up, down = (
        np.add.reduceat(weights[:, order] * mask[order], starts, axis=1)
        for mask in (positive, ~positive)
    )  # (draws, different scores)
    below = np.cumsum(down, axis=1) - down / 2
    return _share((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing to divide by."""
    filled = np.where(whole > 0, whole, 1)
    return np.where(whole > 0, part / filled, np.nan)
