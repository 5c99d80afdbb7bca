"""Environments of one process that step together, and what a step of theirs returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from s2robot.data.config import frame_size
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.pick_cube import INFO_KEYS as INFO_KEYS
from s2robot.utils.validation import checked_integer

Frames = np.ndarray | dict[str, np.ndarray]
"""Frames (B, H, W, 3) uint8 RGB of one camera, or those of several by name."""


@dataclass(frozen=True)
class VectorStep:
    """Observations, info and frames of B environments after a step, with its durations."""

    obs: Mapping[str, np.ndarray]
    """Low-dimensional observations, (B, d) each."""
    info: Mapping[str, np.ndarray]
    """The task's ``info_keys``, (B,) each."""
    frames: Frames | None
    """(B, H, W, 3) uint8 RGB, of several cameras by name; None without a camera. They may be
    overwritten as soon as the environments begin their next step."""
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

    @classmethod
    def of(cls, camera: Mapping[str, Any]) -> CameraView:
        """Return the view of a camera in files: its name, and ``size`` or ``height``, ``width``."""
        return cls(camera["name"], *frame_size(camera))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, 3) of a frame."""
        return self.height, self.width, 3


Views = CameraView | Sequence[CameraView] | None
"""Cameras of the frames: one, whose frames are an array, or several; None renders none."""


def as_views(views: Views) -> tuple[CameraView, ...]:
    """Return cameras as a tuple, which is empty without one."""
    if views is None:
        return ()
    return (views,) if isinstance(views, CameraView) else tuple(views)


def by_camera(views: Views, frames: Sequence[np.ndarray]) -> Frames | None:
    """Return the frames of all cameras as a step has them.

    Args:
        views: the cameras.
        frames: of each camera, (B, H, W, 3).
    """
    if views is None:
        return None
    if isinstance(views, CameraView):
        return frames[0]
    return {view.camera: own for view, own in zip(views, frames, strict=True)}


def begins_within_steps(env: Any) -> bool:
    """Return whether an environment can begin an action within a control step.

    Then its ``step`` takes ``delay_s``, and its actions in files may have one more entry, the delay
    [s].
    """
    return bool(getattr(env, "begins_within_steps", False))


def carry_out(
    env: Any, row: np.ndarray
) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
    """Carry out an action as it is in files; return what ``step`` returns.

    Args:
        env: of the episode's task.
        row: (A,), or (A + 1,) with how late in the control step the action begins [s].
    """
    action, delay_s = action_and_delay(env, row)
    return env.step(action) if delay_s is None else env.step(action, delay_s=delay_s)


def check_row(env: Any, row: np.ndarray) -> None:
    """Raise the ValueError with which ``carry_out`` would refuse a row's action."""
    env.check_action(action_and_delay(env, row)[0])


def action_and_delay(env: Any, row: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Return the action (A,) of a row, and how late in its step it begins [s], if the row says so.

    Args:
        env: of the episode's task.
        row: as ``carry_out`` takes it.
    """
    size = int(env.action_space.shape[0])
    if begins_within_steps(env) and np.shape(row) == (size + 1,):
        return row[:size], min(float(row[size]), 1.0 / env.rate_hz)  # float32 may round it up
    return row, None


class EnvGroup:
    """B environments of this process that step together.

    Args:
        env_kwargs: of the task's environment.
        count: number of environments.
        view: camera of the frames, or several; None renders none.

    Raises:
        ValueError: `count` or an argument of the environment is not allowed.
    """

    def __init__(self, env_kwargs: Mapping[str, Any], count: int, view: Views) -> None:
        checked_integer("count", count, 1)
        self._envs = [make_env(env_kwargs) for _ in range(count)]
        self._view = view

    def reset(self, states: np.ndarray, frames: Frames | None) -> VectorStep:
        """Start every environment from its row of `states` (B, D).

        Args:
            states: (B, D).
            frames: (B, H, W, 3) uint8, to be drawn into, by name for several cameras; None draws
                nothing.
        """
        start = time.perf_counter()
        results = [
            env.reset(seed=0, options={"state": state})
            for env, state in zip(self._envs, states, strict=True)
        ]
        return self._gather(results, start, frames)

    def step(self, actions: np.ndarray, frames: Frames | None) -> VectorStep:
        """Carry out each environment's row of `actions`.

        Args:
            actions: (B, A), or (B, A + 1) as ``carry_out`` takes a row.
            frames: (B, H, W, 3) uint8, to be drawn into, by name for several cameras; None draws
                nothing.
        """
        start = time.perf_counter()
        stepped = [carry_out(env, row) for env, row in zip(self._envs, actions, strict=True)]
        return self._gather([(obs, info) for obs, _, _, _, info in stepped], start, frames)

    def replay(
        self, states: np.ndarray, actions: list[np.ndarray], frames: Frames | None
    ) -> VectorStep:
        """Repeat an episode from its start, and draw after its last step alone.

        Args:
            states: (B, D).
            actions: (B, A) of each step so far.
            frames: (B, H, W, 3) uint8, to be drawn into, by name for several cameras; None draws
                nothing.
        """
        if not actions:
            return self.reset(states, frames)
        self.reset(states, None)
        for earlier in actions[:-1]:
            self.step(earlier, None)
        return self.step(actions[-1], frames)

    def check_states(self, states: np.ndarray) -> None:
        """Raise a ValueError where ``reset`` would refuse `states`."""
        check_rows("state", states, len(self._envs), self._envs[0].check_state)

    def check_actions(self, actions: np.ndarray) -> None:
        """Raise a ValueError where ``step`` would refuse `actions`."""
        check_rows("action", actions, len(self._envs), partial(check_row, self._envs[0]))

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()

    def _gather(
        self,
        results: list[tuple[dict[str, np.ndarray], dict[str, Any]]],
        start: float,
        frames: Frames | None,
    ) -> VectorStep:
        acted = time.perf_counter()
        for view in as_views(self._view):
            if frames is None:
                break
            into = frames[view.camera] if isinstance(frames, dict) else frames
            for env, frame in zip(self._envs, into, strict=True):
                env.render_frame(view.camera, view.height, view.width, out=frame)
        done = time.perf_counter()
        obs = {key: np.stack([o[key] for o, _ in results]) for key in results[0][0]}
        keys = self._envs[0].info_keys
        info = {key: np.array([i[key] for _, i in results]) for key in keys}
        return VectorStep(obs, info, frames, acted - start, done - acted)


def check_rows(
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
