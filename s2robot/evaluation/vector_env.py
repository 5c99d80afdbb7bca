"""Vector environments: several environments that step together, in one process or in workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import S2RobotError
from s2robot.utils.validation import checked_integer

WATCHDOG_S = 300.0
"""A worker without an answer for this long counts as hung, as happens with software renderers."""
INFO_KEYS = ("is_success", "reached", "grasped", "cube_height_m")
"""Entries of the environments' info that a ``VectorStep`` holds."""


@dataclass(frozen=True)
class VectorStep:
    """Observations, info and frames of B environments after a step, with its durations."""

    obs: Mapping[str, np.ndarray]
    """Low-dimensional observations, (B, d) each."""
    info: Mapping[str, np.ndarray]
    """``INFO_KEYS``, (B,) each."""
    frames: np.ndarray | None
    """(B, H, W, 3) uint8 RGB; None without a camera."""
    env_s: float
    """Duration of the physics [s]."""
    render_s: float
    """Duration of the rendering [s]."""


@dataclass(frozen=True)
class CameraView:
    """Camera and size [px] of the frames."""

    camera: str
    height: int
    width: int


class VectorEnv(Protocol):
    """Interface of B environments that start from given states and step together.

    A row that an environment refuses raises a ValueError, and no environment has changed then.
    """

    def reset(self, states: np.ndarray) -> VectorStep:
        """Start every environment from its row of `states` (B, D)."""
        ...

    def step(self, actions: np.ndarray) -> VectorStep:
        """Carry out each environment's row of `actions` (B, A)."""
        ...

    def close(self) -> None:
        """Close every environment."""
        ...


def make_vector_env(
    env_kwargs: Mapping[str, Any], count: int, view: CameraView | None, workers: int = 0
) -> VectorEnv:
    """Return a vector environment.

    Args:
        env_kwargs: of ``PickCubeEnv``.
        count: number of environments.
        view: camera of the frames; None renders none.
        workers: processes; 0 keeps the environments, and one GL context, in this process.

    Raises:
        ValueError: `count`, `workers` or an argument of the environment is not allowed.
    """
    checked_integer("workers", workers, 0)
    if workers == 0:
        return InProcessVectorEnv(env_kwargs, count, view)
    return SubprocessVectorEnv(env_kwargs, count, view, min(workers, count))


class InProcessVectorEnv:
    """Vector environment in this process.

    Args:
        env_kwargs: of ``PickCubeEnv``.
        count: number of environments.
        view: camera of the frames; None renders none.

    Raises:
        ValueError: `count` or an argument of the environment is not allowed.
    """

    def __init__(self, env_kwargs: Mapping[str, Any], count: int, view: CameraView | None) -> None:
        checked_integer("count", count, 1)
        self._envs = [PickCubeEnv(**env_kwargs) for _ in range(count)]
        self._view = view

    def reset(self, states: np.ndarray) -> VectorStep:
        """Start every environment from its row of `states` (B, D)."""
        _check_rows("state", states, len(self._envs), self._envs[0].check_state)
        return self._gather(
            lambda: [
                env.reset(seed=0, options={"state": state})
                for env, state in zip(self._envs, states, strict=True)
            ]
        )

    def step(self, actions: np.ndarray) -> VectorStep:
        """Carry out each environment's row of `actions` (B, A)."""

        def advance() -> list[tuple[Mapping[str, np.ndarray], Mapping[str, Any]]]:
            results = (env.step(a) for env, a in zip(self._envs, actions, strict=True))
            return [(obs, info) for obs, _, _, _, info in results]

        _check_rows("action", actions, len(self._envs), self._envs[0].check_action)
        return self._gather(advance)

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _gather(self, act: Callable[[], Sequence[tuple[Mapping, Mapping]]]) -> VectorStep:
        start = time.perf_counter()
        results = act()
        acted = time.perf_counter()
        frames = self._frames()
        done = time.perf_counter()
        obs = {key: np.stack([o[key] for o, _ in results]) for key in results[0][0]}
        info = {key: np.array([i[key] for _, i in results]) for key in INFO_KEYS}
        return VectorStep(obs, info, frames, acted - start, done - acted)

    def _frames(self) -> np.ndarray | None:
        view = self._view
        if view is None:
            return None
        return np.stack(
            [env.render_frame(view.camera, view.height, view.width) for env in self._envs]
        )


