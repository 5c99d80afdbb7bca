"""Forward and inverse kinematics of the arm's tool center point (TCP)."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import mujoco
import numpy as np

from s2robot.envs.panda import ARM_JOINTS, PREFIX, TCP_SITE

_POSITION_TOLERANCE_M = 1e-5
_ROTATION_TOLERANCE_RAD = 1e-4
_MAX_ITERATIONS = 30
_MAX_STEP_RAD = 0.3
_DAMPING = 1e-4
_POSTURE_GAIN = 0.05


def down_quat(yaw_rad: float) -> np.ndarray:
    """Return the orientation (wxyz) of a TCP that points down, turned by a yaw [rad].

    At yaw 0 the fingers close along y.
    """
    return np.array([0.0, np.cos(yaw_rad / 2), np.sin(yaw_rad / 2), 0.0])


def quat_to_yaw(quat: np.ndarray) -> float:
    """Return the yaw [rad] in (-π, π] of an orientation (wxyz), about the world's vertical."""
    w, x, y, z = quat
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def joint_body(model: mujoco.MjModel, joint: str) -> int:
    """Return the id of the body that a joint moves.

    Args:
        model: the compiled scene.
        joint: name of the joint, with its prefix.
    """
    return int(model.joint(joint).bodyid[0])


class ArmKinematics:
    """Forward and inverse kinematics of the arm; results depend on the arguments only.

    Args:
        model: the compiled scene.
        posture_rad: joint angles (7,) that the inverse prefers among its solutions.

    Attributes:
        limits_rad: joint limits (2, 7): low, high.
    """

    def __init__(self, model: mujoco.MjModel, posture_rad: np.ndarray) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        joints = [model.joint(PREFIX + name) for name in ARM_JOINTS]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self.limits_rad = np.array([joint.range for joint in joints]).T  # (2, 7): low, high
        self._site = model.site(PREFIX + TCP_SITE).id
        self._posture = np.asarray(posture_rad, dtype=float)

    def forward(self, joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the TCP's position (3,) [m] and orientation (4,) wxyz at joint angles (7,)."""
        self._data.qpos[self._qpos] = joints_rad
        mujoco.mj_kinematics(self._model, self._data)
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, self._data.site_xmat[self._site])
        return self._data.site_xpos[self._site].copy(), quat

    def inverse(self, start_rad: np.ndarray, position: np.ndarray, quat: np.ndarray) -> np.ndarray:
        """Return joint angles (7,) [rad] within limits that bring the TCP to a pose.

        The method is damped least squares, with a pull to the preferred posture in the null space.
        For a pose out of reach, the result is the last iteration's.

        Args:
            start_rad: joint angles (7,) of the first iteration.
            position: of the TCP (3,) [m].
            quat: orientation of the TCP (4,), wxyz.
        """
        joints = np.array(start_rad, dtype=float)
        jacobian = np.zeros((6, self._model.nv))
        for _ in range(_MAX_ITERATIONS):
            error = self._pose_error(joints, position, quat)
            if self._converged(error):
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, jacobian[:3], jacobian[3:], self._site)
            step = self._damped_step(jacobian[:, self._dofs], error, joints)
            joints = np.clip(joints + step, *self.limits_rad)
        return joints

    def _pose_error(self, joints: np.ndarray, position: np.ndarray, quat: np.ndarray) -> np.ndarray:
        here, orientation = self.forward(joints)
        error = np.empty(6)
        error[:3] = position - here
        inverse, turn = np.empty(4), np.empty(4)
        mujoco.mju_negQuat(inverse, orientation)
        mujoco.mju_mulQuat(turn, np.asarray(quat, dtype=float), inverse)
        mujoco.mju_quat2Vel(error[3:], turn, 1.0)
        return error

    @staticmethod
    def _converged(error: np.ndarray) -> bool:
        return bool(
            np.linalg.norm(error[:3]) < _POSITION_TOLERANCE_M
            and np.linalg.norm(error[3:]) < _ROTATION_TOLERANCE_RAD
        )

    def _damped_step(
        self, jacobian: np.ndarray, error: np.ndarray, joints: np.ndarray
    ) -> np.ndarray:
        damped = jacobian @ jacobian.T + _DAMPING * np.eye(6)
        posture = _POSTURE_GAIN * (self._posture - joints)
        step = posture + jacobian.T @ np.linalg.solve(damped, error - jacobian @ posture)
        return step * min(1.0, _MAX_STEP_RAD / max(np.abs(step).max(), 1e-9))
