"""Metrics of probes as functions of sums over frames, so that episodes can be resampled.

Each takes sums (..., K) and returns numbers (...); NaN where it is not defined.
"""

from __future__ import annotations

import numpy as np

from s2robot.analysis.probes.intervals import Metric
from s2robot.stats.intervals import Interval, block_draws, limits


def mean(sums: np.ndarray) -> np.ndarray:
    """Return the mean from sums (..., 2) of values and of counts."""
    return _share(sums[..., 0], sums[..., 1])


def root_mean(first: int) -> Metric:
    """Return the root mean square metric of a sum of squares and a count.

    Args:
        first: column of the sum of squares; the count is in the next.
    """

    def metric(sums: np.ndarray) -> np.ndarray:
        return np.sqrt(_share(sums[..., first], sums[..., first + 1]))

    return metric


def balanced_accuracy(first: int) -> Metric:
    """Return the metric that averages the accuracies of both classes.

    Args:
        first: first of four columns: positive frames, correct and wrong; negative frames, correct
            and wrong.
    """

    def metric(sums: np.ndarray) -> np.ndarray:
        right, wrong = sums[..., [first, first + 2]], sums[..., [first + 1, first + 3]]
        return _share(right, right + wrong).mean(axis=-1)

    return metric


def counts_of(predicted: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the columns for ``balanced_accuracy``.

    Args:
        predicted: ``(N,)`` bool.
        positive: ``(N,)`` bool.

    Returns:
        ``(N, 4)``.
    """
    columns = [
        positive & predicted,
        positive & ~predicted,
        ~positive & ~predicted,
        ~positive & predicted,
    ]
    return np.stack(columns, axis=1).astype(float)


def confusion(segments: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of pixels of each frame by true and predicted class.

    Args:
        segments: ``(n, L, L)`` true classes.
        predicted: ``(n, L, L)`` classes.
        classes: K.

    Returns:
        ``(n, K · K)``.
    """
    pairs = segments.astype(np.int64) * classes + predicted
    counts = [np.bincount(frame.ravel(), minlength=classes**2) for frame in pairs]
    return np.stack(counts).astype(float)


def class_iou(classes: int) -> Metric:
    """Return the metric with the intersection over union of each class.

    It maps confusion (..., K · K) to (..., K).
    """

    def metric(sums: np.ndarray) -> np.ndarray:
        table = sums.reshape(*sums.shape[:-1], classes, classes)
        intersection = np.diagonal(table, axis1=-2, axis2=-1)
        union = table.sum(axis=-1) + table.sum(axis=-2) - intersection
        return _share(intersection, union)

    return metric


def one_iou(number: int, classes: int) -> Metric:
    """Return the metric with the intersection over union of one class.

    Args:
        number: of the class.
        classes: K.
    """
    every = class_iou(classes)
    return lambda sums: every(sums)[..., number]


def mean_iou(classes: int) -> Metric:
    """Return the metric with the mean intersection over union.

    The mean is over the classes that occur in labels or predictions.
    """
    every = class_iou(classes)

    def metric(sums: np.ndarray) -> np.ndarray:
        ious = every(sums)
        return _share(np.nansum(ious, axis=-1), (~np.isnan(ious)).sum(axis=-1))

    return metric


def auroc(scores: np.ndarray, positive: np.ndarray, episode: np.ndarray) -> Interval:
    """Return the area under the ROC curve, with an interval over episodes.

    Args:
        scores: ``(N,)``; higher for positive frames.
        positive: ``(N,)`` bool.
        episode: ``(N,)`` episode of each frame.
    """
    groups, index = np.unique(episode, return_inverse=True)
    draws = block_draws(len(groups))[:, index]
    found = _weighted_auroc(scores, positive, np.concatenate([np.ones((1, len(scores))), draws]))
    return Interval(float(found[0]), *limits(found[1:]))


def _weighted_auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the areas (draws,) for frame weights (draws, N); equal scores count half."""
    order = np.argsort(scores)
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    up, down = (
        np.add.reduceat(weights[:, order] * mask[order], starts, axis=1)
        for mask in (positive, ~positive)
    )  # (draws, different scores)
    below = np.cumsum(down, axis=1) - down / 2
    return _share((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return quotients; NaN where the divisor is 0."""
    filled = np.where(whole > 0, whole, 1)
    return np.where(whole > 0, part / filled, np.nan)
