"""What is probed: each task's fit, its baseline without features, and its measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from s2robot.analysis.probes import dense, linear, metrics
from s2robot.analysis.probes.grids import TokenGrids
from s2robot.analysis.probes.intervals import Metric
from s2robot.analysis.probes.localizer import ProbeConfig, fit_localizer
from s2robot.analysis.probes.scenes import SceneData
from s2robot.envs.segmentation import SEGMENTS
from s2robot.errors import unknown
from s2robot.stats.intervals import Interval

_K = len(SEGMENTS)
_MOVING = SEGMENTS.index("arm")  # classes from here on move


@dataclass(frozen=True)
class Parts:
    """Numbers of the frames for each purpose; no episode is in two of them."""

    learn: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def training(self) -> np.ndarray:
        """All but the test."""
        return np.sort(np.concatenate([self.learn, self.valid]))


@dataclass(frozen=True)
class Problem:
    """Labelled frames, their parts, and what an encoder gives for them."""

    data: SceneData
    parts: Parts
    embeddings: Tensor
    """(N, D)"""
    shape: tuple[int, ...]
    """``FrameEncoder.output_shape``: (gh, gw, C)."""
    grids: TokenGrids
    head_seeds: int = 5
    """Heads of task ``localisation-head`` that are averaged."""


@dataclass(frozen=True)
class Outcome:
    """How a probe did on the test frames."""

    frames: np.ndarray
    """(n, K): what the task's measures sum up, of each test frame in order."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Further measures that are no function of sums."""
    details: dict[str, Any] = field(default_factory=dict)
    """JSON-able: the penalty chosen, iterations, ..."""
    maps: np.ndarray | None = None
    """(n, L, L): classes or depths [m] told, of dense tasks."""


@dataclass(frozen=True)
class Measure:
    """One number that a task is judged by."""

    name: str
    """With its unit."""
    metric: Metric
    higher_is_better: bool
    digits: int
    """After the decimal point, in tables."""


@dataclass(frozen=True)
class Task:
    """Something that features may tell."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    """The first is what scale sets are compared by."""
    probe: Callable[[Problem], Outcome]
    baseline: Callable[[SceneData, Parts], Outcome]
    """The best that can be said without a look at the test frames."""
    dense: bool = False


def get_task(name: str) -> Task:
    """Look a task up by name; an unknown name is a ValueError that lists the tasks."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


# ---------------------------------------------------------------------------------- localisation
def _localize(problem: Problem) -> Outcome:
    spots = problem.data.cube_xy_m
    chosen = linear.choose(linear.ridge, _square_error, _products(problem), spots, _of(problem))
    errors = _distance_mm(chosen.predictions, spots[problem.parts.test])
    return Outcome(_with_count(errors), details={"penalty": chosen.penalty})


def _localize_by_heads(problem: Problem) -> Outcome:
    """Mean over heads of several seeds: one alone says as much of its luck as of the encoder."""
    data, training, test = problem.data, problem.parts.training, problem.parts.test
    errors = []
    for seed in range(problem.head_seeds):
        localizer = fit_localizer(
            problem.embeddings[training],
            problem.shape,
            data.cube_xy_m[training],
            data.episode[training],
            ProbeConfig(),
            seed,
        )
        errors.append(localizer.errors_mm(problem.embeddings[test], data.cube_xy_m[test]))
    means = [float(error.mean()) for error in errors]
    spread = {"seed_means_mm": means, "seed_std_mm": float(np.std(means, ddof=len(means) > 1))}
    return Outcome(_with_count(np.mean(errors, axis=0)), details=spread)


def _guess_place(data: SceneData, parts: Parts) -> Outcome:
    mean = data.cube_xy_m[parts.training].mean(axis=0)
    return Outcome(_with_count(_distance_mm(mean, data.cube_xy_m[parts.test])))


