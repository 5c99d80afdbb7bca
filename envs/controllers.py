"""Controllers: from an action in [-1, 1] to the joint targets of one control step."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from s2robot.envs.kinematics import ArmKinematics, down_quat, quat_to_yaw

CONTROL_DT_S = 0.2
EE_STEP_M = 0.04
YAW_STEP_RAD = 0.2
JOINT_STEP_RAD = 0.15
# Limits of the commanded TCP position [m]; the lowest z keeps the jaws just off the table.
WORKSPACE_LOW_M = np.array([0.25, -0.35, 0.016])
WORKSPACE_HIGH_M = np.array([0.80, 0.35, 0.45])
YAW_LIMIT_RAD = 1.1
_RAMP_SHARE = 0.8  # of a control step: joint targets move for this long, then rest
# Largest distance between the command and an arm that is blocked.
_EE_LEAD_M = 0.01
_JOINT_LEAD_RAD = 0.05


class Controller(Protocol):
    """Interface of a controller: the arm's part of an action to joint targets."""

    @property
    def size(self) -> int:
        """Entries of the arm's part of an action, the gripper's left out."""
        ...

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        """Return the next joint targets (7,) [rad].

        Args:
            commanded_rad: joint targets of the last action (7,).
            measured_rad: joint angles (7,).
            action: the arm's part of the action, in [-1, 1].
        """
        ...


class EndEffectorDelta:
    """Controller of a TCP that points down, by (Δx, Δy, Δz[, Δyaw]) in the robot's base frame.

    Deltas add to the commanded pose, which is the forward kinematics of the commanded joints. So
    the controller has no state, and the simulator's state is enough to restore an episode.

    Args:
        kinematics: of the arm.
        with_yaw: whether actions turn the gripper about the vertical.
    """

    def __init__(self, kinematics: ArmKinematics, with_yaw: bool) -> None:
        self._kinematics = kinematics
        self._with_yaw = with_yaw

    @property
    def size(self) -> int:
        """Entries of the arm's part of an action: 3, or 4 with yaw."""
        return 4 if self._with_yaw else 3

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        """Return the joint targets (7,) [rad] of the TCP moved by the action.

        Args:
            commanded_rad: joint targets of the last action (7,).
            measured_rad: joint angles (7,).
            action: the arm's part of the action, in [-1, 1].
        """
        commanded, quat = self._kinematics.forward(commanded_rad)
        measured, _ = self._kinematics.forward(measured_rad)
        limited = measured + _shorten(commanded - measured, _EE_LEAD_M)
        position = np.clip(limited + EE_STEP_M * action[:3], WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        yaw = 0.0
        if self._with_yaw:
            yaw = quat_to_yaw(quat) + YAW_STEP_RAD * action[3]
            yaw = float(np.clip(yaw, -YAW_LIMIT_RAD, YAW_LIMIT_RAD))
        return self._kinematics.inverse(commanded_rad, position, down_quat(yaw))


class JointDelta:
    """Controller of the seven joint angles, by their changes.

    Args:
        kinematics: of the arm, for the joint limits.
    """

    size = 7

    def __init__(self, kinematics: ArmKinematics) -> None:
        self._low, self._high = kinematics.limits_rad

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        """Return the joint targets (7,) [rad] moved by the action.

        Args:
            commanded_rad: joint targets of the last action (7,).
            measured_rad: joint angles (7,).
            action: the arm's part of the action, in [-1, 1].
        """
        ahead = np.clip(commanded_rad - measured_rad, -_JOINT_LEAD_RAD, _JOINT_LEAD_RAD)
        return np.clip(measured_rad + ahead + JOINT_STEP_RAD * action, self._low, self._high)


class Glide:
    """Joint targets of each physics step between two actions.

    They follow a smooth curve, since jerks would shake a held cube loose. They lead the curve by
    each servo's lag, so that the TCP moves along a straight line. At the end they rest.

    Args:
        timestep_s: of the physics.
        lag_s: damping over stiffness of each servo (7,).
        joints: first targets (7,) [rad].
    """

    def __init__(self, timestep_s: float, lag_s: np.ndarray, joints: np.ndarray) -> None:
        substeps = round(CONTROL_DT_S / timestep_s)
        time = np.minimum(1.0, np.arange(1, substeps + 1) / (substeps * _RAMP_SHARE))
        share = time**2 * (3.0 - 2.0 * time)
        rate = 6.0 * time * (1.0 - time) / (CONTROL_DT_S * _RAMP_SHARE)  # [1/s]
        self._coverage = share[:, None] + rate[:, None] * lag_s  # (substeps, 7)
        self.rest(joints)

    @property
    def substeps(self) -> int:
        """Physics steps of one control step."""
        return len(self._coverage)

    def rest(self, joints: np.ndarray) -> None:
        """Keep targets (7,) [rad] from now on."""
        self.progress = joints, joints, self.substeps

    def begin(self, start: np.ndarray, goal: np.ndarray) -> None:
        """Move between two targets in the physics steps that follow.

        Args:
            start: first targets (7,) [rad].
            goal: last targets (7,) [rad].
        """
        self.progress = start, goal, 0

    @property
    def progress(self) -> tuple[np.ndarray, np.ndarray, int]:
        """First and last targets, (7,) each [rad], and the number of the next physics step."""
        return self._start.copy(), self._goal.copy(), self._next

    @progress.setter
    def progress(self, progress: tuple[np.ndarray, np.ndarray, int]) -> None:
        start, goal, self._next = progress
        self._start, self._goal = np.array(start), np.array(goal)
        self._path = self._start + self._coverage * (self._goal - self._start)  # (substeps, 7)

    def targets(self) -> np.ndarray:
        """Return the targets (7,) [rad] of the next physics step."""
        step = min(self._next, len(self._path) - 1)
        self._next += 1
        return self._path[step]


def _shorten(vector: np.ndarray, longest: float) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
