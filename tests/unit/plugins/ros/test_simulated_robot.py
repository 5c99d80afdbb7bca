"""The robot of the ROS simulator, and an environment that moves between steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.ros_doubles import header
from support.ros_policies import make_policy

from s2robot.data.ros_messages.stamps import NS
from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core.policy.proprioception import JointTracker, Proprioception
from s2robot.plugins.ros.simulated_robot import JOINT_NAMES, RobotConfig, SimulatedRobot
from s2robot.policies.checkpoint import recorded_action_space, save_policy
from s2robot.policies.dataset import stack_proprio


def expert_lifts(robot: SimulatedRobot, period_s: float = 0.2) -> None:
    """Let the expert act every ``period_s`` until the episode ends."""
    expert = ScriptedExpert(robot.env.level)
    while robot.ended() is None:
        robot.act(expert.action(robot.env.observe()))
        end_s = robot.time_s + period_s
        for part in (0.3, 0.55, 1.0):  # at no whole share of the physics' steps
            robot.pass_until(end_s - period_s * (1 - part))


@pytest.mark.parametrize("parts", [(40,), (7, 13, 20), (1,) * 40])
def test_a_step_is_its_parts(parts: tuple[int, ...]) -> None:
    whole, piecewise = PickCubeEnv("easy"), PickCubeEnv("easy")
    rng = np.random.default_rng(0)
    for env in (whole, piecewise):
        env.reset(seed=3)
    for _ in range(5):
        action = rng.uniform(-1, 1, 4)
        seen = whole.step(action)[0]
        piecewise.begin(action)
        for substeps in parts:
            piecewise.advance(substeps)
        found = piecewise.observe()
        for key, value in seen.items():
            assert np.array_equal(value, found[key]), key


def test_an_arm_without_actions_comes_to_rest() -> None:
    env = PickCubeEnv("easy")
    env.reset(seed=3)
    env.begin(np.array([1.0, 0.0, 0.0, 1.0]))
    env.advance(80)
    rest = env.observe()["ee_pos"]
    env.advance(200)
    assert np.abs(env.observe()["ee_pos"] - rest).max() < 1e-3
    start = PickCubeEnv("easy").reset(seed=3)[0]["ee_pos"]
    assert rest[0] - start[0] == pytest.approx(0.04, abs=3e-3)


def test_a_state_that_is_restored_has_no_action_left() -> None:
    env = PickCubeEnv("easy")
    env.reset(seed=3)
    state = env.get_state()
    env.begin(np.array([1.0, 1.0, 0.0, 1.0]))
    env.advance(10)
    env.set_state(state)
    before = env.observe()["ee_pos"]
    env.advance(60)
    assert np.abs(env.observe()["ee_pos"] - before).max() < 1e-3


def test_the_expert_lifts_the_cube() -> None:
    robot = SimulatedRobot(RobotConfig(seed=11))
    expert_lifts(robot)
    episode = robot.ended()
    assert episode is not None
    assert (episode.success, episode.stage, episode.seed) == (True, "success", 11)
    assert episode.actions * 0.2 >= episode.seconds - 0.2 > 0.8


def test_an_episode_ends_with_its_time_and_the_clock_goes_on() -> None:
    robot = SimulatedRobot(RobotConfig(seed=11, seconds=0.5))
    robot.pass_until(0.49)
    assert robot.ended() is None
    robot.pass_until(0.5)
    episode = robot.ended()
    assert episode is not None
    assert (episode.success, episode.seconds, episode.actions) == (False, 0.5, 0)
    robot.reset(12)
    assert robot.ended() is None
    assert robot.time_s == pytest.approx(0.5)


def test_joints_give_the_proprioception_of_the_environment() -> None:
    robot = SimulatedRobot(RobotConfig(seed=4))
    robot.act(np.array([0.5, -0.5, -1.0, -1.0]))
    robot.pass_until(0.13)
    position, velocity = robot.joints()
    tracker = JointTracker()

    message = SimpleNamespace(
        header=header(5 * NS), name=JOINT_NAMES, position=position, velocity=velocity
    )
    tracker.update(message, 0.0)
    keys = ("ee_pos", "gripper_width", "joint_pos", "joint_vel")
    joints = tracker.read()
    assert joints is not None
    found = Proprioception(keys)(joints)
    seen = {key: value[None] for key, value in robot.env.observe().items()}
    np.testing.assert_allclose(found, stack_proprio(seen, keys), atol=2e-5)


def test_a_policy_of_recorded_data_has_no_simulated_robot(tmp_path: Path) -> None:
    policy, head = make_policy()
    space = recorded_action_space(-np.ones(4), np.ones(4), ("x", "y", "z", "grip"), 5.0)
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy, dataclasses.replace(head, action_space=space, env_kwargs={}))
    with pytest.raises(MismatchError, match=r"recorded actions \(x, y, z, grip\)"):
        SimulatedRobot(RobotConfig(policy=str(path)))


@pytest.mark.render
def test_a_policys_own_task_and_camera(tmp_path: Path) -> None:
    policy, head = make_policy()
    head.env_kwargs.update(level="precise")
    head.frames["camera"] = {"name": "wrist", "size": 96}
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy, head)
    robot = SimulatedRobot(RobotConfig(policy=str(path)))
    assert robot.env.level.name == "precise"
    assert (robot.camera, robot.shape) == ("wrist", (96, 96))
    assert robot.frame().shape == (96, 96, 3)
    other = SimulatedRobot(RobotConfig(policy=str(path), camera="front", height=60, width=80))
    assert (other.camera, other.frame().shape) == ("front", (60, 80, 3))


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"camera_hz": 0.0}, "camera_hz is 0.0; it must be positive"),
        ({"speed": -1.0}, "speed is -1.0"),
        ({"episodes": -1}, "episodes is -1"),
        ({"levle": "easy"}, "did you mean 'level'"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RobotConfig.from_parameters(parameters)


def test_bad_actions_are_refused() -> None:
    robot = SimulatedRobot(RobotConfig())
    with pytest.raises(ValueError, match="NaN"):
        robot.act(np.array([0, 0, 0, np.nan]))
    with pytest.raises(ValueError, match="shape"):
        robot.act(np.zeros(7))
