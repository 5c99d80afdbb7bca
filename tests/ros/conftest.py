"""Fixtures of the tests on real ROS 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.ros2_rig import Rig2, rig_of_a_module
from support.tiny_models import write_tiny_model

if TYPE_CHECKING:
    from support.ros2_managed import Managed
    from support.ros2_own import OwnNodes


@pytest.fixture(scope="module")
def all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig2]:
    """This process as a node, in a domain of its own."""
    yield from rig_of_a_module(tmp_path_factory.mktemp("ros2"))


@pytest.fixture
def ros2(all_tests: Rig2) -> Iterator[Rig2]:
    """Processes of one test."""
    yield all_tests
    all_tests.clear()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a very fast encoder."""
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture(scope="module")
def offline(tiny: str) -> Callable[[np.ndarray], np.ndarray]:
    """The encoder without ROS: a frame to its embedding (D,)."""
    from s2robot.encoder.frame_encoder import FrameEncoder

    encoder = FrameEncoder.from_name(tiny, scales=(1,), readout="mean", device="cpu")
    return lambda frame: encoder(frame).flatten().numpy()


@pytest.fixture(scope="module")
def policy(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A policy file of the tiny encoder."""
    from support.ros_policies import write_policy

    return write_policy(tiny, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def manager(all_tests: Rig2, tiny: str) -> Iterator[Managed]:
    """The node of a module's tests, in a process of its own."""
    from support.ros2_managed import Managed

    yield Managed(all_tests, tiny)
    all_tests.clear()


@pytest.fixture
def node(manager: Managed) -> Iterator[Managed]:
    """The node, unconfigured."""
    yield manager
    manager.end()
    print(manager.process.text[-3000:])


@pytest.fixture
def own(
    all_tests: Rig2, tiny: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[OwnNodes]:
    """Nodes under test in this process; all their threads end with the test."""
    from support.ros2_own import OwnNodes, threads

    found = OwnNodes(all_tests, tiny, capfd)
    yield found
    monkeypatch.undo()  # what a test made to fail would fail here too
    found.close()
    assert not threads()
