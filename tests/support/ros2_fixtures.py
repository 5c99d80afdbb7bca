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
    """Name of an encoder that takes no time."""
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture
def world() -> Iterator[World]:
    """The stand-in for ROS 2; no thread of a node outlives it."""
    with installed() as found:
        yield found
    assert not threads()
