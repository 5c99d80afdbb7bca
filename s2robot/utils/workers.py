"""Tasks in worker processes: results in the order of the tasks, whoever finishes first.

A worker that dies or hangs is replaced, and its task is done again. Workers end with the process
that started them. They do not import the caller's main module, so that a script needs no guard.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from s2robot.errors import S2RobotError
from s2robot.utils.console import MESSAGES

WATCHDOG_S = 300.0
"""A task that takes longer counts as hung, as happens with software renderers."""
START_S = 300.0
"""The same for a worker that starts, which imports packages and prepares itself."""
MAX_TRIES = 3
"""Processes that one task may cost; after that the cause is taken to be in the task."""
_PROGRAM = (
    "import importlib, json, sys; module, *given, sys.path[:] = json.loads(sys.argv[1]); "
    "importlib.import_module(module).serve(*given)"
)
_SILENT = "S2ROBOT_SILENT_WORKER"  # in the environment of workers
_END_S = 5.0  # to finish a task, after which a worker is killed


def is_silent() -> bool:
    """Return whether this is a worker whose warnings of the machine another one gives."""
    return bool(os.environ.get(_SILENT))


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worthwhile_workers(work: int, least: int) -> int:
    """Return how many workers shorten some work; 0 if it is done sooner without any.

    Args:
        work: its size, in any unit.
        least: size below which a worker takes longer to start than to work.
    """
    found = min(usable_cores(), work // least)
    return found if found > 1 else 0


def in_order(
    prepare: Callable[..., Callable[[Any], Any]],
    arguments: Sequence[Any],
    tasks: Sequence[Any],
    workers: int,
    watchdog_s: float = WATCHDOG_S,
) -> Generator[Any, None, None]:
    """Yield the result of each task, in the order of the tasks.

    Args:
        prepare: function of a module; each worker calls it once, and what it returns with each of
            its tasks.
        arguments: of `prepare`. Like tasks and results, they can be pickled.
        tasks: what to do.
        workers: processes; 0 does everything in this one.
        watchdog_s: a task that takes longer counts as hung [s].

    Raises:
        S2RobotError: the processes of a task died or hung one after another.
        Exception: what `prepare` or a task raised.

    Examples:
        >>> import operator
        >>> list(in_order(operator.methodcaller, ["__pow__", 2], [3, 4], workers=0))
        [9, 16]
    """
    if not tasks:
        return
    if not workers:
        yield from map(prepare(*arguments), tasks)
        return
    crew = _Crew(prepare, arguments, tasks, min(workers, len(tasks)), watchdog_s)
    try:
        for number in range(len(tasks)):
            yield crew.result(number)
    finally:
        crew.end()


# ------------------------------------------------------------------ in the worker
def serve(connection: int, parent: int) -> None:
    """Carry out tasks until the other side closes: the program of a worker.

    Args:
        connection: file descriptor of the tasks and the answers.
        parent: process that started this one.
    """
    end_with(parent)
    pipe = Connection(connection)
    with contextlib.suppress(EOFError, OSError):  # the parent closed the connection
        prepare, arguments = pipe.recv()
        work = _answer(prepare, *arguments)
        pipe.send(None)  # it is ready
        while True:
            task = pipe.recv()
            pipe.send(work if isinstance(work, _Raised) else _answer(work, task))


def _answer(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or what it raised, for the parent to raise."""
    try:
        return function(*arguments)
    except Exception as error:
        return _Raised(sendable(error))


def end_with(parent: int) -> None:
    """End this worker when its parent ends; a parent that is killed cannot end its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class _Raised:
    """What a task raised."""

    error: Exception


def sendable(error: Exception) -> Exception:
    """Return an error that can be pickled: itself, or one with its message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return S2RobotError(f"{type(error).__name__}: {error}")
    return error


