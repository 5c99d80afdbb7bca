"""The publishers of the ROS 2 node: embeddings, actions, diagnostics and the encoder's description.

Only ``s2robot.plugins.ros.ros2`` imports this module.
"""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.plugins.ros.core import (
    Action,
    EmbeddingResult,
    MessageBuilder,
    NodeCore,
    diagnostics_message,
)
from s2robot.plugins.ros.core.config import embedding_topics
from s2robot.plugins.ros.ros2_support import ACTION_QOS, DESCRIPTION_QOS, EMBEDDING_QOS


class Publishers:
    """Lifecycle publishers of a configured node; while it is inactive they publish nothing.

    Any thread may publish, as rclpy allows. Nothing is published once the process is ending.

    Args:
        node: the node that owns the publishers.
        core: source of the description and of the diagnostics.
        messages: builder of the messages.
        hardware_id: name of the hardware in the diagnostics; "" is the encoder's name.
    """

    def __init__(
        self, node: LifecycleNode, core: NodeCore, messages: MessageBuilder, hardware_id: str = ""
    ) -> None:
        self._node, self._core, self._messages = node, core, messages
        self._hardware_id = hardware_id or core.model
        self._embeddings: dict[str, Any] = {}
        self._actions: Any = None
        self._diagnostics: Any = None
        self._description: Any = None

    def open(self) -> None:
        """Create the publishers that the configuration asks for."""
        config, messages = self._core.config, self._messages
        publisher = self._node.create_lifecycle_publisher
        for channel, topic in embedding_topics(config).items():
            self._embeddings[channel] = publisher(messages.embedding_type, topic, EMBEDDING_QOS)
        if self._core.control_hz:
            self._actions = publisher(messages.action_type, config.action_topic, ACTION_QOS)
        if config.diagnostics_hz:
            kind = messages.types.diagnostics
            self._diagnostics = publisher(kind, "/diagnostics", EMBEDDING_QOS)
        self._description = publisher(String, ENCODER_TOPIC, DESCRIPTION_QOS)

    def close(self) -> None:
        """Destroy the publishers that exist."""
        others = (self._actions, self._diagnostics, self._description)
        for publisher in (*self._embeddings.values(), *others):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)

    def count_subscribers(self) -> int:
        """Return the number of subscribers to all embeddings."""
        return sum(each.get_subscription_count() for each in self._embeddings.values())

    def publish_description(self) -> None:
        """Publish the encoder's description, which later subscribers receive too."""
        self._publish(self._description, String(data=self._core.description()))

    def publish_embedding(self, result: EmbeddingResult) -> None:
        """Publish an embedding on the topic of its channel."""
        if self._node.context.ok():
            self._publish(self._embeddings[result.channel], self._messages.embedding(result))

    def publish_action(self, action: Action) -> None:
        """Publish an action of the policy."""
        self._publish(self._actions, self._messages.action(action, self._core.control_hz or 0.0))

    def publish_diagnostics(self, why_silent: Callable[[str], str]) -> None:
        """Publish the statuses of ``NodeCore.diagnostics``.

        Args:
            why_silent: see ``NodeCore.diagnostics``.
        """
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name().lstrip("/")
        statuses, types = self._core.diagnostics(why_silent), self._messages.types
        message = diagnostics_message(types, statuses, stamp, name, self._hardware_id)
        self._publish(self._diagnostics, message)

    def _publish(self, publisher: Any, message: Any) -> None:
        if self._node.context.ok():  # else the process is ending
            publisher.publish(message)
