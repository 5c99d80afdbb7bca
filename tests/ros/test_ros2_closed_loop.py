"""From camera to gripper over ROS 2: the simulated robot on rclpy and FastDDS.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from s2robot_msgs.msg import ActionStamped  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from support.ros1_rig import statuses  # noqa: E402
from support.ros2_rig import (  # noqa: E402
    SIMULATOR,
    WAIT_S,
    Received2,
    Rig2,
    eventually,
)

from s2robot.data.ros_messages.images import image_to_rgb  # noqa: E402
from s2robot.envs.expert import ScriptedExpert  # noqa: E402
from s2robot.envs.pick_cube import PickCubeEnv  # noqa: E402
from s2robot.plugins.ros.ros2_simulator import SimulatorNode, main  # noqa: E402
from s2robot.plugins.ros.ros2_support import EPISODE_QOS  # noqa: E402
from s2robot.plugins.ros.simulated_robot import JOINT_NAMES  # noqa: E402

EPISODES = 8
FEWEST_LIFTED = 3
"""Offline, the policy lifts about nine of ten; one that sees nothing lifts one of eight."""
WAITING = ("synchronous:=true", "use_sim_time:=true", "wait_s:=60.0")
FIRST = 2_000_000
"""Seed of the first episode of `s2robot eval`."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy trained as by a user; it picks about nine of ten cubes of level `easy`."""
    folder = tmp_path_factory.mktemp("policy")
    words = ["level=easy", "demos.episodes=120", "scales=[1]", "budget=none"]
    places = [f"runs_dir={folder / 'runs'}", f"data_dir={folder / 'data'}"]
    command = [sys.executable, "-m", "s2robot.cli.main", "train", *words, *places]
    subprocess.run(command, check=True, capture_output=True)
    return next((folder / "runs" / "cells").glob("*/policy.safetensors"))


class Expert:
    """A node that picks cubes: it acts on each frame by an environment that it steps beside.

    Frames and joint states must be those of that environment, to the last bit.
    """

    def __init__(self, ros2: Rig2, seed: int, size: tuple[int, int]) -> None:
        self.env, self.size = PickCubeEnv("easy"), size
        self.expert = ScriptedExpert(self.env.level)
        self.seed, self.actions, self.wrong = seed, 0, []
        self.observation = self.env.reset(seed=seed)[0]
        self.joints: dict[int, Any] = {}
        self.node, self.open, self.lock = ros2.node, True, threading.Lock()
        self.publisher = self.node.create_publisher(ActionStamped, "/action", 1)
        self.ends = [
            self.node.create_subscription(JointState, "/joint_states", self.feel, 10),
            self.node.create_subscription(Image, "/image", self.see, 1),
        ]

    def feel(self, message: Any) -> None:
        self.joints[stamp_of(message)] = message

    def see(self, message: Any) -> None:
        with self.lock:
            if self.open:
                self.act(message)

    def act(self, message: Any) -> None:
        frame = image_to_rgb(message)
        expected = self.env.render_frame("front", *self.size)
        if not np.array_equal(frame, expected):
            self.wrong.append(f"frame {self.actions} of seed {self.seed}")
        joints = self.joints.get(stamp_of(message))
        if joints and list(joints.position) != self.env.joints()[0].tolist():
            self.wrong.append(f"joints {self.actions} of seed {self.seed}")
        values = self.expert.action(self.observation).astype(np.float32)
        self.observation, _, _, _, info = self.env.step(values)
        self.actions += 1
        if info["is_success"]:
            self.seed += 1
            self.observation = self.env.reset(seed=self.seed)[0]
        self.publisher.publish(ActionStamped(header=message.header, data=values.tolist()))

    def close(self) -> None:
        with self.lock:
            self.open = False
        for end in self.ends:
            self.node.destroy_subscription(end)
        self.node.destroy_publisher(self.publisher)


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def results(received: Received2) -> list[dict[str, Any]]:
    """Return the outcomes of the finished episodes."""
    return [json.loads(message.data) for message in received.messages]


def state(ros2: Rig2) -> int:
    return ros2.call(GetState, "get_state", SIMULATOR).current_state.id


def change(ros2: Rig2, transition: int) -> bool:
    request = Transition(id=transition)
    return ros2.call(ChangeState, "change_state", SIMULATOR, transition=request).success


