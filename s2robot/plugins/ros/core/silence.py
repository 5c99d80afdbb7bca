"""Why no message of a topic arrives, from the publishers that ROS knows, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_TRANSPORTS = {"Image": "raw", "CompressedImage": "compressed"}
"""Values of the parameter ``transport`` by the type that they are for."""


@dataclass(frozen=True)
class TopicPublisher:
    """A publisher of a topic, as ROS describes it."""

    node: str
    """Name of its node."""
    type: str
    """Type of its messages, "sensor_msgs/msg/Image" in ROS 2 and "sensor_msgs/Image" in ROS 1."""
    best_effort: bool = False
    """Whether it offers best effort only (ROS 2)."""


def why_silent(
    topic: str, wanted: str, publishers: Iterable[TopicPublisher], reliable: bool = False
) -> str:
    """Return why no message can arrive and how to fix it; "" if a publisher fits.

    Args:
        topic: resolved name of the topic.
        wanted: type of messages that the node subscribes to.
        publishers: all publishers of the topic.
        reliable: whether the node asks for reliable delivery.

    Examples:
        >>> camera = TopicPublisher("camera", "sensor_msgs/msg/Image", best_effort=True)
        >>> why_silent("/image", "sensor_msgs/msg/Image", [camera], reliable=True).partition(":")[0]
        '/image is offered best effort by camera, but the node asks for reliable'
        >>> why_silent("/image", "sensor_msgs/msg/Image", [camera])
        ''
    """
    found = list(publishers)
    if not found:
        return (
            f"{topic} has no publisher: start the camera or robot, or give the node the right topic"
        )
    fitting = [each for each in found if each.type == wanted]
    if not fitting:
        return _other_type(topic, wanted, found)
    if reliable and all(each.best_effort for each in fitting):
        nodes = ", ".join(sorted({each.node for each in fitting}))
        return (
            f"{topic} is offered best effort by {nodes}, but the node asks for reliable: set its "
            "parameter reliability to best_effort, or let the publisher offer reliable"
        )
    return ""


def _other_type(topic: str, wanted: str, found: Iterable[TopicPublisher]) -> str:
    types = sorted({each.type for each in found})
    nodes = ", ".join(sorted({each.node for each in found}))
    fix = "give the node a topic of that type"
    for seen in types:
        transport = _TRANSPORTS.get(seen.rpartition("/")[2])
        if transport and wanted.rpartition("/")[2] in _TRANSPORTS:
            fix = f"set its parameter transport to {transport}"
    return f"{topic} has {', '.join(types)} of {nodes}, but the node takes {wanted}: {fix}"
