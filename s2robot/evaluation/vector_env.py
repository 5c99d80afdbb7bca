"""Vector environments: several environments that step together, in one process or in workers.

They hold one or more groups of environments. A group that has begun a step computes it while the
caller works on another one. Frames of workers lie in memory that all processes share.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from s2robot.envs.tasks.loading import make_env
from s2robot.evaluation.env_group import INFO_KEYS as INFO_KEYS
from s2robot.evaluation.env_group import CameraView as CameraView
from s2robot.evaluation.env_group import (
    EnvGroup,
    Frames,
    VectorStep,
    Views,
    as_views,
    by_camera,
    check_row,
    check_rows,
)
from s2robot.evaluation.env_worker import WATCHDOG_S, Worker, WorkerSetup, bytes_of, shared_frames
from s2robot.utils.validation import checked_integer
from s2robot.utils.workers import usable_cores


class VectorEnv(ABC):
    """Groups of B environments each, which start from given states and step together.

    A row that an environment refuses raises a ValueError, and no environment has changed then.

    Attributes:
        groups: number of groups; each has its own B environments.
    """

    groups: int = 1

    def reset(self, states: np.ndarray, group: int = 0) -> VectorStep:
        """Start every environment of a group from its row of `states` (B, D)."""
        self.reset_async(states, group)
        return self.wait(group)

    def step(self, actions: np.ndarray, group: int = 0) -> VectorStep:
        """Carry out each environment's row of `actions` (B, A) in a group."""
        self.step_async(actions, group)
        return self.wait(group)

    @abstractmethod
    def reset_async(self, states: np.ndarray, group: int = 0) -> None:
        """Begin ``reset``; ``wait`` returns its result."""

    @abstractmethod
    def step_async(self, actions: np.ndarray, group: int = 0, render: bool = True) -> None:
        """Begin ``step``; ``wait`` returns its result.

        Args:
            actions: (B, A), in [-1, 1]; with (B, A + 1), the last entry is how late in the step
                each begins [s], where environments can begin one within a step.
            group: whose environments step.
            render: draw the frames; without, those of the result are of no use.
        """

    @abstractmethod
    def wait(self, group: int = 0) -> VectorStep:
        """Return the result of what a group began last.

        Raises:
            RuntimeError: in one process, nothing was begun.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every environment."""


def make_vector_env(
    env_kwargs: Mapping[str, Any],
    count: int,
    view: Views,
    workers: int = 0,
    groups: int = 2,
) -> VectorEnv:
    """Return a vector environment.

    Args:
        env_kwargs: of the task's environment.
        count: number B of environments of a group.
        view: camera of the frames, or several; None renders none.
        workers: processes; 0 keeps the environments, and one GL context, in this process, which
            then has a single group.
        groups: number of groups with workers.

    Raises:
        ValueError: a number or an argument of the environment is not allowed.
    """
    checked_integer("workers", workers, 0)
    if workers == 0:
        return InProcessVectorEnv(env_kwargs, count, view)
    return SubprocessVectorEnv(env_kwargs, count, view, min(workers, count), groups)


class InProcessVectorEnv(VectorEnv):
    """Vector environment of one group in this process; a step is finished when it begins.

    Args:
        env_kwargs: of the task's environment.
        count: number of environments.
        view: camera of the frames, or several; None renders none.

    Raises:
        ValueError: `count` or an argument of the environment is not allowed.
    """

    def __init__(self, env_kwargs: Mapping[str, Any], count: int, view: Views) -> None:
        self._group = EnvGroup(env_kwargs, count, view)
        self._view, self._count = view, count
        self._step: VectorStep | None = None

    def reset_async(self, states: np.ndarray, group: int = 0) -> None:
        """Start every environment from its row of `states` (B, D)."""
        self._group.check_states(states)
        self._step = self._group.reset(states, self._frames())

    def step_async(self, actions: np.ndarray, group: int = 0, render: bool = True) -> None:
        """Carry out each environment's row of `actions` (B, A)."""
        self._group.check_actions(actions)
        self._step = self._group.step(actions, self._frames() if render else None)

    def wait(self, group: int = 0) -> VectorStep:
        """Return the result of the last reset or step."""
        if self._step is None:
            raise RuntimeError("call reset_async or step_async before wait")
        step, self._step = self._step, None
        return step

    def close(self) -> None:
        """Close every environment."""
        self._group.close()

    def _frames(self) -> Frames | None:
        shapes = [(self._count, *view.shape) for view in as_views(self._view)]
        return by_camera(self._view, [np.empty(shape, np.uint8) for shape in shapes])


