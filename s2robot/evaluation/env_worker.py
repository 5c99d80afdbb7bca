"""Worker process of a vector environment: its program, and the handle with which one speaks to it.

A worker that dies or hangs is replaced. Since equal actions give equal bits, the new one repeats
the episodes that are under way from their initial states, without drawing, and goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from s2robot.envs import gl
from s2robot.envs.tasks.loading import trust, trusted_tasks
from s2robot.errors import S2RobotError
from s2robot.evaluation.env_group import (
    EnvGroup,
    Frames,
    VectorStep,
    Views,
    as_views,
    by_camera,
)
from s2robot.utils.console import MESSAGES
from s2robot.utils.workers import START_S, end_with, sendable, start_worker

WATCHDOG_S = 60.0
"""A worker without an answer for this long counts as hung, as happens with software renderers."""
MAX_RESTARTS = 3
"""Restarts for the same step; after that the cause is taken to be in the step."""
_NOBODY = 0
"""Number of a command whose answer nobody waits for."""


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker simulates: environments `first` to `first + count - 1` of each group."""

    env_kwargs: Mapping[str, Any]
    view: Views
    groups: int
    first: int
    count: int
    all_count: int
    """Environments of a group, over all workers."""
    memory: int | None
    """File descriptor of the memory of all frames, ``(groups, all_count, H, W, 3)`` uint8 of each
    camera, one after another."""
    threads: int
    """Threads of the software renderer."""
    trusted: tuple[str, ...] = field(default_factory=trusted_tasks)
    """Tasks that the user named, whose modules may be imported."""

    def frames(self) -> Sequence[Frames | None]:
        """Return this worker's frames ``(count, H, W, 3)`` of each group, by camera if several."""
        if self.memory is None:
            return [None] * self.groups
        memory = mmap.mmap(self.memory, 0)
        own = slice(self.first, self.first + self.count)
        return shared_frames(memory, self.groups, self.all_count, self.view, own)


def bytes_of(view: Views) -> int:
    """Return the bytes of one frame of each camera."""
    return sum(math.prod(each.shape) for each in as_views(view))


def shared_frames(
    memory: mmap.mmap, groups: int, count: int, view: Views, part: slice = slice(None)
) -> list[Frames | None]:
    """Return the frames ``(count, H, W, 3)`` uint8 of each group in shared memory.

    Args:
        memory: all frames of the first camera, then those of the next.
        groups: number of groups.
        count: environments of a group.
        view: the cameras.
        part: of a group's environments.
    """
    cameras, start = [], 0
    for each in as_views(view):
        shape = (groups, count, *each.shape)
        size = math.prod(shape)
        pixels = np.frombuffer(memory, np.uint8, count=size, offset=start)
        cameras.append(pixels.reshape(shape))
        start += size
    return [by_camera(view, [frames[group, part] for frames in cameras]) for group in range(groups)]


# ------------------------------------------------------------------ in the worker
def serve(connection: int, parent: int) -> None:
    """Carry out what arrives until the other side closes: the program of a worker.

    Args:
        connection: file descriptor of the setup, the commands and the answers.
        parent: process that started this one.
    """
    end_with(parent)
    gl.torch_follows = False
    pipe = Connection(connection)
    setup: WorkerSetup = pipe.recv()
    trust(setup.trusted)
    groups = [EnvGroup(setup.env_kwargs, setup.count, setup.view) for _ in range(setup.groups)]
    frames = setup.frames()
    with contextlib.suppress(EOFError, OSError):  # the parent closed the connection
        while True:
            number, group, method, arguments, render = pipe.recv()
            try:
                into = frames[group] if render else None
                step = getattr(groups[group], method)(*arguments, into)
                answer: Any = dataclasses.replace(step, frames=None)
            except Exception as error:  # raised in the parent
                answer = sendable(error)
            pipe.send((number, group, answer))


# ------------------------------------------------------------------ in the parent
class WorkerLostError(Exception):
    """A worker died, or did not answer in time."""


