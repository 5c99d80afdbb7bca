"""Fixtures of the ROS 2 node's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fake_rclpy import installed
from support.fake_ros_world import World
from support.ros2_bench import threads
from support.tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a very fast encoder."""
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def world() -> Iterator[World]:
    """The stand-in for ROS 2; all threads of nodes end before it."""
    with installed() as found:
        yield found
    assert not threads()