# ------------------------------------------------------------------ in the parent
def start_worker(
    module: str, warns: bool, threads: int, memory: Sequence[int] = ()
) -> tuple[subprocess.Popen, Connection]:
    """Start a process that runs ``serve(connection, parent)`` of a module.

    It has a session of its own, so that Ctrl-C in a terminal reaches the parent alone, and does not
    import the caller's main module.

    Args:
        module: its dotted name.
        warns: whether it warns of the machine; one of several does (``is_silent``).
        threads: of its renderer and of its numerical libraries.
        memory: further file descriptors that it inherits.

    Returns:
        The process, and the connection to it.
    """
    pipe, theirs = Pipe()
    arguments = [module, theirs.fileno(), os.getpid(), sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(arguments)],
        pass_fds=[theirs.fileno(), *memory],
        env={
            **{"LP_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
            **os.environ,
            _SILENT: "" if warns else "1",
        },
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    theirs.close()
    return process, pipe


@dataclass(eq=False)
class _Worker:
    """A process, and what it does."""

    process: subprocess.Popen
    pipe: Connection
    task: int = -1
    """Number of the task; -1 for none."""
    ready: bool = False
    since_s: float = field(default_factory=time.monotonic)


class _Crew:
    """Workers, the tasks that are left, and the results that were not taken yet."""

    def __init__(
        self,
        prepare: Callable[..., Callable[[Any], Any]],
        arguments: Sequence[Any],
        tasks: Sequence[Any],
        workers: int,
        watchdog_s: float,
    ) -> None:
        self._setup = (prepare, tuple(arguments))
        self._tasks, self._watchdog_s = tasks, watchdog_s
        self._left = deque(range(len(tasks)))
        self._tries = [0] * len(tasks)
        self._results: dict[int, Any] = {}
        self._threads = max(1, usable_cores() // workers)
        self._workers: list[_Worker] = []
        self._hired = False
        for _ in range(workers):
            self._hire()

    def result(self, number: int) -> Any:
        """Return the result of a task, once it is there; raise what it raised."""
        while number not in self._results:
            self._listen()
        found = self._results.pop(number)
        if isinstance(found, _Raised):
            raise found.error
        return found

    def end(self) -> None:
        """End the workers; those that are busy may finish what they are doing."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.task < 0:
                worker.process.kill()
        deadline_s = time.monotonic() + _END_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers.clear()

    def _hire(self) -> None:
        """Start a worker and give it a task."""
        module, first = "s2robot.utils.workers", not self._hired
        self._hired = True
        process, pipe = start_worker(module, first, self._threads)
        worker = _Worker(process, pipe)
        self._workers.append(worker)
        with contextlib.suppress(OSError):  # it is dead, which `_listen` will see
            pipe.send(self._setup)
        self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        """Give a worker the first task that is left, if there is one."""
        worker.task = self._left.popleft() if self._left else -1
        if worker.task < 0:
            return
        worker.since_s = time.monotonic()
        self._tries[worker.task] += 1
        with contextlib.suppress(OSError):
            worker.pipe.send(self._tasks[worker.task])

    def _listen(self) -> None:
        """Wait for answers, and take them; replace workers that died or hang."""
        busy = [worker for worker in self._workers if worker.task >= 0]
        left_s = min(self._left_s(worker) for worker in busy)
        ready = wait([worker.pipe for worker in busy], max(0.0, left_s))
        for worker in busy:
            if worker.pipe in ready:
                self._take(worker)
            elif self._left_s(worker) < 0:
                worker.process.kill()
                self._replace(worker, f"did not answer for {self._limit_s(worker):g} s")

    def _left_s(self, worker: _Worker) -> float:
        return worker.since_s + self._limit_s(worker) - time.monotonic()

    def _limit_s(self, worker: _Worker) -> float:
        return self._watchdog_s if worker.ready else START_S

    def _take(self, worker: _Worker) -> None:
        try:
            answer = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.wait()
            status = worker.process.returncode
            self._replace(worker, f"was killed or ran out of memory (exit status {status})")
            return
        if worker.ready:
            self._results[worker.task] = answer
            self._assign(worker)
        else:
            worker.ready, worker.since_s = True, time.monotonic()

    def _replace(self, worker: _Worker, why: str) -> None:
        worker.process.wait()
        worker.pipe.close()
        self._workers.remove(worker)
        if self._tries[worker.task] >= MAX_TRIES:
            raise S2RobotError(
                f"a worker process {why}, {MAX_TRIES} times in the same task; what is finished is "
                "kept. Run again on fewer cores (taskset -c 0), with more memory, or with another "
                "MUJOCO_GL (egl, osmesa)"
            )
        MESSAGES.print(f"note: a worker process {why}; another one takes over its task")
        self._left.appendleft(worker.task)
        self._hire()
