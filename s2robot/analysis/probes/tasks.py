"""The tasks of a probe study: fit, baseline without features, and measures of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from s2robot.analysis.probes import dense, linear, metrics
from s2robot.analysis.probes.action_errors import action_errors
from s2robot.analysis.probes.grids import TokenGrids
from s2robot.analysis.probes.intervals import Metric
from s2robot.analysis.probes.localizer import ProbeConfig, fit_localizer
from s2robot.analysis.probes.scenes import SceneData
from s2robot.envs.scene import SEGMENTS
from s2robot.errors import unknown
from s2robot.stats.intervals import Interval

_CLASSES = len(SEGMENTS)
_MOVING = SEGMENTS.index("arm")  # classes from this one on move


@dataclass(frozen=True)
class Parts:
    """Indices of the frames for fitting, validation and test; no episode is in two of them."""

    learn: np.ndarray
    """Frames to fit on."""
    valid: np.ndarray
    """Frames that choose the penalty."""
    test: np.ndarray

    @property
    def training(self) -> np.ndarray:
        """Frames of ``learn`` and ``valid``."""
        return np.sort(np.concatenate([self.learn, self.valid]))


@dataclass(frozen=True)
class Problem:
    """Labeled frames, their split, and the embeddings of one encoder."""

    data: Any
    """``SceneData``, or ``RecordedData`` for task ``action``."""
    parts: Parts
    embeddings: Tensor
    """(N, D)"""
    shape: tuple[int, ...]
    """``FrameEncoder.output_shape``: (gh, gw, C)."""
    grids: TokenGrids
    head_seeds: int = 5
    """Training seeds of task ``localization-head``; their errors are averaged."""


@dataclass(frozen=True)
class Outcome:
    """Results of a probe on the test frames."""

    frames: np.ndarray
    """``(n, K)``: the values that the task's measures sum, for each test frame in order."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Further measures, which are not functions of sums."""
    details: dict[str, Any] = field(default_factory=dict)
    """JSON-able: chosen penalty, iterations, ..."""
    maps: np.ndarray | None = None
    """``(n, L, L)``: predicted classes or depths [m], of dense tasks."""


@dataclass(frozen=True)
class Measure:
    """One number that measures a task."""

    name: str
    """With its unit."""
    metric: Metric
    higher_is_better: bool
    digits: int
    """Decimal places in tables."""


@dataclass(frozen=True)
class Task:
    """Something to predict from features."""

    name: str
    """As users type it."""
    key: str
    """As stored in results."""
    title: str
    measures: tuple[Measure, ...]
    """Scale sets are compared by the first."""
    probe: Callable[[Problem], Outcome]
    baseline: Callable[[SceneData, Parts], Outcome]
    """The best constant prediction, without features."""
    dense: bool = False
    """True if the task predicts every pixel."""


def get_task(name: str) -> Task:
    """Return a task by its name or by its stored key.

    Raises:
        ValueError: there is no such task; the message lists all.

    Examples:
        >>> get_task("localization") is get_task("localisation")
        True
    """
    for task in TASKS.values():
        if name in (task.name, task.key):
            return task
    raise unknown("task", name, TASKS)


