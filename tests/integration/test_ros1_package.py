"""The catkin package of the ROS 1 nodes, as far as it can be read without ROS."""

from __future__ import annotations

import dataclasses
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml
from support.helpers import imports
from support.paths import ROOT

from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.plugins.ros.core import NodeConfig
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS
from s2robot.plugins.ros.simulated_robot import RobotConfig

PACKAGE = ROOT / "ros" / "ros1" / "s2robot_ros"
NODES = {"encoder": NodeConfig, "simulator": RobotConfig}
NOT_OF_ROS = {"s2robot", "numpy"}


def test_dependencies_are_what_the_nodes_import() -> None:
    package = ET.parse(PACKAGE / "package.xml").getroot()
    listed = {entry.text for entry in package.findall("exec_depend")}
    used = set()
    for path in (ROOT / "s2robot" / "plugins" / "ros").glob("ros1*.py"):
        used |= imports(path)
    assert used - NOT_OF_ROS == listed - {"s2robot_msgs", "roslaunch"}
    assert {"s2robot_msgs", "roslaunch"} <= listed


def test_only_the_nodes_need_ros() -> None:
    for path in (ROOT / "s2robot").rglob("*.py"):
        if not any(part.startswith(("ros1", "ros2")) for part in path.parts[-2:]):
            assert not imports(path) & {"rospy", "genpy", "rosgraph", "std_msgs"}, path


def test_the_file_of_parameters_has_all_with_their_defaults() -> None:
    found = yaml.safe_load((PACKAGE / "config" / "encoder.yaml").read_text(encoding="utf-8"))
    assert found.keys() <= CONFIG_PARAMETERS.keys()
    missing = CONFIG_PARAMETERS.keys() - found.keys()
    assert missing <= ENCODER_OPTIONS.keys() - {"scales", "readout", "geometry", "dtype"}
    assert NodeConfig.from_parameters(found) == NodeConfig()


@pytest.mark.parametrize("name", ["encoder.launch", "simulation.launch"])
def test_launch_files_set_parameters_that_are_some(name: str) -> None:
    launch = ET.parse(PACKAGE / "launch" / name).getroot()
    arguments = {arg.get("name") for arg in launch.findall("arg")}
    for node in launch.findall("node"):
        kind = str(node.get("type"))
        script = PACKAGE / "scripts" / kind
        assert os.access(script, os.X_OK)
        fields = {field.name for field in dataclasses.fields(NODES[kind])}
        given = {p.get("name") or p.get("param") for p in node if p.get("command") is None}
        assert given <= fields
    for include in launch.findall("include"):
        other = ET.parse(PACKAGE / "launch" / Path(str(include.get("file"))).name).getroot()
        known = {arg.get("name") for arg in other.findall("arg")}
        assert {arg.get("name") for arg in include.findall("arg")} <= known
    used = {
        text.partition(")")[0]
        for text in (PACKAGE / "launch" / name).read_text(encoding="utf-8").split("$(arg ")[1:]
    }
    assert used == arguments


def test_arguments_are_explained() -> None:
    for path in (PACKAGE / "launch").glob("*.launch"):
        for arg in ET.parse(path).getroot().findall("arg"):
            assert arg.get("doc"), (path, arg.get("name"))