def test_an_expert_lifts_cubes_in_a_world_that_waits(ros2: Rig2) -> None:
    """What the topics show is the environment's own episode, picture by picture."""
    received = ros2.subscribe("/episode", String, qos=EPISODE_QOS)
    clock = ros2.subscribe("/clock", Clock)
    expert = Expert(ros2, 5, (48, 64))
    words = (*WAITING, "seed:=5", "episodes:=3", "height:=48", "width:=64")
    robot = ros2.simulator(*words)
    assert robot.wait(WAIT_S) == 0
    expert.close()
    received.after(3 - len(received.messages))
    found = results(received)
    assert not expert.wrong
    assert [(row["seed"], row["success"], row["missed"]) for row in found] == [
        (seed, True, 0) for seed in (5, 6, 7)
    ]
    assert sum(row["actions"] for row in found) == expert.actions == len(expert.joints.keys())
    assert all(row["seconds"] == pytest.approx(0.2 * row["actions"]) for row in found)
    times = [each.clock.sec * 10**9 + each.clock.nanosec for each in clock.messages]
    assert times == sorted(times)
    assert "episode 7: lifted after" in robot.text


def test_a_late_subscriber_hears_of_finished_episodes(ros2: Rig2) -> None:
    """Of ROS 1's, which are latched, it hears the last one alone."""
    expert = Expert(ros2, 5, (48, 64))
    robot = ros2.simulator(*WAITING, "seed:=5", "height:=48", "width:=64")
    eventually("two episodes are over", lambda: "episode 6: lifted" in robot.text)
    messages = ros2.subscribe("/episode", String, qos=EPISODE_QOS).after(2)[:2]
    expert.close()
    found = [json.loads(message.data) for message in messages]
    assert [(row["seed"], row["success"]) for row in found] == [(5, True), (6, True)]


def test_it_publishes_in_time_and_a_manager_halts_it(ros2: Rig2) -> None:
    robot = ros2.simulator("autostart:=false", "height:=48", "width:=64")
    frames = ros2.subscribe("/image", Image)
    joints = ros2.subscribe("/joint_states", JointState)
    assert state(ros2) == State.PRIMARY_STATE_UNCONFIGURED
    assert change(ros2, Transition.TRANSITION_CONFIGURE)
    assert not change(ros2, Transition.TRANSITION_CONFIGURE)
    assert not joints.messages
    assert change(ros2, Transition.TRANSITION_ACTIVATE)
    first = frames.after(3)[0]
    assert (first.encoding, first.height, first.width, first.step) == ("rgb8", 48, 64, 192)
    assert first.header.frame_id == "camera"
    message = joints.after(3)[0]
    assert tuple(message.name) == JOINT_NAMES
    assert len(message.velocity) == len(JOINT_NAMES)
    assert abs(stamp_of(message) / 1e9 - time.time()) < WAIT_S, "stamps are those of the wall"
    assert change(ros2, Transition.TRANSITION_DEACTIVATE)
    time.sleep(0.5)  # what was on its way
    seen = len(joints.messages)
    time.sleep(0.5)
    assert len(joints.messages) == seen
    assert change(ros2, Transition.TRANSITION_ACTIVATE)
    joints.after(3)
    assert change(ros2, Transition.TRANSITION_DEACTIVATE)
    assert change(ros2, Transition.TRANSITION_CLEANUP)
    assert change(ros2, Transition.TRANSITION_CONFIGURE)
    assert change(ros2, Transition.TRANSITION_ACTIVATE)
    frames.after(3)
    robot.kill(signal.SIGINT)
    assert robot.wait() == 0
    assert "Traceback" not in robot.text