def check_tasks(names: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse tasks that there are no labels for.

    Args:
        names: of the tasks.
        allowed: names of the tasks with labels.

    Raises:
        ValueError: there is no such task, or it belongs to frames of another kind.
    """
    for name in names:
        if get_task(name).name not in allowed:
            of = "recorded data (--data SOURCE)" if name == "action" else "the simulator's frames"
            raise ValueError(
                f"task {name} is of {of}; allowed with the frames here: {', '.join(allowed)}"
            )


# ---------------------------------------------------------------------------------- localization
def _localize(problem: Problem) -> Outcome:
    spots = problem.data.cube_xy_m
    chosen = linear.choose(linear.ridge, _square_error, _products(problem), spots, _split(problem))
    errors = _distance_mm(chosen.predictions, spots[problem.parts.test])
    return Outcome(_with_count(errors), details={"penalty": chosen.penalty})


def _localize_with_heads(problem: Problem) -> Outcome:
    """Average heads of several seeds: one alone depends on its seed as much as on the encoder."""
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


def _mean_position(data: SceneData, parts: Parts) -> Outcome:
    mean = data.cube_xy_m[parts.training].mean(axis=0)
    return Outcome(_with_count(_distance_mm(mean, data.cube_xy_m[parts.test])))


def _distance_mm(predicted_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    return 1000 * np.linalg.norm(predicted_m - true_m, axis=-1)


def _with_count(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def _square_error(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.square(predicted - true).mean())


def _products(problem: Problem) -> np.ndarray:
    return linear.inner_products(problem.grids.column_chunks(), problem.parts.training)


def _split(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = problem.parts
    return parts.learn, parts.valid, parts.test


# ----------------------------------------------------------------------------------------- grasp
def _predict_grasp(problem: Problem) -> Outcome:
    """Predict from the flattened grid, since a grasp is local, and from the mean token.

    In the mean, the fingers are a few tokens among many. Both probes are linear.
    """
    data, parts = problem.data, problem.parts
    means = linear.inner_products([problem.grids.means()], parts.training)
    labels, true = data.grasped[:, None], data.grasped[parts.test]
    columns, intervals, details = [], {}, {}
    for name, products in (("grid", _products(problem)), ("mean token", means)):
        chosen = linear.choose(linear.logistic, _log_loss, products, labels, _split(problem))
        scores = chosen.predictions[:, 0]
        columns.append(metrics.counts_of(scores > 0, true))
        intervals[f"AUROC, {name}"] = metrics.auroc(scores, true, data.episode[parts.test])
        details[f"penalty, {name}"] = chosen.penalty
    return Outcome(np.concatenate(columns, axis=1), intervals, details)


def _log_loss(odds: np.ndarray, positive: np.ndarray) -> float:
    """Return the loss of log-odds (m, 1); both classes have equal weight if both occur."""
    losses = np.logaddexp(0, np.where(positive, -odds, odds))
    present = [losses[mask].mean() for mask in (positive, ~positive) if mask.any()]
    return float(np.mean(present))


def _constant_grasp(data: SceneData, parts: Parts) -> Outcome:
    """Predict the same class for all frames: half of the classes are correct."""
    true = data.grasped[parts.test]
    counts = metrics.counts_of(np.zeros_like(true), true)
    return Outcome(np.concatenate([counts, counts], axis=1))


# ---------------------------------------------------------------------------------- segmentation
def _segment(problem: Problem) -> Outcome:
    data, parts = problem.data, problem.parts
    probe = dense.fit_segments(problem.grids, data.segments, _CLASSES, parts.learn, parts.valid)
    size = data.segments.shape[1]
    chunks = probe.chunked_maps(problem.grids, parts.test, size)
    predicted = np.concatenate([maps.argmax(axis=1).astype(np.uint8) for _, maps in chunks])
    counts = metrics.confusion(data.segments[parts.test], predicted, _CLASSES)
    details = {"penalty": probe.penalty, "iterations": probe.iterations}
    return Outcome(counts, details=details, maps=predicted)


def _frequent_segments(data: SceneData, parts: Parts) -> Outcome:
    """Predict the most frequent class of each pixel."""
    labels = data.segments[parts.training]
    counts = np.stack([(labels == number).sum(axis=0) for number in range(_CLASSES)])
    frequent = counts.argmax(axis=0)
    true = data.segments[parts.test]
    return Outcome(metrics.confusion(true, np.broadcast_to(frequent, true.shape), _CLASSES))


# ----------------------------------------------------------------------------------------- depth
def _predict_depth(problem: Problem) -> Outcome:
    data, parts = problem.data, problem.parts
    probe = dense.fit_depth(problem.grids, data.depth_m, parts.learn, parts.valid)
    chunks = probe.chunked_maps(problem.grids, parts.test, data.depth_m.shape[1])
    predicted = np.concatenate([maps[:, 0] for _, maps in chunks])
    squares = _depth_squares(predicted, data, parts.test)
    return Outcome(squares, details={"penalty": probe.penalty}, maps=predicted)


def _mean_depth(data: SceneData, parts: Parts) -> Outcome:
    """Predict the mean depth of each pixel."""
    mean = data.depth_m[parts.training].mean(axis=0, dtype=np.float64)
    return Outcome(_depth_squares(mean, data, parts.test))


def _depth_squares(predicted_m: np.ndarray, data: SceneData, test: np.ndarray) -> np.ndarray:
    """Return (n, 4): sums of squared errors and pixel counts, of all pixels and of moving ones."""
    squares = np.square(predicted_m - data.depth_m[test].astype(np.float64))
    moving = data.segments[test] >= _MOVING
    pixels = np.full(len(test), squares[0].size)
    columns = [squares.sum((1, 2)), pixels, (squares * moving).sum((1, 2)), moving.sum((1, 2))]
    return np.stack(columns, axis=1)


# ---------------------------------------------------------------------------------------- action
def _predict_action(problem: Problem) -> Outcome:
    actions = problem.data.actions
    given = (_products(problem), actions, _split(problem))
    chosen = linear.choose(linear.ridge, _square_error, *given)
    errors = action_errors(chosen.predictions, actions, problem.parts.test)
    return Outcome(_with_count(errors), details={"penalty": chosen.penalty})


def _mean_action(data: Any, parts: Parts) -> Outcome:
    mean = data.actions[parts.training].mean(axis=0)
    return Outcome(_with_count(action_errors(mean, data.actions, parts.test)))


_LOCALIZATION = (Measure("mean error [mm]", metrics.mean, False, 1),)
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "localization",
            "localisation",
            "cube localization, linear",
            _LOCALIZATION,
            _localize,
            _mean_position,
        ),
        Task(
            "segmentation",
            "segmentation",
            "segmentation",
            (
                Measure("mIoU", metrics.mean_iou(_CLASSES), True, 3),
                *(
                    Measure(f"IoU {name}", metrics.one_iou(number, _CLASSES), True, 3)
                    for number, name in reversed(list(enumerate(SEGMENTS)))
                ),
            ),
            _segment,
            _frequent_segments,
            dense=True,
        ),
        Task(
            "depth",
            "depth",
            "depth",
            (
                Measure("RMSE [m]", metrics.root_mean(0), False, 4),
                Measure("RMSE of robot and cube [m]", metrics.root_mean(2), False, 4),
            ),
            _predict_depth,
            _mean_depth,
            dense=True,
        ),
        Task(
            "grasp",
            "grasp",
            "in-grasp classification",
            (
                Measure("balanced accuracy", metrics.balanced_accuracy(0), True, 3),
                Measure("balanced accuracy, mean token", metrics.balanced_accuracy(4), True, 3),
            ),
            _predict_grasp,
            _constant_grasp,
        ),
        Task(
            "localization-head",
            "localisation-head",
            "cube localization, small head",
            _LOCALIZATION,
            _localize_with_heads,
            _mean_position,
        ),
        Task(
            "action",
            "action",
            "action, linear",
            (Measure("mean error [% of std]", metrics.mean, False, 1),),
            _predict_action,
            _mean_action,
        ),
    )
}
