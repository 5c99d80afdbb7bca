"""Metrics of probes against loops, and their intervals over episodes."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import math

import numpy as np
import pytest

from s2robot.analysis.probes import TASK_NAMES, metrics
from s2robot.analysis.probes.intervals import metric_difference, metric_interval, summed_by_episode
from s2robot.analysis.probes.scenes import (
    SceneData,
)
from s2robot.analysis.probes.tasks import TASKS, Parts


def test_miou_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, (3, 8, 8)), rng.integers(0, 3, (3, 8, 8))
    true[true == 3] = 0  # class 3 is neither in labels nor in predictions
    coverage = []
    for number in range(3):
        met = sum(t == number == p for t, p in zip(true.flat, predicted.flat, strict=True))
        either = sum(number in (t, p) for t, p in zip(true.flat, predicted.flat, strict=True))
        coverage.append(met / either)
    sums = metrics.confusion(true.astype(np.uint8), predicted, 4).sum(axis=0)
    assert metrics.mean_iou(4)(sums) == pytest.approx(np.mean(coverage))
    assert metrics.one_iou(1, 4)(sums) == pytest.approx(coverage[1])
    assert np.isnan(metrics.one_iou(3, 4)(sums))


def test_auroc_against_pairs_and_its_interval_is_over_episodes() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(80) < 0.3
    scores = np.round(rng.normal(positive, 1), 1)  # with ties
    pairs = [(p > n) + (p == n) / 2 for p in scores[positive] for n in scores[~positive]]
    alone = metrics.auroc(scores, positive, np.arange(80))
    assert alone.estimate == pytest.approx(np.mean(pairs))
    assert alone.low < alone.estimate < alone.high
    copied = metrics.auroc(scores.repeat(5), positive.repeat(5), np.arange(80).repeat(5))
    assert (copied.low, copied.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_balanced_accuracy_and_root_mean() -> None:
    predicted = np.array([True, True, False, False, False])
    true = np.array([True, False, False, False, True])
    sums = metrics.counts_of(predicted, true).sum(axis=0)
    assert metrics.balanced_accuracy(0)(sums) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert np.isnan(metrics.balanced_accuracy(0)(np.array([2.0, 1, 0, 0])))
    assert metrics.root_mean(0)(np.array([8.0, 2.0])) == 2


def test_sums_over_episodes_carry_intervals_and_paired_differences() -> None:
    rng = np.random.default_rng(0)
    episode = np.repeat([3, 1, 7, 9], 5)
    first = np.stack([rng.gamma(2, 5, 20), np.ones(20)], axis=1)
    sums = summed_by_episode(first, episode)
    assert sums.shape == (4, 2)
    np.testing.assert_allclose(sums[0], first[episode == 1].sum(axis=0))
    interval = metric_interval(sums, metrics.mean)
    assert interval.estimate == pytest.approx(first[:, 0].mean())
    assert interval.low < interval.estimate < interval.high
    later = summed_by_episode(first + [1.5, 0], episode)
    difference = metric_difference(sums, later, metrics.mean)
    assert (difference.low, difference.high) == (pytest.approx(1.5), pytest.approx(1.5))
    with pytest.raises(ValueError, match="the same episodes"):
        metric_difference(sums, later[:3], metrics.mean)


def test_depth_squares_and_guesses_against_plain_numpy(data: SceneData) -> None:
    train, test = data.split(0.25)
    parts = Parts(train[:-3], train[-3:], test)
    outcome = TASKS["depth"].baseline(data, parts)
    error = data.depth_m[train].mean(axis=0, dtype=float) - data.depth_m[test]
    predicted = [float(m.metric(outcome.frames.sum(axis=0))) for m in TASKS["depth"].measures]
    moving = np.isin(data.segments[test], [2, 3, 4])
    assert predicted[0] == pytest.approx(np.sqrt(np.square(error).mean()))
    assert predicted[1] == pytest.approx(np.sqrt(np.square(error[moving]).mean()))
    place = TASKS["localization"].baseline(data, parts).frames[:, 0]
    middle = data.cube_xy_m[train].mean(axis=0)
    expected = [1000 * math.dist(middle, spot) for spot in data.cube_xy_m[test]]
    np.testing.assert_allclose(place, expected)
    grasp = TASKS["grasp"].baseline(data, parts).frames.sum(axis=0)
    assert TASKS["grasp"].measures[0].metric(grasp) == 0.5


def test_names_of_tasks_are_known_before_the_tasks_are_imported() -> None:
    assert tuple(TASKS) == TASK_NAMES