def _check_rows(
    name: str, rows: np.ndarray, count: int, check: Callable[[np.ndarray], None]
) -> None:
    """Refuse rows of another number than `count`, and any that `check` refuses.

    Args:
        name: of one row, "state" or "action".
        rows: one for each environment.
        count: number of environments.
        check: raises a ValueError for a wrong row.
    """
    if np.ndim(rows) != 2 or len(rows) != count:
        raise ValueError(
            f"{name}s have shape {np.shape(rows)}; allowed: one {name} for each of the {count} "
            f"environments, ({count}, length of one)"
        )
    for index, row in enumerate(rows):
        try:
            check(row)
        except ValueError as error:
            raise ValueError(f"environment {index}: {error}") from None


_own: InProcessVectorEnv | None = None  # the environments of a worker process


def _start(env_kwargs: Mapping[str, Any], count: int, view: CameraView | None) -> None:
    global _own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own = InProcessVectorEnv(env_kwargs, count, view)


def _end_with_parent() -> None:
    """End this worker when its parent ends; a parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(method: str, rows: np.ndarray) -> VectorStep:
    return getattr(_own, method)(rows)


class SubprocessVectorEnv:
    """Vector environment over worker processes, each with its own GL context.

    Args:
        env_kwargs: of ``PickCubeEnv``.
        count: number of environments.
        view: camera of the frames; None renders none.
        workers: processes, between which the environments are divided.
        watchdog_s: an answer that takes longer is an error [s].

    Raises:
        ValueError: `count`, `workers` or an argument of the environment is not allowed.
    """

    def __init__(
        self,
        env_kwargs: Mapping[str, Any],
        count: int,
        view: CameraView | None,
        workers: int,
        watchdog_s: float = WATCHDOG_S,
    ) -> None:
        checked_integer("count", count, 1)
        checked_integer("workers", workers, 1, count)
        self._watchdog_s, self._count = watchdog_s, count
        self._checker = PickCubeEnv(**env_kwargs)  # checks rows before any worker acts on one
        self._counts = [len(part) for part in np.array_split(np.arange(count), workers)]
        spawn = multiprocessing.get_context("spawn")  # a GL context does not survive a fork
        self._pools = [
            ProcessPoolExecutor(1, spawn, _start, (dict(env_kwargs), each, view))
            for each in self._counts
        ]
        self._pids: list[int] = self._wait([pool.submit(os.getpid) for pool in self._pools])

    def reset(self, states: np.ndarray) -> VectorStep:
        """Start every environment from its row of `states` (B, D)."""
        _check_rows("state", states, self._count, self._checker.check_state)
        return self._everywhere("reset", states)

    def step(self, actions: np.ndarray) -> VectorStep:
        """Carry out each environment's row of `actions` (B, A)."""
        _check_rows("action", actions, self._count, self._checker.check_action)
        return self._everywhere("step", actions)

    def close(self) -> None:
        """End the worker processes."""
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def _everywhere(self, method: str, rows: np.ndarray) -> VectorStep:
        parts = np.split(rows, np.cumsum(self._counts)[:-1])
        futures = [
            pool.submit(_call, method, part) for pool, part in zip(self._pools, parts, strict=True)
        ]
        return _joined(self._wait(futures))

    def _wait(self, futures: Sequence[Future]) -> list[Any]:
        try:
            return [future.result(timeout=self._watchdog_s) for future in futures]
        except FutureTimeout:
            self._kill()
            raise S2RobotError(
                f"an environment process did not answer for {self._watchdog_s:.0f} s, most likely "
                "because it hung in its renderer. Run again with rollout.workers=0, fewer workers, "
                "or another MUJOCO_GL (egl, osmesa); finished episodes are kept"
            ) from None
        except BrokenProcessPool as error:
            raise S2RobotError(
                "an environment process was killed or ran out of memory. Run again with fewer "
                "workers or rollout.workers=0; finished episodes are kept"
            ) from error

    def _kill(self) -> None:
        for pid in getattr(self, "_pids", []):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _joined(parts: Sequence[VectorStep]) -> VectorStep:
    frames = [part.frames for part in parts if part.frames is not None]
    return VectorStep(
        {key: np.concatenate([part.obs[key] for part in parts]) for key in parts[0].obs},
        {key: np.concatenate([part.info[key] for part in parts]) for key in parts[0].info},
        np.concatenate(frames) if frames else None,
        max(part.env_s for part in parts),
        max(part.render_s for part in parts),
    )
