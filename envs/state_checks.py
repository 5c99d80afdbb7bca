"""Checks of what a caller hands to an environment: states, actions, options, numbers of steps.

Each raises before anything has changed, so that a refused value leaves the episode as it was.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.envs.levels import Level
from s2robot.envs.scene import CUBE
from s2robot.envs.visual_perturbations import check_number
from s2robot.errors import unknown

STATE_KIND = mujoco.mjtState.mjSTATE_INTEGRATION
"""MuJoCo's part of a state: time, positions, velocities, warm start of the solver, controls."""
_LARGEST = 1e10  # MuJoCo resets a simulation whose numbers are larger, without an error
_UNIT_TOLERANCE = 1e-6
_ADVICE = "use a vector of get_state()"


def checked_state(
    state: Any, model: mujoco.MjModel, level: Level, stages: Sequence[str]
) -> np.ndarray:
    """Return a state as a float64 vector (D,), after all checks.

    Args:
        state: of ``get_state``: MuJoCo's part, steps, stage and, on levels whose appearance
            varies, the number of the appearance.
        model: the compiled scene.
        level: of the environment.
        stages: names of the stages, in order.

    Raises:
        ValueError: the vector cannot be a state of this environment; the message states why.
    """
    vector = np.asarray(state)
    if vector.dtype != np.float64:
        raise ValueError(
            f"state has dtype {vector.dtype}; allowed: float64, since a shorter number has lost "
            f"digits of the state; {_ADVICE}"
        )
    physics = mujoco.mj_stateSize(model, STATE_KIND)
    expected = physics + 2 + level.appearance_varies
    if vector.shape != (expected,):
        raise ValueError(
            f"state has shape {vector.shape}, this environment's is ({expected},); it must come "
            "from get_state() of an environment with the same arm, MuJoCo version and "
            f"kind of level (rare_share {level.rare_share:g})"
        )
    if not np.isfinite(vector).all():
        raise ValueError(f"state holds NaN or infinite numbers; {_ADVICE}")
    _check_physics(vector[:physics], model)
    _check_progress(vector[physics : physics + 2], float(vector[0]), stages)
    if level.appearance_varies:
        check_number(vector[-1])
    return vector


def _check_physics(physics: np.ndarray, model: mujoco.MjModel) -> None:
    largest = float(np.abs(physics).max())
    if largest > _LARGEST:
        raise ValueError(
            f"state holds {largest:g}; allowed: numbers up to {_LARGEST:g}, as MuJoCo resets a "
            f"simulation with larger ones; {_ADVICE}"
        )
    if physics[0] < 0:
        raise ValueError(f"state has time {physics[0]:g} s; allowed: 0 s or more; {_ADVICE}")
    first = 1 + int(model.joint(CUBE).qposadr[0]) + 3  # after the time: joint positions
    norm = float(np.linalg.norm(physics[first : first + 4]))
    if abs(norm - 1.0) > _UNIT_TOLERANCE:
        raise ValueError(
            f"the cube's orientation in the state has length {norm:g}; allowed: a unit "
            f"quaternion; {_ADVICE}"
        )


def _check_progress(progress: np.ndarray, time_s: float, stages: Sequence[str]) -> None:
    """Refuse steps that do not fit in the state's time, and stages without a name."""
    steps, stage = progress
    most = int(time_s / CONTROL_DT_S + 1e-6)
    if steps != int(steps) or not 0 <= steps <= most:
        raise ValueError(
            f"state has {steps:g} control steps at {time_s:g} s; allowed: a whole number of 0 to "
            f"{most}, as a step takes {CONTROL_DT_S} s; {_ADVICE}"
        )
    if stage != int(stage) or not 0 <= stage < len(stages):
        raise ValueError(
            f"state has stage {stage:g}; allowed: a whole number of 0 to {len(stages) - 1} "
            f"({', '.join(stages)}); {_ADVICE}"
        )


def checked_action(action: Any, size: int, what: str) -> np.ndarray:
    """Return an action (size,) as float64, clipped to [-1, 1].

    Args:
        action: real numbers.
        size: entries of an action.
        what: the control and the level, for the message.

    Raises:
        ValueError: the shape or the type is wrong, or an entry is not finite.
    """
    array = np.asarray(action)
    if array.dtype.kind not in "fiu":
        raise ValueError(
            f"action has dtype {array.dtype}; allowed: real numbers (floats, integers)"
        )
    if array.shape != (size,):
        raise ValueError(f"action has shape {array.shape}; {what} takes {(size,)}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"action holds NaN or infinite numbers: {array.tolist()}")
    return np.clip(array, -1.0, 1.0)


def checked_options(options: Mapping[str, Any] | None, allowed: Sequence[str]) -> dict[str, Any]:
    """Return the options of a reset.

    Args:
        options: by name; None for none.
        allowed: their names.

    Raises:
        ValueError: not a mapping, or a name that is unknown.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        names = ", ".join(allowed)
        raise ValueError(
            f"options are {type(options).__name__}; allowed: a mapping with the keys {names}"
        )
    for name in options:
        if name not in allowed:
            raise unknown("option of reset", name, allowed)
    return dict(options)
