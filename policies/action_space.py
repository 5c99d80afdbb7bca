"""Descriptions of action spaces in the headers of policy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from s2robot.errors import unknown

_MOTIONS = {
    "ee_delta": ("dx", "dy", "dz", "dyaw"),
    "joint_delta": tuple(f"dq{joint}" for joint in range(1, 8)),
}


class Box(Protocol):
    """Interface of a bounded action space, as Gymnasium's ``Box`` has it."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class ActionBounds:
    """Bounds of the actions that a policy gives: what its network says beyond them is limited.

    Of recorded data they are the range of the training episodes, so that an entry that was constant
    there keeps its value.
    """

    low: np.ndarray
    """``(A,)`` float32."""
    high: np.ndarray
    """``(A,)`` float32."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ActionBounds:
        """Return the bounds in a policy's header.

        Args:
            record: its ``action_space``.
        """
        return cls(np.asarray(record["low"], np.float32), np.asarray(record["high"], np.float32))

    def limited(self, actions: np.ndarray) -> np.ndarray:
        """Return actions ``(..., A)`` within the bounds.

        Args:
            actions: as ``Policy.act`` returns them.

        Examples:
            >>> bounds = ActionBounds(np.array([-5.0, 7.0]), np.array([5.0, 7.0]))
            >>> bounds.limited(np.array([[9.0, 7.1]])).tolist()
            [[5.0, 7.0]]
        """
        return actions.clip(self.low, self.high)


def action_space_record(
    action_space: Box,
    control: str,
    control_hz: float,
    own: Mapping[str, list[float]] | None = None,
) -> dict[str, Any]:
    """Return the description of an action space for a policy's header.

    Args:
        action_space: bounds ``(A,)``.
        control: ``ee_delta`` or ``joint_delta``, where the gripper is the last entry; ``native``
            for an environment's own actions.
        control_hz: control steps per second.
        own: bounds ``low`` and ``high`` in the environment's own units, for which -1 and 1 stand;
            None where actions are executed as they are.

    Raises:
        ValueError: the control is unknown.

    Examples:
        >>> from gymnasium.spaces import Box
        >>> record = action_space_record(Box(-1, 1, (4,)), "ee_delta", 5.0)
        >>> record["dim"], record["meaning"]
        (4, ['dx', 'dy', 'dz', 'gripper'])
    """
    dim = len(action_space.low)
    if control == "native":
        meaning = [f"a{entry}" for entry in range(dim)]
    elif control in _MOTIONS:
        meaning = [*_MOTIONS[control][: dim - 1], "gripper"]
    else:
        raise unknown("control", control, (*_MOTIONS, "native"))
    return {
        "control": control,
        "dim": dim,
        "low": [float(value) for value in action_space.low],
        "high": [float(value) for value in action_space.high],
        "meaning": meaning,
        "control_hz": float(control_hz),
        **({} if own is None else {"own": dict(own)}),
    }


RECORDED = "recorded"
"""Control of policies for recorded actions, whose bounds are those of the training episodes."""
PROPRIO_NAMES = "proprio_names"
"""Entry of such a policy's ``frames``: names of the numbers of each low-dimensional observation."""


def recorded_action_space(
    low: np.ndarray, high: np.ndarray, names: Sequence[str], control_hz: float | None
) -> dict[str, Any]:
    """Return the description of recorded actions, in their own units, for a policy's header.

    Args:
        low: ``(A,)`` smallest values in the training episodes.
        high: ``(A,)`` largest values.
        names: of the entries.
        control_hz: control steps per second; None where the data do not tell.
    """
    return {
        "control": RECORDED,
        "dim": len(names),
        "low": [float(value) for value in low],
        "high": [float(value) for value in high],
        "meaning": list(names),
        "control_hz": None if control_hz is None else float(control_hz),
    }
