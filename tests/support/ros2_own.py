"""ROS 2 nodes under test in the test's own process: what they hold is seen, and made to fail."""

# pyright: reportMissingImports=false

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS
from s2robot.plugins.ros.ros2 import EncoderNode
from support.ros2_managed import BASE, NS, image
from support.ros2_rig import NODE, Rig2, eventually

FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


class OwnNodes:
    """Nodes of one test, and what they have logged.

    Args:
        rig: this process as another node.
        encoder: name of the encoder.
        capfd: captures what is logged.
    """

    def __init__(self, rig: Rig2, encoder: str, capfd: pytest.CaptureFixture[str]) -> None:
        self.rig, self.encoder = rig, encoder
        self._capfd, self._log = capfd, ""
        self._nodes: list[OwnNode] = []

    def plain(self, **arguments: Any) -> OwnNode:
        """Return a new node of these arguments, unconfigured."""
        self._nodes.append(OwnNode(self.rig, EncoderNode(**arguments)))
        return self._nodes[-1]

    def make(self, namespace: str = "", context: Any = None, **parameters: Any) -> OwnNode:
        """Return a new node, unconfigured.

        Args:
            namespace: of the node.
            context: of rclpy; None is that of the tests.
            parameters: beside those of every test, which a policy has itself.
        """
        others = {} if "policy" in parameters else {"encoder": self.encoder, **BASE}
        given = parameters_of({"device": "cpu", "runtime": "eager", **others, **parameters})
        return self.plain(namespace=namespace, context=context, parameter_overrides=given)

    def active(self, **arguments: Any) -> OwnNode:
        """Return a new node, active; for the arguments see ``make``."""
        made = self.make(**arguments)
        assert made.node.start(), self.log
        return made

    @property
    def log(self) -> str:
        """What was logged since the test's beginning."""
        self._log += self._capfd.readouterr().err
        return self._log

    def logged(self, severity: str) -> list[str]:
        """Return what the nodes have logged at a severity: ERROR, WARN or INFO."""
        entries = ("\n" + self.log).split("\n[")[1:]
        found = [each for each in entries if each.startswith(f"{severity}]")]
        return [each.partition(ours)[2].strip() for each in found if (ours := f"{NODE}]: ") in each]

    def close(self) -> None:
        """End the nodes; they stay in the graph until ``Rig2.start`` collects rclpy's cycles."""
        for node in self._nodes:
            node.close()
        self._nodes = []
        print(self.log)


class OwnNode:
    """A node under test; its callbacks run only once it spins."""

    def __init__(self, rig: Rig2, node: EncoderNode) -> None:
        self.rig, self._spins = rig, False
        self.node: Any = node

    def spin(self) -> None:
        """Let the tests' thread run the callbacks."""
        self._spins = self.rig.executor.add_node(self.node)

    def close(self) -> None:
        if self.node is None:
            return
        if self._spins:
            self.rig.executor.remove_node(self.node)
        self.node.destroy_node()
        self.node = None

    # ------------------------------------------------------------------ the life cycle
    def _answer(self, kind: Any, request: Any) -> Any:
        (service,) = [each for each in self.node.services if each.srv_type is kind]
        return service.callback(request, kind.Response())

    @property
    def state(self) -> str:
        return self._answer(GetState, GetState.Request()).current_state.label

    def change(self, number: int) -> bool:
        """Ask for a transition as a manager does."""
        request = ChangeState.Request(transition=Transition(id=number))
        return self._answer(ChangeState, request).success

    # ---------------------------------------------------------------- what the node holds
    @property
    def subscribed(self) -> list[str]:
        """Topics that the node has subscribed to."""
        return [each.topic_name for each in self.node.subscriptions]

    @property
    def published(self) -> list[str]:
        """Topics that the node publishes, other than rclpy's own."""
        rclpys = {"/parameter_events", "/rosout"}
        names = [each.topic_name for each in self.node.publishers]
        return [name for name in names if name not in rclpys and "transition_event" not in name]

    @property
    def timers(self) -> int:
        return len(list(self.node.timers))

    @property
    def config(self) -> Any:
        """Configuration of a configured node."""
        return self.node._parts.config

    @property
    def core(self) -> Any:
        """Core of a configured node."""
        return self.node._parts.core

    @property
    def counts(self) -> Any:
        """Counts of the only channel."""
        (found,) = self.core.worker.snapshots().values()
        return found

    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters and return the answers."""
        return self.node.set_parameters(parameters_of(parameters))

    # -------------------------------------------------------------------------- messages
    def receive(self, message: Any) -> None:
        """Hand a message to the subscription of the only camera."""
        (subscription,) = self.node.subscriptions
        subscription.callback(message)

    def encoded(self, count: int) -> None:
        """Receive images until so many have been encoded; their headers are of now."""
        while self.counts.encoded < count:
            before = self.counts.encoded
            self.receive(stamped(self.node.get_clock().now().nanoseconds))
            eventually("the image is encoded", lambda n=before: self.counts.encoded > n)


def stamped(stamp_ns: int) -> Image:
    """Return an image with a stamp."""
    message = image(FRAME)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, NS)
    return message


def parameters_of(values: dict[str, Any]) -> list[Parameter]:
    """Return values as parameters; a tuple is a list."""
    return [
        Parameter(name, value=list(value) if isinstance(value, tuple) else value)
        for name, value in values.items()
    ]


def defaults(names: Iterable[str]) -> dict[str, Any]:
    """Return defaults of parameters."""
    return {name: CONFIG_PARAMETERS[name] for name in names}


def threads() -> list[str]:
    """Return the names of the encoder's running threads."""
    return [each.name for each in threading.enumerate() if each.name.startswith("s2robot-")]
