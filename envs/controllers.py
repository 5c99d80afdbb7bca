"""What an action means: from numbers in [-1, 1] to joint targets of one control step."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from s2robot.envs.kinematics import ArmKinematics, down_quat, quat_to_yaw

CONTROL_DT_S = 0.2
EE_STEP_M = 0.04
YAW_STEP_RAD = 0.2
JOINT_STEP_RAD = 0.15
# Where the TCP may be sent [m]; the lowest z keeps the jaws just off the table.
WORKSPACE_LOW_M = np.array([0.25, -0.35, 0.016])
WORKSPACE_HIGH_M = np.array([0.80, 0.35, 0.45])
YAW_LIMIT_RAD = 1.1
_RAMP_SHARE = 0.8  # of a control step: joint targets glide for this long, then rest
# How far a command may run ahead of an arm that is blocked.
_EE_LEASH_M = 0.01
_JOINT_LEASH_RAD = 0.05


class Controller(Protocol):
    """Turns the arm's part of an action (without the gripper) into joint targets."""

    @property
    def size(self) -> int:
        """Numbers in the arm's part of the action."""
        ...

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        """Next joint targets (7,) [rad] from the last ones, the joints as they are, the action."""
        ...


class EndEffectorDelta:
    """(Δx, Δy, Δz[, Δyaw]) of a TCP that points down, in the robot's base frame.

    Deltas add to the commanded pose, which is the forward kinematics of the commanded joints: the
    simulator's own state is all there is to restore.
    """

    def __init__(self, kinematics: ArmKinematics, with_yaw: bool) -> None:
        self._kinematics = kinematics
        self._with_yaw = with_yaw

    @property
    def size(self) -> int:
        return 4 if self._with_yaw else 3

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        commanded, quat = self._kinematics.forward(commanded_rad)
        measured, _ = self._kinematics.forward(measured_rad)
        leashed = measured + _shorten(commanded - measured, _EE_LEASH_M)
        position = np.clip(leashed + EE_STEP_M * action[:3], WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        yaw = 0.0
        if self._with_yaw:
            yaw = quat_to_yaw(quat) + YAW_STEP_RAD * action[3]
            yaw = float(np.clip(yaw, -YAW_LIMIT_RAD, YAW_LIMIT_RAD))
        return self._kinematics.inverse(commanded_rad, position, down_quat(yaw))


class JointDelta:
    """Δ of the seven joint angles."""

    size = 7

    def __init__(self, kinematics: ArmKinematics) -> None:
        self._low, self._high = kinematics.limits_rad

    def joint_targets(
        self, commanded_rad: np.ndarray, measured_rad: np.ndarray, action: np.ndarray
    ) -> np.ndarray:
        ahead = np.clip(commanded_rad - measured_rad, -_JOINT_LEASH_RAD, _JOINT_LEASH_RAD)
        return np.clip(measured_rad + ahead + JOINT_STEP_RAD * action, self._low, self._high)


class Glide:
    """Joint targets from where they are to where an action sends them, physics step by step.

    They follow a smooth curve, as jerks shake a held cube loose, and are ahead of it by what each
    servo's damping holds it back, so that the TCP runs straight. At the end they rest.

    Args:
        timestep_s: of the physics.
        lag_s: damping over stiffness of each servo (7,).
        joints: targets to begin with (7,) [rad].
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
        """Stay at targets (7,) [rad]."""
        self._start = self._goal = np.array(joints)
        self._next = self.substeps

    def begin(self, start: np.ndarray, goal: np.ndarray) -> None:
        """Go from targets (7,) to targets (7,) [rad] in the physics steps that follow."""
        self._start, self._goal, self._next = np.array(start), np.array(goal), 0

    def targets(self) -> np.ndarray:
        """Targets (7,) [rad] of the next physics step."""
        step = min(self._next, self.substeps - 1)
        self._next += 1
        return self._start + self._coverage[step] * (self._goal - self._start)


def _shorten(vector: np.ndarray, longest: float) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