@dataclass
class _UnderWay:
    """What a group has been asked to do since its last reset."""

    states: np.ndarray | None = None
    actions: list[np.ndarray] = field(default_factory=list)
    render: bool = True
    number: int = _NOBODY
    """Of the command whose answer is to come."""
    answer: Any = None


class Worker:
    """Handle of a worker process, which is replaced where it dies or hangs.

    Args:
        setup: what it simulates.
        watchdog_s: an answer that takes longer counts as hung [s].
    """

    def __init__(self, setup: WorkerSetup, watchdog_s: float = WATCHDOG_S) -> None:
        self._setup, self._watchdog_s = setup, watchdog_s
        self._under_way = [_UnderWay() for _ in range(setup.groups)]
        self._numbers = _NOBODY
        self._start()

    @property
    def pid(self) -> int:
        """Process id of the present process."""
        return self._process.pid

    def reset(self, group: int, states: np.ndarray) -> None:
        """Begin a reset of a group."""
        self._under_way[group] = _UnderWay(states)
        self._command(group, "reset", (states,))

    def step(self, group: int, actions: np.ndarray, render: bool) -> None:
        """Begin a step of a group; it is drawn if `render`."""
        under_way = self._under_way[group]
        under_way.actions.append(actions)
        under_way.render = render
        self._command(group, "step", (actions,))

    def wait(self, group: int) -> VectorStep:
        """Return the result of what a group began last, from a new process if need be.

        Raises:
            S2RobotError: one process after another died or hung.
            Exception: what the environments raised.
        """
        restarts = 0
        while True:
            try:
                return self._answer(group)
            except WorkerLostError as loss:
                if restarts == MAX_RESTARTS:
                    self.end()
                    raise S2RobotError(
                        f"{loss}, {MAX_RESTARTS + 1} times in the same step. Run again with "
                        "rollout.workers=0, fewer workers, or another MUJOCO_GL (egl, osmesa); "
                        "finished episodes are kept"
                    ) from None
                MESSAGES.print(
                    f"note: {loss}; another one takes over its environments where they are"
                )
            restarts += 1
            self._replace()

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        setup = self._setup
        memory = [] if setup.memory is None else [setup.memory]
        self._process, self._pipe = start_worker(__name__, setup.first == 0, setup.threads, memory)
        self._is_new = True
        self._send(setup)

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # it is dead: `wait` replaces it
            self._pipe.send(message)

    def _command(self, group: int, method: str, arguments: tuple[Any, ...]) -> None:
        self._numbers += 1
        under_way = self._under_way[group]
        under_way.number, under_way.answer = self._numbers, None
        self._send((self._numbers, group, method, arguments, under_way.render))

    def _answer(self, group: int) -> VectorStep:
        under_way = self._under_way[group]
        while under_way.answer is None:
            number, whose, answer = self._receive()
            if number == self._under_way[whose].number:
                self._under_way[whose].answer = answer
        answer, under_way.answer, under_way.number = under_way.answer, None, _NOBODY
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _receive(self) -> tuple[int, int, Any]:
        limit_s = max(START_S, self._watchdog_s) if self._is_new else self._watchdog_s
        try:
            if not self._pipe.poll(limit_s):
                raise WorkerLostError(
                    f"an environment process did not answer for {limit_s:g} s, most likely because "
                    "it hung in its renderer"
                )
            received = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerLostError(
                "an environment process was killed or ran out of memory (exit status "
                f"{self._exit_status()})"
            ) from None
        self._is_new = False
        return received

    def _exit_status(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        return self._process.returncode

    def _replace(self) -> None:
        """Start another process, and let it repeat the episodes that are under way."""
        self.end()
        self._start()
        for group, under_way in enumerate(self._under_way):
            if under_way.states is None:
                continue
            due = under_way.number != _NOBODY and under_way.answer is None
            number = under_way.number if due else _NOBODY
            arguments = (under_way.states, under_way.actions)
            self._send((number, group, "replay", arguments, due and under_way.render))
