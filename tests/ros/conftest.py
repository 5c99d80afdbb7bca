"""Fixtures of the tests on real ROS 2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.ros2_rig import Rig2, rig_of_a_module


@pytest.fixture(scope="module")
def all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig2]:
    """This process as a node, in a domain of its own."""
    yield from rig_of_a_module(tmp_path_factory.mktemp("ros2"))


@pytest.fixture
def ros2(all_tests: Rig2) -> Iterator[Rig2]:
    """Processes of one test."""
    yield all_tests
    all_tests.clear()
