"""Forward and inverse kinematics of the arm."""

from __future__ import annotations

import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from s2robot.envs import kinematics
from s2robot.envs.kinematics import consecutive, down_quat
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.scene import HOME_JOINTS_RAD


def plain_inverse(arm, start, position, quat) -> np.ndarray:
    """Return the solution by the formula, with new arrays and operators throughout."""
    model, data = arm._model, mujoco.MjData(arm._model)  # type: ignore[attr-defined]
    joints, jacobian, dofs = np.array(start), np.zeros((6, model.nv)), np.arange(7)
    for _ in range(30):
        data.qpos[dofs] = joints
        mujoco.mj_kinematics(model, data)  # type: ignore[attr-defined]
        here, inverse, turn, error = np.empty(4), np.empty(4), np.empty(4), np.empty(6)
        mujoco.mju_mat2Quat(here, data.site_xmat[arm._site])  # type: ignore[attr-defined]
        error[:3] = position - data.site_xpos[arm._site]
        mujoco.mju_negQuat(inverse, here)  # type: ignore[attr-defined]
        mujoco.mju_mulQuat(turn, quat, inverse)  # type: ignore[attr-defined]
        mujoco.mju_quat2Vel(error[3:], turn, 1.0)  # type: ignore[attr-defined]
        if np.linalg.norm(error[:3]) < 1e-5 and np.linalg.norm(error[3:]) < 1e-4:
            break
        mujoco.mj_comPos(model, data)  # type: ignore[attr-defined]
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], arm._site)  # type: ignore[attr-defined]
        own = jacobian[:, dofs]
        posture = 0.05 * (np.array(HOME_JOINTS_RAD) - joints)
        damped = own @ own.T + 1e-4 * np.eye(6)
        step = posture + own.T @ np.linalg.solve(damped, error - own @ posture)
        step = step * min(1.0, 0.3 / max(np.abs(step).max(), 1e-9))
        joints = np.clip(joints + step, *arm.limits_rad)
    return joints


@pytest.mark.parametrize("reach", [0.02, 0.3, 2.0])  # the last is out of reach
def test_the_inverse_is_its_formula(reach):
    arm = PickCubeEnv("easy").kinematics
    rng = np.random.default_rng(0)
    home, _ = arm.forward(np.array(HOME_JOINTS_RAD))
    for _ in range(10):
        start = np.array(HOME_JOINTS_RAD) + rng.uniform(-0.1, 0.1, 7)
        position = home + rng.uniform(-reach, reach, 3)
        quat = down_quat(rng.uniform(-1, 1))
        found = arm.inverse(start, position, quat)
        expected = plain_inverse(arm, start, position, quat)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


_DIGESTS = """
import hashlib
import numpy as np
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv

rng = np.random.default_rng(0)
square = rng.normal(size=(64, 64))
products = hashlib.sha256(np.linalg.solve(square, square @ square.T).tobytes())
states = hashlib.sha256()
for level in ("precise", "hard"):
    env = PickCubeEnv(level)
    expert = ScriptedExpert(env.level)
    observation, _ = env.reset(seed=1)
    for _ in range(32):
        action = expert.action(observation) + rng.uniform(-0.3, 0.3, env.action_space.shape)
        observation, *_ = env.step(action.clip(-1, 1).astype(np.float32))
        states.update(env.get_state().tobytes())
print(products.hexdigest(), states.hexdigest())
"""


@pytest.mark.process
def test_episodes_are_the_same_on_another_processor():
    """OpenBLAS has kernels for each kind of processor, which round in different ways."""
    found = []
    for kind in ("Haswell", "Prescott"):
        variables = {**os.environ, "OPENBLAS_CORETYPE": kind, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-c", _DIGESTS]
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    (products, states), (other_products, other_states) = found
    if products == other_products:
        pytest.skip("this NumPy's BLAS has the same products on all processors")
    assert states == other_states


def test_the_inverse_reaches_a_pose_and_leaves_its_arguments_alone():
    arm = PickCubeEnv("easy").kinematics
    start = np.array(HOME_JOINTS_RAD)
    home, _ = arm.forward(start)
    position = home + (0.05, -0.05, 0.03)
    found = arm.inverse(start, position, down_quat(0.4))
    reached, quat = arm.forward(found)
    np.testing.assert_allclose(reached, position, atol=2e-5)
    assert kinematics.quat_to_yaw(quat) == pytest.approx(0.4, abs=2e-4)
    np.testing.assert_array_equal(start, HOME_JOINTS_RAD)


def test_indices_with_gaps_stay_indices():
    assert consecutive(np.array([3, 4, 5])) == slice(3, 6)
    np.testing.assert_array_equal(consecutive(np.array([3, 5])), [3, 5])
    np.testing.assert_array_equal(consecutive(np.array([5, 4, 3])), [5, 4, 3])
