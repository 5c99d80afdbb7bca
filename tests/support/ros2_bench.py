"""The ROS 2 node on the stand-in for rclpy, between a camera and a subscriber."""

from __future__ import annotations

import dataclasses
import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.plugins.ros.core import NodeConfig, build_channels, build_encoder
from s2robot.policies.checkpoint import save_policy
from support.fake_rclpy import Node, Parameter
from support.fake_ros_world import NS, DurabilityPolicy, QoSProfile, ReliabilityPolicy, World
from support.fake_rosidl import message_class
from support.ros_doubles import wait_for
from support.ros_policies import HOME, PANDA, make_policy
from support.small_encoders import picture

EMBEDDING, ACTION = "s2robot_msgs/msg/EmbeddingStamped", "s2robot_msgs/msg/ActionStamped"
ARRAY, IMAGE, JOINTS = (
    "std_msgs/msg/Float32MultiArray",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/JointState",
)
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
SENSOR = QoSProfile(5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(10)
LATCHED = QoSProfile(1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (40, 48)


def node_module() -> Any:
    """Return the module of the node; rclpy must be installed."""
    return importlib.import_module("s2robot.plugins.ros.ros2")


def image(stamp: int, frame: np.ndarray | None = None, **changes: Any) -> Any:
    """Return an rgb8 Image with this stamp [ns]."""
    found = picture(1, *SIZE)[0] if frame is None else frame
    made = message_class(IMAGE)(
        height=found.shape[0],
        width=found.shape[1],
        encoding="rgb8",
        step=found.shape[1] * 3,
        data=found.tobytes(),
    )
    put_header(made, stamp)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def put_header(message: Any, stamp: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
    message.header.frame_id = "left_camera_optical_frame"


def joint_message(stamp: int) -> Any:
    made = message_class(JOINTS)(name=PANDA, position=HOME)
    put_header(made, stamp)
    return made


class Bench:
    """A node with the given parameters, and a peer that publishes and subscribes."""

    def __init__(self, world: World, tiny: str, **parameters: Any) -> None:
        defaults = {"encoder": tiny, "scales": [1.0], "readout": "mean", "device": "cpu"}
        if "policy" in parameters:
            defaults = {"device": "cpu"}
        self.parameters = {**defaults, "stale_s": 30.0, **parameters}
        self.world = world
        overrides = [Parameter(name, value) for name, value in self.parameters.items()]
        self.node = node_module().EncoderNode(parameter_overrides=overrides)
        self.peer = Node("peer")
        self.received: dict[str, list[Any]] = {}
        self.cameras: dict[str, Any] = {}

    @property
    def now(self) -> int:
        return self.node.get_clock().now().nanoseconds

    @property
    def config(self) -> NodeConfig:
        names = {each.name for each in dataclasses.fields(NodeConfig)}
        given = {name: value for name, value in self.parameters.items() if name in names}
        return NodeConfig.from_parameters(given)

    def subscribe(
        self, topic: str = "/embedding", kind: str = EMBEDDING, qos: QoSProfile = RELIABLE
    ) -> Any:
        self.received.setdefault(topic, [])
        append = self.received[topic].append
        return self.peer.create_subscription(message_class(kind), topic, append, qos)

    def show(self, message: Any, topic: str = "/image", qos: QoSProfile = SENSOR) -> None:
        """Publish a message as a camera does."""
        if topic not in self.cameras:
            self.cameras[topic] = self.peer.create_publisher(type(message), topic, qos)
        self.cameras[topic].publish(message)
        self.world.spin_some()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the encoder's thread is true."""

        def holds() -> bool:
            self.world.spin_some()
            return condition()

        wait_for(holds)

    def wait_received(self, count: int, topic: str = "/embedding") -> list[Any]:
        self.wait(lambda: len(self.received[topic]) >= count)
        return self.received[topic]

    def counts(self, channel: str = "image") -> Any:
        return self.node._parts.core.worker.snapshots()[channel]

    def offline(self, frame: np.ndarray, topic: str = "image") -> np.ndarray:
        """Return the embedding of a frame without ROS."""
        config = dataclasses.replace(self.config, image_topics=(topic,))
        (encode,) = build_channels(config, build_encoder(config)).values()
        return np.asarray(encode({topic: frame}), np.float32)

    def subscribed(self) -> list[str]:
        return [each.topic_name for each in self.node._subscriptions]


def threads() -> list[str]:
    """Return the names of the encoder's running threads."""
    return [t.name for t in threading.enumerate() if t.name.startswith("s2robot-")]


def write_policy(encoder: str, folder: Path) -> str:
    """Write a policy on a tiny encoder and return its path."""
    config = NodeConfig(encoder, scales=(1,), readout="mean", device="cpu")
    encode = build_encoder(config)
    policy, head = make_policy(dim=encode.embedding_dim)
    head = dataclasses.replace(head, encoder=encode.spec.to_dict())
    save_policy(folder / "policy.safetensors", policy, head)
    return str(folder / "policy.safetensors")


def started(world: World, tiny: str, **parameters: Any) -> Bench:
    """Return the bench of an active node."""
    bench = Bench(world, tiny, **parameters)
    assert bench.node.start(), world.logged("error")
    return bench
