# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import mujoco
import numpy as np
import pytest

from s2robot.envs.kinematics import ArmKinematics, down_quat, quat_to_yaw
from s2robot.envs.levels import get_level
from s2robot.envs.panda import ARM_JOINTS, LINKS, load_arm, panda_spec
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import RenderQuality
from s2robot.envs.scene import HOME_JOINTS_RAD, compiled_scene

# Franka's published Craig-convention table: a [m], d [m], alpha [rad] of joints 1 to 7.
DH_A = (0, 0, 0, 0.0825, -0.0825, 0, 0.088)
DH_D = (0.333, 0, 0.316, 0, 0.384, 0, 0)
DH_ALPHA = (0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
FLANGE_M = 0.107
HAND_TO_TCP_M = 0.1034
# Franka's published joint limits [rad].
LIMITS = (
    (-2.8973, 2.8973), (-1.7628, 1.7628), (-2.8973, 2.8973), (-3.0718, -0.0698),
    (-2.8973, 2.8973), (-0.0175, 3.7525), (-2.8973, 2.8973),
)  # fmt: skip


def dh_forward(joints_rad: np.ndarray) -> np.ndarray:
    """TCP pose (4, 4) by the textbook product of Craig transforms."""
    pose = np.eye(4)
    for theta, a, d, alpha in zip(joints_rad, DH_A, DH_D, DH_ALPHA, strict=True):
        ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [
                [ct, -st, 0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
    c = np.sqrt(0.5)  # the hand is mounted turned by -45°
    hand = np.array(
        [[c, c, 0, 0], [-c, c, 0, 0], [0, 0, 1, FLANGE_M + HAND_TO_TCP_M], [0, 0, 0, 1]]
    )
    return pose @ hand


@pytest.fixture(scope="module")
def kinematics() -> ArmKinematics:
    model = compiled_scene(get_level("easy"), RenderQuality())
    return ArmKinematics(model, np.array(HOME_JOINTS_RAD))


def test_forward_kinematics_is_the_pandas(kinematics):
    rng = np.random.default_rng(0)
    for joints in rng.uniform(*kinematics.limits_rad, size=(50, 7)):
        position, quat = kinematics.forward(joints)
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, quat)
        expected = dh_forward(joints)
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-6)
        np.testing.assert_allclose(rotation.reshape(3, 3), expected[:3, :3], atol=1e-6)


def test_joint_limits_are_the_pandas(kinematics):
    np.testing.assert_allclose(kinematics.limits_rad.T, LIMITS)
    assert tuple(link.joint_range_rad for link in LINKS) == LIMITS


def test_inverse_reaches_the_workspace_pointing_down(kinematics):
    rng = np.random.default_rng(1)
    low, high = kinematics.limits_rad
    for _ in range(20):
        position, yaw = rng.uniform((0.35, -0.2, 0.02), (0.7, 0.2, 0.3)), rng.uniform(-0.7, 0.7)
        joints = kinematics.inverse(np.array(HOME_JOINTS_RAD), position, down_quat(yaw))
        reached, quat = kinematics.forward(joints)
        assert np.linalg.norm(reached - position) < 2e-4
        assert quat_to_yaw(quat) == pytest.approx(yaw, abs=1e-3)
        assert ((low <= joints) & (joints <= high)).all()


def test_inverse_out_of_reach_stays_within_limits(kinematics):
    start = np.array(HOME_JOINTS_RAD)
    joints = kinematics.inverse(start, np.array([2.0, 0.0, 0.5]), down_quat(0.0))
    low, high = kinematics.limits_rad
    assert np.isfinite(joints).all()
    assert ((low <= joints) & (joints <= high)).all()


def test_external_arm_behaves_like_our_own(tmp_path):
    path = tmp_path / "panda.xml"
    spec = panda_spec()
    spec.compile()
    path.write_text(spec.to_xml())
    own, external = PickCubeEnv(), PickCubeEnv(arm_path=str(path))
    own.reset(seed=3)
    external.reset(seed=3)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 4)):
        expected, seen = own.step(action)[0], external.step(action)[0]
    np.testing.assert_allclose(seen["ee_pos"], expected["ee_pos"], atol=1e-3)
    assert external.env_kwargs()["arm_path"] == str(path)


def test_external_arm_without_its_joints_is_refused(tmp_path):
    path = tmp_path / "arm.xml"
    path.write_text(
        "<mujoco><worldbody><body name='hand'><joint name='joint1'/><geom size='.1'/></body>"
        "</worldbody></mujoco>"
    )
    with pytest.raises(ValueError, match=r"lacks joint2, .*finger_joint2; it has joints joint1"):
        load_arm(path)


def test_missing_and_foreign_arm_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at"):
        load_arm(tmp_path / "absent.xml")
    foreign = tmp_path / "notes.xml"
    foreign.write_text("not a model")
    with pytest.raises(ValueError, match="not a readable MJCF model"):
        load_arm(foreign)


def test_every_arm_joint_has_a_servo_within_its_limits():
    model = panda_spec().compile()
    for name in ARM_JOINTS:
        servo = model.actuator(name)
        np.testing.assert_allclose(servo.ctrlrange, model.joint(name).range)
