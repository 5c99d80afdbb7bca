"""The ROS 2 node with a policy on rclpy and FastDDS: when it acts, and what it publishes.

One node serves all tests: this process is its lifecycle manager, its robot and its subscriber.
They run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from rosgraph_msgs.msg import Clock  # noqa: E402
from s2robot_msgs.msg import ActionStamped  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float32MultiArray  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from support.ros2_managed import Camera, Managed, image, stamp_of  # noqa: E402
from support.ros2_own import FRAME  # noqa: E402
from support.ros2_rig import IMAGE, eventually  # noqa: E402
from support.ros_policies import HOME, PANDA  # noqa: E402

import s2robot  # noqa: E402
from s2robot.policies.checkpoint import load_policy  # noqa: E402

OWN = {"encoder": "", "readout": "", "scales": []}
"""Parameters that are those of the policy."""


class Robot:
    """Camera and joints of a node with a policy, and what it is told.

    Args:
        node: the node under test.
        policy: path of the policy's file.
        kind: type of the actions' messages.
        parameters: of the node, beside those of every test.
    """

    def __init__(
        self, node: Managed, policy: str, kind: Any = ActionStamped, **parameters: Any
    ) -> None:
        node.start(image_topics=[IMAGE], policy=policy, **OWN, **parameters)
        self.node = node
        self.camera = Camera(node, [IMAGE])
        self.actions = node.rig.subscribe("/action", kind)
        self.frame = FRAME
        self.joints: Any = None  # until the robot first publishes them

    def feel(self, positions: Sequence[float] = HOME, names: Sequence[str] = PANDA) -> None:
        """Publish joint states of now."""
        if self.joints is None:
            publisher = self.node.rig.node.create_publisher
            self.joints = publisher(JointState, "/joint_states", 10)
        state = JointState(name=list(names), position=list(positions))
        state.header.stamp = self.node.rig.node.get_clock().now().to_msg()
        self.joints.publish(state)

    def show(self, until: Callable[[], object], *joints: Sequence[Any]) -> None:
        """Publish frames and joint states (positions and names) until something is seen."""

        def shown() -> object:
            self.feel(*joints)
            self.camera.publish(image(self.frame))
            time.sleep(0.1)
            return until()

        eventually("the policy acts, or says why it does not", shown)

    def acts(self) -> list[Any]:
        """Show frames until one more has been acted on; return all actions."""
        count = len(self.actions.messages)
        self.show(lambda: len(self.actions.messages) > count)
        return self.actions.messages

    def paused(self, text: str) -> bool:
        """Return whether diagnostics say that there are no actions, and this reason."""
        return f"no actions: {text}" in self.node.status("policy").get("message", "")

    def close(self) -> None:
        if self.joints is not None:
            self.node.rig.node.destroy_publisher(self.joints)
        self.actions.close()
        self.camera.close()


@pytest.fixture
def robot(node: Managed, policy: str) -> Iterator[Callable[..., Robot]]:
    """Makes the robot of a test."""
    made: list[Robot] = []

    def make(*args: Any, policy: str = policy, **parameters: Any) -> Robot:
        made.append(Robot(node, policy, *args, **parameters))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_it_acts_on_fresh_and_whole_joint_states_alone(robot, policy: str) -> None:
    arm = robot()
    actions, paused = arm.actions, arm.paused
    eventually("it has no joints", lambda: paused("there are no joint states yet: /joint_states"))
    other_arm = ["shoulder_pan_joint", "elbow_joint"]
    arm.show(lambda: paused("joint states lack"), [0.0, 1.0], other_arm)
    assert not actions.messages
    arm.show(lambda: len(actions.messages) > 2)
    assert [message.anew for message in actions.messages[:2]] == [True, False]
    not_a_number = [float("nan"), *HOME[1:]]
    arm.show(lambda: paused("the position of panda_joint1 is nan"), not_a_number)
    assert arm.node.status("policy")["level"] == "2"
    count, health = len(actions.messages), arm.node.health.messages
    health.clear()
    arm.show(lambda: len(health) > 3, not_a_number)
    assert len(actions.messages) == count
    arm.show(lambda: len(actions.messages) > count)
    assert actions.messages[count].anew
    eventually("it says so", lambda: "actions again" in arm.node.process.text)
    stamps = [stamp_of(each) for each in actions.messages]
    assert stamps == sorted(set(stamps))  # each frame is acted on once
    assert set(stamps) <= set(arm.camera.sent)
    meaning = load_policy(policy)[1].action_space["meaning"]
    for message in actions.messages:
        assert message.policy == "policy.safetensors"
        assert list(message.meaning) == meaning
        assert len(message.data) == len(meaning)
        assert np.abs(message.data).max() <= 1
        assert message.period == pytest.approx(0.2)
        assert message.header.frame_id == f"frame of {stamp_of(message)}"


def test_a_policy_of_bags_on_the_arm_that_they_were_of(robot, tmp_path: Path) -> None:
    """Joints by their names, actions by the recording's names and in its units."""
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.recorded_policies import policy_of_bags

    path = policy_of_bags(tmp_path, ("/joint_states",))
    alone = s2robot.load_policy(path, device="cpu", runtime="eager")
    arm = robot(policy=str(path))
    arm.frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    arm.show(lambda: arm.paused("joint states lack the position of joint_1"), [0.1], ["joint_0"])
    arm.show(lambda: arm.actions.messages, [0.2, 0.1], ["joint_1", "joint_0"])
    action = arm.actions.messages[0]
    expected = alone(arm.frame, {"/joint_states": [0.1, 0.2]})
    np.testing.assert_allclose(action.data, expected, rtol=0, atol=1e-5)
    assert tuple(action.meaning) == ("dx", "dy", "close")
    assert action.period == pytest.approx(0.1)


