"""A node where its ROS cannot be imported."""

from __future__ import annotations

import importlib
import runpy
import sys

import pytest

from s2robot.plugins.ros.missing_ros import end_without_ros

NODES = [
    ("ros1", "rospy"),
    ("ros1_simulator", "rospy"),
    ("ros2", "rclpy"),
    ("ros2_simulator", "rclpy"),
]


@pytest.fixture(params=NODES, ids=[node for node, _ in NODES])
def node_and_package(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """A module that needs ROS, and the package that this process then cannot import."""
    node, package = request.param
    monkeypatch.delitem(sys.modules, f"s2robot.plugins.ros.{node}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    return f"s2robot.plugins.ros.{node}", package


def test_a_program_without_ros_ends_with_one_line(node_and_package: tuple[str, str]) -> None:
    node, package = node_and_package
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(node, run_name="__main__")
    text = caught.value.code  # a text is printed, and the exit status is 1
    assert isinstance(text, str)
    assert text.startswith(f"{sys.executable} cannot import {package} (")
    assert "install" in text
    assert "\n" not in text


def test_an_import_without_ros_raises_the_error(node_and_package: tuple[str, str]) -> None:
    node, package = node_and_package
    with pytest.raises(ImportError, match=package):
        importlib.import_module(node)


def test_a_reason_of_several_lines_becomes_one() -> None:
    error = ImportError("librmw_fastrtps_cpp.so\ncannot be opened")
    with pytest.raises(SystemExit, match=r"rclpy \(librmw_fastrtps_cpp.so cannot be opened\)"):
        end_without_ros("rclpy", error, "__main__")
