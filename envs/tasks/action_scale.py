"""Units of an environment's own actions, which the task contract has in [-1, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np

from s2robot.envs.tasks.contract import NATIVE


class ActionScale:
    """Bounds of an environment's own actions (A,), and the way between them and [-1, 1].

    Args:
        low: smallest values (A,).
        high: largest values (A,).

    Examples:
        >>> scale = ActionScale(np.array([0.0]), np.array([512.0]))
        >>> scale.own(np.array([0.5])), scale.unit(np.array([384.0]))
        (array([384.], dtype=float32), array([0.5], dtype=float32))
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)

    def own(self, action: np.ndarray) -> np.ndarray:
        """Return actions (..., A) of [-1, 1] in the environment's units, float32."""
        share = (np.clip(action, -1.0, 1.0) + 1.0) / 2.0
        return (self.low + share * (self.high - self.low)).astype(np.float32)

    def unit(self, action: np.ndarray) -> np.ndarray:
        """Return actions (..., A) in the environment's units as ones in [-1, 1], float32."""
        return np.clip(self.unclipped(action), -1.0, 1.0)

    def unclipped(self, action: np.ndarray) -> np.ndarray:
        """Return actions (..., A) in the environment's units, float32; its bounds are -1 and 1.

        Examples:
            >>> scale = ActionScale(np.array([0.0]), np.array([2.0]))
            >>> scale.unclipped(np.array([0.0, 1.0, 3.0])).tolist()
            [-1.0, 0.0, 2.0]
        """
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        ahead = np.asarray(action, np.float64) - self.low
        return (2.0 * ahead / span - 1.0).astype(np.float32)

    def record(self) -> dict[str, list[float]]:
        """Return the bounds for files, JSON-able."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}


def scale_of(env: Any) -> ActionScale | None:
    """Return the scale of an environment's own actions; None where they are in [-1, 1] themselves.

    Args:
        env: of the task contract; its ``action_scale`` is optional. The actions of a task of its
            own without one are those of the contract, within its bounds.
    """
    found = getattr(env, "action_scale", None)
    if found is None and env.control == NATIVE:
        return ActionScale(env.action_space.low, env.action_space.high)
    return found
