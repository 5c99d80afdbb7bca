"""From camera to gripper over ROS 1: the simulated robot lifts cubes with the node's actions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rospy = pytest.importorskip("rospy", reason="ROS 1 is not in this environment: make test-ros")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402  # pyright: ignore
from sensor_msgs.msg import JointState  # noqa: E402  # pyright: ignore
from std_msgs.msg import String  # noqa: E402  # pyright: ignore
from support.ros1_rig import Received, statuses, wait_for  # noqa: E402

from s2robot.plugins.ros.ros1_messages import message_class  # noqa: E402

ActionStamped = message_class("ActionStamped")
EPISODES = 8
FEWEST_LIFTED = 3
"""Offline, the policy lifts about nine of ten; one that sees nothing lifts one of eight."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy trained as by a user; it picks about nine of ten cubes of level `easy`."""
    folder = tmp_path_factory.mktemp("policy")
    words = ["level=easy", "demos.episodes=120", "scales=[1]", "budget=none"]
    places = [f"runs_dir={folder / 'runs'}", f"data_dir={folder / 'data'}"]
    command = [sys.executable, "-m", "s2robot.cli.main", "train", *words, *places]
    subprocess.run(command, check=True, capture_output=True)
    return next((folder / "runs" / "cells").glob("*/policy.safetensors"))


def results(received: Received) -> list[dict[str, Any]]:
    """Return the outcomes of the finished episodes."""
    return [json.loads(message.data) for message in received.messages]


@pytest.mark.slow
def test_cubes_are_lifted(rig, policy):
    received = rig.subscribe("/episode", String)
    actions = rig.subscribe("/action", ActionStamped)
    joints = rig.subscribe("/joint_states", JointState)
    words = (f"policy:={policy}", f"episodes:={EPISODES}")
    scene = rig.start("scene", "roslaunch", "s2robot_ros", "simulation.launch", *words)
    wait_for("all episodes", lambda: len(received.messages) >= EPISODES, 180)
    assert scene.wait() == 0
    found = results(received)
    assert [row["seed"] for row in found] == [2_000_000 + i for i in range(EPISODES)]
    lifted = [row for row in found if row["success"]]
    assert len(lifted) >= FEWEST_LIFTED, found
    for row in lifted:  # at 5 Hz an episode cannot hold more actions than periods
        assert row["stage"] == "success"
        assert 5 <= row["actions"] <= row["seconds"] * 5 + 2
    first = actions.messages[0]
    assert (first.policy, first.anew, len(first.data)) == (policy.name, True, 4)
    assert first.meaning == ["dx", "dy", "dz", "gripper"]
    assert first.period == pytest.approx(0.2)
    assert np.abs([message.data for message in actions.messages]).max() <= 1
    assert joints.messages[0].name[0] == "panda_joint1"
    stamps = [message.header.stamp.to_nsec() for message in actions.messages]
    assert len(set(stamps)) == len(stamps), "a frame was acted on twice"


@pytest.mark.slow
def test_actions_stop_while_the_robot_is_silent(rig, policy):
    """A robot that hangs gets no actions; when it continues, the policy continues too."""
    robot = rig.start(
        "robot",
        sys.executable,
        "-m",
        "s2robot.plugins.ros.ros1_simulator",
        "__name:=s2robot_simulator",
        f"_policy:={policy}",
        "_seconds:=600",
    )
    node = rig.launch(
        "encoder", "encoder.launch", "image:=/image", f"policy:={policy}", "action:=/action"
    )
    actions = rig.subscribe("/action", ActionStamped)
    health = rig.subscribe("/diagnostics", DiagnosticArray)
    actions.after(5)
    os.kill(robot.pid, signal.SIGSTOP)
    rospy.sleep(1.0)  # stale_s is 0.5
    stopped = len(actions.messages)
    rospy.sleep(1.5)
    assert len(actions.messages) == stopped
    values = statuses(health.after(1)[-1])["policy"]
    assert values["level"] == "2"
    assert "no new frames" in values["message"] or "no new joints" in values["message"]
    os.kill(robot.pid, signal.SIGCONT)
    assert actions.after(5)[stopped].anew
    wait_for("the policy is well", lambda: statuses(health.after(1)[-1])["policy"]["level"] == "0")
    assert node.running
