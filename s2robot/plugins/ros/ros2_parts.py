"""Objects of a configured ROS 2 node, and what it publishes and serves.

Only ``s2robot.plugins.ros.ros2`` imports this module.
"""

# rclpy and the message packages come with ROS 2.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String
from std_srvs.srv import SetBool

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.plugins.ros.core import LazySubscription, MessageTypes, NodeConfig, NodeCore
from s2robot.plugins.ros.core.topics import embedding_topics
from s2robot.plugins.ros.ros2_support import ABOUT_QOS, ACTION_QOS, OUTPUT_QOS


@dataclass
class NodeParts:
    """Objects of a configured node; the last three exist while it is active."""

    config: NodeConfig
    core: NodeCore
    types: MessageTypes
    hardware_id: str
    embeddings: dict[str, Any] = field(default_factory=dict)
    actions: Any = None
    diagnostics: Any = None
    about: Any = None
    service: Any = None
    demand: LazySubscription | None = None
    timers: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)


def open_outputs(node: LifecycleNode, parts: NodeParts, switch: Callable[[Any, Any], Any]) -> None:
    """Open the publishers of a node and its service ``enable``.

    Args:
        node: that publishes.
        parts: of the node; publishers and service are put there.
        switch: callback of the service (``std_srvs/SetBool``).
    """
    config, types, publisher = parts.config, parts.types, node.create_lifecycle_publisher
    kind = types.embedding if config.stamped else types.float_array
    for channel, topic in embedding_topics(config).items():
        parts.embeddings[channel] = publisher(kind, topic, OUTPUT_QOS)
    if parts.core.control_hz:
        kind = types.action if config.stamped else types.float_array
        parts.actions = publisher(kind, config.action_topic, ACTION_QOS)
    if config.diagnostics_hz:
        parts.diagnostics = publisher(types.diagnostics, "/diagnostics", OUTPUT_QOS)
    parts.about = publisher(String, ENCODER_TOPIC, ABOUT_QOS)
    parts.service = node.create_service(SetBool, "~/enable", switch)


def close_outputs(node: LifecycleNode, parts: NodeParts) -> None:
    """Close what ``open_outputs`` opened.

    Args:
        node: that publishes.
        parts: of the node.
    """
    others = (parts.actions, parts.diagnostics, parts.about)
    for publisher in (*parts.embeddings.values(), *others):
        if publisher is not None:
            node.destroy_lifecycle_publisher(publisher)
    if parts.service is not None:
        node.destroy_service(parts.service)
