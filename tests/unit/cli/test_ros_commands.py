"""Commands that start nodes: their words, and what they say where ROS is missing."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from s2robot.cli.main import main
from s2robot.plugins import ros as plugin
from s2robot.plugins.ros.core import NodeConfig

COMMANDS = [
    (["ros2-node", "--ros-args", "-r", "image:=/camera"], "rclpy", "s2robot[ros2]"),
    (["ros2-camera", "noise"], "rclpy", "s2robot[ros2]"),
    (["ros2-record", "run.mcap", "/camera"], "rclpy", "s2robot[ros2]"),
    (["ros1-node", "image:=/camera"], "rospy", "apt install python3-rospy"),
]


@pytest.mark.parametrize(("argv", "package", "advice"), COMMANDS)
def test_without_ros_one_line_says_what_to_install(
    argv: list[str],
    package: str,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in ("ros1", "ros2", "ros2_recordings.camera", "ros2_recordings.recorder"):
        monkeypatch.delitem(sys.modules, f"s2robot.plugins.ros.{name}", raising=False)
        monkeypatch.delattr(plugin, name, raising=False)
    assert main(argv) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith(f"error: {sys.executable} cannot import {package} (")
    assert advice in error


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("ros2", ["ros2-node", "--ros-args", "-p", "lazy:=false", "-r", "image:=/camera"]),
        ("ros1", ["ros1-node", "image:=/camera", "_lazy:=false", "__name:=mine"]),
    ],
)
def test_a_node_gets_all_arguments(
    module: str, argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    node = SimpleNamespace(main=lambda words: seen.append(words) or 7)
    monkeypatch.setitem(sys.modules, f"s2robot.plugins.ros.{module}", node)
    monkeypatch.setattr(plugin, module, node, raising=False)
    assert main(argv) == 7
    assert seen == [[f"s2robot {argv[0]}", *argv[1:]]]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("ros2-node image:=/camera", "follow --ros-args.*: --ros-args -r image:=/camera"),
        ("ros2-node lazy:=false", "--ros-args -p lazy:=false"),
        ("ros2-node --ros-args -p a:=1 -- later", "'later' is one word too many"),
        ("ros2-camera a.mp4 lazy:=false", "--ros-args -p lazy:=false"),
        ("ros2-camera a.mp4 --hz 0", "--hz is 0; allowed: above 0"),
        ("ros2-camera a.mp4 --hz nan", "--hz is nan; allowed: above 0"),
        ("ros2-record a.mcap", "TOPIC"),
        ("ros2-record a.bag /b", "a.bag: allowed are NAME.mcap, and NAME without a dot"),
        ("ros2-record a.mcap /b /c /b", "/b is given more than once"),
        ("ros2-record a.mcap /b --seconds 0", "--seconds is 0; allowed: above 0"),
        ("ros1-node --lazy", "ros1-node has no flag --lazy"),
        ("ros1-node camera", "'camera' is one word too many"),
    ],
)
def test_words_that_are_not_for_ros_are_refused(
    argv: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv.split())
    assert stop.value.code == 2
    assert re.search(text, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize("command", ["ros2-node", "ros1-node"])
def test_the_help_names_parameters_that_exist(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    block = shown.partition("encoder.yaml")[2].partition("options:")[0]
    names = [n for line in re.findall(r"^  (\S.*?)   ", block, re.M) for n in line.split(", ")]
    assert len(names) > 8
    values: dict[str, Any] = dict(vars(NodeConfig()))
    assert set(names) <= set(values)
    examples = re.findall(r"(?:-p | _)\"?(\w+):=", shown)
    assert examples
    assert set(examples) <= {*values, "autostart"}