def test_ctrl_c_ends_a_world_that_waits(ros2: Rig2) -> None:
    """Nobody answers the frames: the wait of a minute does not keep it from ending."""
    frames = ros2.subscribe("/image", Image)
    publisher = ros2.node.create_publisher(ActionStamped, "/action", 1)
    robot = ros2.simulator(*WAITING, "height:=48", "width:=64")
    frames.after(1)
    robot.kill(signal.SIGINT)
    assert robot.wait() == 0
    assert "Traceback" not in robot.text
    ros2.node.destroy_publisher(publisher)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter("levle", value="easy"), "did you mean 'level'"),
        (Parameter("level", value="esay"), "did you mean 'easy'"),
        (Parameter("camera_hz", value=0.0), "camera_hz is 0.0; it must be positive"),
        (Parameter("policy", value="/no/such.safetensors"), "/no/such.safetensors"),
        (Parameter("synchronous", value=True), "synchronous is true, but time is not simulated"),
    ],
)
@pytest.mark.usefixtures("all_tests")
def test_a_wrong_parameter_is_refused_with_a_reason(
    parameter: Parameter, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    node = SimulatorNode("refused", parameter_overrides=[parameter])
    assert not node.start()
    node.destroy_node()
    logged = capfd.readouterr().err
    assert text in logged
    assert "Traceback" not in logged


def test_a_simulator_that_cannot_start_ends_with_a_reason(ros2: Rig2) -> None:
    robot = ros2.simulator("level:=esay")
    assert robot.wait(WAIT_S) == 1
    assert "did you mean 'easy'" in robot.text
    assert "Traceback" not in robot.text


def test_its_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulator", "--help"])
    assert caught.value.code == 0
    assert "-p policy:=/data/policy.safetensors -p episodes:=10" in capsys.readouterr().out


def by_eval(policy: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of `s2robot eval` on the same initial states."""
    words = [f"checkpoint={policy}", f"n={EPISODES}", f"out={folder / 'eval'}"]
    command = [sys.executable, "-m", "s2robot.cli.main", "eval", *words, "rollout.videos=0"]
    subprocess.run([*command, f"data_dir={folder}"], check=True, capture_output=True)
    return [json.loads(line) for line in (folder / "eval" / "episodes.jsonl").open()]


@pytest.mark.slow
def test_a_policy_does_over_ros_what_it_does_in_eval(ros2, policy, tmp_path):
    """In a world that waits, the node's actions are those of the rollouts, however busy it is."""
    received = ros2.subscribe("/episode", String, qos=EPISODE_QOS)
    actions = ros2.subscribe("/action", ActionStamped)
    ros2.encoder("use_sim_time:=true", "stale_s:=60.0", f"policy:={policy}", image="/image")
    eventually("it offers actions", lambda: ros2.node.count_publishers("/action"))
    robot = ros2.simulator(*WAITING, f"policy:={policy}", f"episodes:={EPISODES}")
    assert robot.wait(2 * WAIT_S) == 0
    received.after(EPISODES - len(received.messages))
    found = results(received)
    assert [row["seed"] for row in found] == [FIRST + i for i in range(EPISODES)]
    assert [row["missed"] for row in found] == [0] * EPISODES
    expected = [row["success_once"] for row in by_eval(policy, tmp_path)]
    different = sum(row["success"] != won for row, won in zip(found, expected, strict=True))
    # Proprioception by way of joint states differs in its last digits.
    assert different <= 1, (found, expected)
    begun = [message for message in actions.messages if message.anew]
    # The node may find this subscriber a moment after it published its first action.
    assert len(begun) in (EPISODES - 1, EPISODES)
    assert (begun[0].policy, len(begun[0].data)) == (policy.name, 4)
    assert begun[0].meaning == ["dx", "dy", "dz", "gripper"]
    assert begun[0].period == pytest.approx(0.2)
    stamps = [stamp_of(message) for message in actions.messages]
    assert len(set(stamps)) == len(stamps), "a frame was acted on twice"


@pytest.mark.slow
def test_cubes_are_lifted_in_time(ros2, policy):
    received = ros2.subscribe("/episode", String, qos=EPISODE_QOS)
    ros2.encoder("use_sim_time:=true", f"policy:={policy}", image="/image")
    words = ("use_sim_time:=true", f"policy:={policy}", f"episodes:={EPISODES}")
    robot = ros2.simulator(*words)
    assert robot.wait(2 * WAIT_S) == 0
    received.after(EPISODES - len(received.messages))
    found = results(received)
    lifted = [row for row in found if row["success"]]
    assert len(lifted) >= FEWEST_LIFTED, found
    for row in lifted:  # at 5 Hz an episode cannot hold more actions than periods
        assert row["stage"] == "success"
        assert 5 <= row["actions"] <= row["seconds"] * 5 + 2


@pytest.mark.slow
def test_actions_stop_while_the_robot_is_silent(ros2, policy):
    """A robot that hangs gets no actions; when it continues, the policy continues too."""
    robot = ros2.simulator(f"policy:={policy}", "seconds:=600.0")
    ros2.encoder(f"policy:={policy}", "stale_s:=1.0", image="/image")
    actions = ros2.subscribe("/action", ActionStamped)
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    actions.after(5)
    os.kill(robot.pid, signal.SIGSTOP)
    time.sleep(2.0)
    stopped = len(actions.messages)
    time.sleep(1.5)
    assert len(actions.messages) == stopped
    (values,) = [each for name, each in statuses(health.after(2)[-1]).items() if name == "policy"]
    assert values["level"] == "2"
    assert "no new frames" in values["message"] or "no new joints" in values["message"]
    os.kill(robot.pid, signal.SIGCONT)
    assert actions.after(5)[stopped].anew
