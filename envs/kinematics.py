"""Forward and inverse kinematics of the arm's tool center point (TCP)."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np

from s2robot.envs.panda import ARM_JOINTS, PREFIX, TCP_SITE

_POSITION_TOLERANCE_M = 1e-5
_ROTATION_TOLERANCE_RAD = 1e-4
_MAX_ITERATIONS = 30
_MAX_STEP_RAD = 0.3
_RIDGE = 1e-4 * np.eye(6)  # the damping
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

    Products are MuJoCo's: those of NumPy's BLAS have other last digits on another processor, and
    demonstrations would too.

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
        self._qpos = consecutive(np.array([joint.qposadr[0] for joint in joints]))
        self._dofs = consecutive(np.array([joint.dofadr[0] for joint in joints]))
        self.limits_rad = np.array([joint.range for joint in joints]).T  # (2, 7): low, high
        self._site = model.site(PREFIX + TCP_SITE).id
        self._posture = np.asarray(posture_rad, dtype=float)
        self._squares, self._task = np.empty((6, 6)), np.empty(6)

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
        low, high = self.limits_rad
        qpos = self._data.qpos
        error_of = self._pose_error(np.asarray(position), np.asarray(quat, dtype=float))
        jacobian_of = self._jacobian()
        for _ in range(_MAX_ITERATIONS):
            qpos[self._qpos] = joints
            mujoco.mj_kinematics(self._model, self._data)
            error = error_of()
            if _converged(error):
                break
            joints = (joints + self._damped_step(jacobian_of(), error, joints)).clip(low, high)
        return joints

    def _pose_error(self, position: np.ndarray, quat: np.ndarray) -> Callable[[], np.ndarray]:
        """Return a function that measures the way to a pose (6,) [m, rad], always in one array."""
        here, rotation = self._data.site_xpos[self._site], self._data.site_xmat[self._site]
        error, orientation, inverse, turn = np.empty(6), np.empty(4), np.empty(4), np.empty(4)
        shift, turning = error[:3], error[3:]

        def measure() -> np.ndarray:
            np.subtract(position, here, out=shift)
            mujoco.mju_mat2Quat(orientation, rotation)
            mujoco.mju_negQuat(inverse, orientation)
            mujoco.mju_mulQuat(turn, quat, inverse)
            mujoco.mju_quat2Vel(turning, turn, 1.0)
            return error

        return measure

    def _jacobian(self) -> Callable[[], np.ndarray]:
        """Return a function that gives the TCP's Jacobian (6, 7), always in one array."""
        model, data, dofs, site = self._model, self._data, self._dofs, self._site
        whole, arm = np.zeros((6, model.nv)), np.empty((6, 7))
        linear, angular = whole[:3], whole[3:]

        def measure() -> np.ndarray:
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, linear, angular, site)
            arm[:] = whole[:, dofs]
            return arm

        return measure

    def _damped_step(
        self, jacobian: np.ndarray, error: np.ndarray, joints: np.ndarray
    ) -> np.ndarray:
        damped, task, step = self._squares, self._task, np.empty(7)
        mujoco.mju_mulMatMatT(damped, jacobian, jacobian)
        damped += _RIDGE
        posture = _POSTURE_GAIN * (self._posture - joints)
        mujoco.mju_mulMatVec(task, jacobian, posture)
        np.subtract(error, task, out=task)
        mujoco.mju_cholFactor(damped, 0.0)
        mujoco.mju_cholSolve(task, damped, task)
        mujoco.mju_mulMatTVec(step, jacobian, task)
        step += posture
        largest = max(map(abs, step.tolist()))
        return step * (_MAX_STEP_RAD / largest) if largest > _MAX_STEP_RAD else step


def consecutive(indices: np.ndarray) -> slice | np.ndarray:
    """Return indices as a slice where they are consecutive, which NumPy reads many times faster."""
    first, last = int(indices[0]), int(indices[-1])
    same = np.array_equal(indices, np.arange(first, last + 1))
    return slice(first, last + 1) if same else indices


def _converged(error: np.ndarray) -> bool:
    shift, turn = error[:3], error[3:]
    return (
        mujoco.mju_norm3(shift) < _POSITION_TOLERANCE_M
        and mujoco.mju_norm3(turn) < _ROTATION_TOLERANCE_RAD
    )