def test_the_watchdog_stops_it_without_new_frames(robot) -> None:
    arm = robot(stale_s=2.0)
    arm.acts()
    eventually("it has stopped", lambda: arm.node.status("policy").get("level") == "2")
    assert arm.paused("")
    count = len(arm.actions.messages)
    assert "no actions: " in arm.node.process.text
    assert arm.acts()[count].anew


def test_no_actions_after_switching_off(robot) -> None:
    """What it saw before is forgotten."""
    arm = robot()
    arm.acts()
    enable = arm.node.rig.call
    arm.camera.publish(image(FRAME))
    arm.feel()
    assert enable(SetBool, "enable", data=False).success
    time.sleep(0.5)  # what was on its way
    count = len(arm.actions.messages)
    assert enable(SetBool, "enable", data=True).success
    for _ in range(5):  # joints without a frame, in several periods of the policy
        arm.feel()
        time.sleep(0.2)
    assert len(arm.actions.messages) == count
    arm.acts()


def test_actions_as_arrays(robot) -> None:
    arm = robot(Float32MultiArray, output="float32multiarray")
    (dimension,) = arm.acts()[0].layout.dim
    assert dimension.size == len(arm.actions.messages[0].data) == len(dimension.label.split())


def test_while_simulated_time_stands_still(robot) -> None:
    """Diagnostics come; the policy's ticks follow the simulator."""
    arm = robot(use_sim_time=True)
    eventually("diagnostics come", lambda: len(arm.node.health.messages) > 5)
    assert arm.node.status("policy")["message"] == "0 actions"  # no tick has looked for frames
    clock = arm.node.rig.node.create_publisher(Clock, "/clock", 10)
    seconds = iter(range(1, 10_000))

    def told() -> bool:
        clock.publish(Clock(clock=rclpy.time.Time(seconds=next(seconds)).to_msg()))
        time.sleep(0.1)
        return arm.paused("there are no joint states yet: ")

    eventually("diagnostics say why", told)
    arm.node.rig.node.destroy_publisher(clock)
