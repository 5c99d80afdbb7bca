"""The subscriptions of the ROS 2 node: cameras and, with a policy, joint states.

Only ``s2robot.plugins.ros.ros2`` imports this module.
"""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from s2robot.plugins.ros.core import NodeCore, TopicPublisher, why_silent
from s2robot.plugins.ros.ros2_support import IMAGE_QOS, JOINT_STATES_QOS


class Subscriptions:
    """Subscriptions that hand their messages to a ``NodeCore``, opened and closed together.

    Args:
        node: the node that owns the subscriptions.
        core: receiver of the messages.
        log_error: receives a text and the exception where a topic cannot be subscribed to.
    """

    def __init__(
        self, node: Node, core: NodeCore, log_error: Callable[[str, Exception], None]
    ) -> None:
        self._node, self._core, self._log_error = node, core, log_error
        self._open: list[Any] = []

    def open(self) -> None:
        """Subscribe to the cameras and, with a policy, to joint states."""
        config, core = self._core.config, self._core
        for topic in config.image_topics:
            receive = functools.partial(core.receive_image, topic)
            self._subscribe(self._kind(topic), topic, receive, IMAGE_QOS[config.reliability])
        if config.policy:
            self._subscribe(JointState, config.joint_topic, core.receive_joints, JOINT_STATES_QOS)

    def _kind(self, topic: str) -> Any:
        config = self._core.config
        if topic not in config.image_topics:
            return JointState
        compressed = config.is_compressed(self._node.resolve_topic_name(topic))
        return CompressedImage if compressed else Image

    def why_silent(self, topic: str) -> str:
        """Return why no message of a topic can arrive, and how to fix it; "" if one could.

        Args:
            topic: name of the topic, as in the configuration.
        """
        kind, config = self._kind(topic), self._core.config
        name = self._node.resolve_topic_name(topic)
        publishers = [
            TopicPublisher(
                each.node_name,
                each.topic_type,
                each.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT,
            )
            for each in self._node.get_publishers_info_by_topic(name)
        ]
        reliable = topic in config.image_topics and config.reliability == "reliable"
        return why_silent(name, f"sensor_msgs/msg/{kind.__name__}", publishers, reliable)

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._open:
            self._node.destroy_subscription(subscription)
        self._open.clear()

    def _subscribe(
        self, kind: Any, topic: str, receive: Callable[[Any], object], qos: QoSProfile
    ) -> None:
        try:
            self._open.append(self._node.create_subscription(kind, topic, receive, qos))
        except Exception as error:
            self._log_error(f"{topic} cannot be subscribed to", error)
