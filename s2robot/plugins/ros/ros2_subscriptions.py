"""The subscriptions of the ROS 2 node: cameras and, with a policy, joint states.

Only ``s2robot.plugins.ros.ros2`` imports this module.
"""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState

from s2robot.plugins.ros.core import LogThrottle, NodeCore, TopicPublisher, why_silent
from s2robot.plugins.ros.fast_dds import advice
from s2robot.plugins.ros.ros2_support import IMAGE_QOS, JOINT_STATES_QOS, log

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # its name up to Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


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
        self._throttle = LogThrottle(functools.partial(log, node))
        self._open: dict[str, Any] = {}
        self._reliability: dict[str, str] = {}
        """Of the open subscriptions to cameras, by topic."""
        self._undelivered: Counter[str] = Counter()

    def open(self) -> None:
        """Subscribe to the cameras and, with a policy, to joint states."""
        config, core = self._core.config, self._core
        self._undelivered.clear()
        for topic in config.image_topics:
            self._open_camera(topic, self._wanted(topic))
        if config.policy:
            self._subscribe(JointState, config.joint_topic, core.receive_joints, JOINT_STATES_QOS)

    def refresh(self) -> None:
        """Subscribe again to cameras whose publishers have changed what they offer."""
        for topic, open_as in list(self._reliability.items()):
            wanted = self._wanted(topic)
            if wanted != open_as:
                self._node.destroy_subscription(self._open.pop(topic))
                self._open_camera(topic, wanted)

    def _wanted(self, topic: str) -> str:
        """Return the reliability of a camera's subscription; without publishers, that of before."""
        chosen = self._core.config.reliability
        if chosen != "auto":
            return chosen
        offers = [each.best_effort for each in self._publishers(topic) if self._fits(topic, each)]
        if not offers:
            return self._reliability.get(topic, "best_effort")
        return "best_effort" if any(offers) else "reliable"

    def _open_camera(self, topic: str, reliability: str) -> None:
        receive = functools.partial(self._core.receive_image, topic)
        self._reliability.pop(topic, None)
        if self._subscribe(self._kind(topic), topic, receive, IMAGE_QOS[reliability]):
            self._reliability[topic] = reliability

    def _lost(self, topic: str, status: Any) -> None:
        """Count frames that the middleware lost, and say once what helps."""
        number = status.total_count_change
        self._undelivered[topic] += number
        self._core.count_undelivered(topic, number)
        name = self._node.resolve_topic_name(topic)
        text = f"frames of {name} are lost on their way here: {advice()}"
        self._throttle.report(topic, text)

    def _kind(self, topic: str) -> Any:
        config = self._core.config
        if topic not in config.image_topics:
            return JointState
        compressed = config.is_compressed(self._node.resolve_topic_name(topic))
        return CompressedImage if compressed else Image

    def _type(self, topic: str) -> str:
        return f"sensor_msgs/msg/{self._kind(topic).__name__}"

    def _fits(self, topic: str, publisher: TopicPublisher) -> bool:
        return publisher.type == self._type(topic)

    def _publishers(self, topic: str) -> list[TopicPublisher]:
        return [
            TopicPublisher(
                each.node_name,
                each.topic_type,
                each.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT,
            )
            for each in self._node.get_publishers_info_by_topic(
                self._node.resolve_topic_name(topic)
            )
        ]

    def why_silent(self, topic: str) -> str:
        """Return why no message of a topic arrives, and how to fix it; "" if nothing is known.

        Args:
            topic: name of the topic, as in the configuration.
        """
        config, name = self._core.config, self._node.resolve_topic_name(topic)
        reliable = topic in config.image_topics and config.reliability == "reliable"
        found = why_silent(name, self._type(topic), self._publishers(topic), reliable)
        if not found and self._undelivered[topic]:
            return f"{self._undelivered[topic]} were lost on their way here: {advice()}"
        return found

    def close(self) -> None:
        """End the subscriptions."""
        for subscription in self._open.values():
            self._node.destroy_subscription(subscription)
        self._open.clear()
        self._reliability.clear()

    def _subscribe(
        self, kind: Any, topic: str, receive: Callable[[Any], object], qos: QoSProfile
    ) -> bool:
        """Subscribe, and return whether that succeeded."""
        create = functools.partial(self._node.create_subscription, kind, topic, receive, qos)
        try:
            if topic in self._core.config.image_topics:
                with contextlib.suppress(UnsupportedEventTypeError):  # by the middleware
                    lost = functools.partial(self._lost, topic)
                    events = SubscriptionEventCallbacks(message_lost=lost)
                    self._open[topic] = create(event_callbacks=events)
                    return True
            self._open[topic] = create()
        except Exception as error:
            self._log_error(f"{topic} cannot be subscribed to", error)
            return False
        return True