class SubprocessVectorEnv(VectorEnv):
    """Vector environment over worker processes, each with its own GL context.

    Frames lie in memory that this process and its workers share; the steps of a group are computed
    while this process does something else. A worker that dies or hangs is replaced, and the
    episodes under way go on exactly as they would have.

    Args:
        env_kwargs: of the task's environment.
        count: number of environments of a group.
        view: camera of the frames, or several; None renders none.
        workers: processes, between which the environments of each group are divided.
        groups: number of groups.
        watchdog_s: an answer that takes longer counts as hung [s].

    Raises:
        ValueError: a number or an argument of the environment is not allowed.
    """

    def __init__(
        self,
        env_kwargs: Mapping[str, Any],
        count: int,
        view: Views,
        workers: int,
        groups: int = 1,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        checked_integer("count", count, 1)
        checked_integer("workers", workers, 1, count)
        self.groups = checked_integer("groups", groups, 1)
        self._count = count
        self._checker = make_env(env_kwargs)  # checks rows before any worker acts on one
        self._memory = _shared_memory(groups * count, view)
        self._frames: Any = [None] * groups
        if self._memory is not None:
            self._frames = shared_frames(mmap.mmap(self._memory, 0), groups, count, view)
        parts = [len(part) for part in np.array_split(np.arange(count), workers)]
        self._bounds = np.cumsum([0, *parts])
        threads = max(1, usable_cores() // workers)
        self._workers = [
            Worker(
                WorkerSetup(
                    env_kwargs, view, groups, int(first), part, count, self._memory, threads
                ),
                watchdog_s,
            )
            for first, part in zip(self._bounds, parts, strict=False)
        ]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def reset_async(self, states: np.ndarray, group: int = 0) -> None:
        """Begin to start every environment from its row of `states` (B, D)."""
        check_rows("state", states, self._count, self._checker.check_state)
        for worker, rows in zip(self._workers, self._split(states), strict=True):
            worker.reset(group, rows)

    def step_async(self, actions: np.ndarray, group: int = 0, render: bool = True) -> None:
        """Begin to carry out each environment's row of `actions` (B, A)."""
        check_rows("action", actions, self._count, partial(check_row, self._checker))
        for worker, rows in zip(self._workers, self._split(actions), strict=True):
            worker.step(group, rows, render)

    def wait(self, group: int = 0) -> VectorStep:
        """Return the result of what a group began last.

        Raises:
            S2RobotError: one process after another died or hung.
        """
        steps, errors = [], []
        for worker in self._workers:
            try:
                steps.append(worker.wait(group))
            except Exception as error:  # the others' results are taken before it is raised
                errors.append(error)
        if errors:
            raise errors[0]
        return _joined(steps, self._frames[group])

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.end()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

    def _split(self, rows: np.ndarray) -> list[np.ndarray]:
        return np.split(rows, self._bounds[1:-1])


def _shared_memory(frames: int, view: Views) -> int | None:
    """Return the file descriptor of memory for so many frames of each camera.

    It has no name, so nothing is left.

    Where the system has no such memory, it is a file without a name in the temporary folder.
    """
    size = frames * bytes_of(view)
    if not size:
        return None
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("s2robot-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def _joined(parts: Sequence[VectorStep], frames: Frames | None) -> VectorStep:
    return VectorStep(
        {key: np.concatenate([part.obs[key] for part in parts]) for key in parts[0].obs},
        {key: np.concatenate([part.info[key] for part in parts]) for key in parts[0].info},
        frames,
        max(part.env_s for part in parts),
        max(part.render_s for part in parts),
    )