def _distance_mm(told_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    return 1000 * np.linalg.norm(told_m - true_m, axis=-1)


def _with_count(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def _square_error(told: np.ndarray, true: np.ndarray) -> float:
    return float(np.square(told - true).mean())


def _products(problem: Problem) -> np.ndarray:
    return linear.inner_products(problem.grids.column_chunks(), problem.parts.training)


def _of(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = problem.parts
    return parts.learn, parts.valid, parts.test


# ----------------------------------------------------------------------------------------- grasp
def _tell_grasp(problem: Problem) -> Outcome:
    """From the flattened grid, as a grasp is a matter of places, and from its mean.

    Averaged over the grid, the fingers are a few tokens among many; both are linear.
    """
    data, parts = problem.data, problem.parts
    means = linear.inner_products([problem.grids.means()], parts.training)
    labels, true = data.grasped[:, None], data.grasped[parts.test]
    columns, intervals, details = [], {}, {}
    for name, products in (("grid", _products(problem)), ("mean token", means)):
        chosen = linear.choose(linear.logistic, _log_loss, products, labels, _of(problem))
        scores = chosen.predictions[:, 0]
        columns.append(metrics.counts_of(scores > 0, true))
        intervals[f"AUROC, {name}"] = metrics.auroc(scores, true, data.episode[parts.test])
        details[f"penalty, {name}"] = chosen.penalty
    return Outcome(np.concatenate(columns, axis=1), intervals, details)


def _log_loss(odds: np.ndarray, positive: np.ndarray) -> float:
    """Of log-odds (m, 1); both classes weigh the same, where both are there."""
    losses = np.logaddexp(0, np.where(positive, -odds, odds))
    present = [losses[mask].mean() for mask in (positive, ~positive) if mask.any()]
    return float(np.mean(present))


def _guess_grasp(data: SceneData, parts: Parts) -> Outcome:
    """Always the same: half of the classes rightly."""
    true = data.grasped[parts.test]
    counts = metrics.counts_of(np.zeros_like(true), true)
    return Outcome(np.concatenate([counts, counts], axis=1))


# ---------------------------------------------------------------------------------- segmentation
def _segment(problem: Problem) -> Outcome:
    data, parts = problem.data, problem.parts
    probe = dense.fit_segments(problem.grids, data.segments, _K, parts.learn, parts.valid)
    size = data.segments.shape[1]
    chunks = probe.chunked_maps(problem.grids, parts.test, size)
    told = np.concatenate([maps.argmax(axis=1).astype(np.uint8) for _, maps in chunks])
    counts = metrics.confusion(data.segments[parts.test], told, _K)
    details = {"penalty": probe.penalty, "iterations": probe.iterations}
    return Outcome(counts, details=details, maps=told)


def _guess_segments(data: SceneData, parts: Parts) -> Outcome:
    """Each pixel's most frequent class."""
    seen = data.segments[parts.training]
    often = np.stack([(seen == number).sum(axis=0) for number in range(_K)]).argmax(axis=0)
    true = data.segments[parts.test]
    return Outcome(metrics.confusion(true, np.broadcast_to(often, true.shape), _K))


# ----------------------------------------------------------------------------------------- depth
def _measure_depth(problem: Problem) -> Outcome:
    data, parts = problem.data, problem.parts
    probe = dense.fit_depth(problem.grids, data.depth_m, parts.learn, parts.valid)
    chunks = probe.chunked_maps(problem.grids, parts.test, data.depth_m.shape[1])
    told = np.concatenate([maps[:, 0] for _, maps in chunks])
    squares = _depth_squares(told, data, parts.test)
    return Outcome(squares, details={"penalty": probe.penalty}, maps=told)


def _guess_depth(data: SceneData, parts: Parts) -> Outcome:
    """The mean picture."""
    mean = data.depth_m[parts.training].mean(axis=0, dtype=np.float64)
    return Outcome(_depth_squares(mean, data, parts.test))


def _depth_squares(told_m: np.ndarray, data: SceneData, test: np.ndarray) -> np.ndarray:
    """Of each frame (n, 4): sum of squared errors and pixels, of all and of what moves."""
    squares = np.square(told_m - data.depth_m[test].astype(np.float64))
    moving = data.segments[test] >= _MOVING
    pixels = np.full(len(test), squares[0].size)
    columns = [squares.sum((1, 2)), pixels, (squares * moving).sum((1, 2)), moving.sum((1, 2))]
    return np.stack(columns, axis=1)


_LOCALIZATION = (Measure("mean error [mm]", metrics.mean, False, 1),)
TASKS = {
    task.name: task
    for task in (
        Task(
            "localisation",
            "cube localisation, linear",
            _LOCALIZATION,
            _localize,
            _guess_place,
        ),
        Task(
            "segmentation",
            "segmentation",
            (
                Measure("mIoU", metrics.mean_iou(_K), True, 3),
                *(
                    Measure(f"IoU {name}", metrics.one_iou(number, _K), True, 3)
                    for number, name in reversed(list(enumerate(SEGMENTS)))
                ),
            ),
            _segment,
            _guess_segments,
            dense=True,
        ),
        Task(
            "depth",
            "depth",
            (
                Measure("RMSE [m]", metrics.root_mean(0), False, 4),
                Measure("RMSE of robot and cube [m]", metrics.root_mean(2), False, 4),
            ),
            _measure_depth,
            _guess_depth,
            dense=True,
        ),
        Task(
            "grasp",
            "in-grasp classification",
            (
                Measure("balanced accuracy", metrics.balanced_accuracy(0), True, 3),
                Measure("balanced accuracy, mean token", metrics.balanced_accuracy(4), True, 3),
            ),
            _tell_grasp,
            _guess_grasp,
        ),
        Task(
            "localisation-head",
            "cube localisation, small head",
            _LOCALIZATION,
            _localize_by_heads,
            _guess_place,
        ),
    )
}
LINEAR_TASKS = tuple(name for name in TASKS if name != "localisation-head")
"""Tasks whose fits are convex: quick, and with no seeds to average over."""
