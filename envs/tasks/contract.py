"""The task contract: everything above the environments speaks to these interfaces alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np

NATIVE = "native"
"""Control of tasks whose actions are the environment's own, each scaled to [-1, 1]."""
Start = Literal["state", "seed"]
"""How an initial condition is stored. "state": as a full state, so that an episode starts from the
same numbers everywhere. "seed": as the seed of a reset, so that two episodes start alike only
where the environment draws the same from a seed; their pairing is worth as much."""


class Space(Protocol):
    """A bounded space of actions, as Gymnasium's ``Box`` has it."""

    low: np.ndarray
    high: np.ndarray


class TaskEnv(Protocol):
    """One environment of a task, which starts from stored initial conditions.

    One that has ``begins_within_steps = True`` besides takes ``delay_s`` in ``step``: the last
    action goes on for so long [s] before this one begins, so that rollouts in real time delay
    actions by less than a control step.
    """

    action_space: Any
    """A ``Space`` of (A,) numbers in [-1, 1]."""

    @property
    def control(self) -> str:
        """Name of the action space: ``ee_delta``, ``joint_delta`` or ``native``."""
        ...

    @property
    def horizon(self) -> int:
        """Control steps of an episode."""
        ...

    @property
    def rate_hz(self) -> float:
        """Control steps per second."""
        ...

    @property
    def info_keys(self) -> tuple[str, ...]:
        """Entries of the info of each step; ``is_success`` is one of them."""
        ...

    @property
    def start(self) -> Start:
        """How initial conditions are stored."""
        ...

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; the first one is the default."""
        ...

    def frame_shape(self, camera: str) -> tuple[int, int] | None:
        """Return (height, width) [px] of a camera's frames; None where it draws any size."""
        ...

    def proprio_keys(self) -> tuple[str, ...]:
        """Return the low-dimensional observations that policies get, in order."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode, by a seed or by ``{"state": vector}``.

        Returns:
            Low-dimensional observations, (d,) float32 each, and the info.
        """
        ...

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry out an action (A,) in [-1, 1]; after the end of an episode nothing changes."""
        ...

    def get_state(self) -> np.ndarray:
        """Return what restores this moment: (D,) float64."""
        ...

    def check_state(self, state: np.ndarray) -> None:
        """Raise the ValueError with which ``reset`` would refuse a state."""
        ...

    def check_action(self, action: np.ndarray) -> None:
        """Raise the ValueError with which ``step`` would refuse an action."""
        ...

    def render_frame(
        self, camera: str, height: int, width: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the present frame (height, width, 3) uint8 RGB, upright; in `out` if given."""
        ...

    def env_kwargs(self) -> dict[str, Any]:
        """Return JSON-able arguments that build this environment again; ``level`` is the task."""
        ...

    def close(self) -> None:
        """Free the environment."""
        ...


Expert = Callable[[dict[str, np.ndarray]], np.ndarray]
"""From the observations of a moment to the action (A,) in [-1, 1]."""


class Task(Protocol):
    """A task by its name: makes its environments, and may have an expert."""

    def make(self, env_kwargs: Mapping[str, Any]) -> TaskEnv:
        """Return an environment.

        Args:
            env_kwargs: as ``TaskEnv.env_kwargs`` returns them; those that are missing have their
                defaults.
        """
        ...

    def expert_of(self, env: TaskEnv) -> Expert | None:
        """Return the expert of one episode that was just reset; None where the task has none."""
        ...

    def noise_of(self, env: TaskEnv, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return the execution noise of one demonstration: from an action to the executed one."""
        ...
