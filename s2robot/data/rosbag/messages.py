"""Types of messages in bags, and the message that carries an embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from s2robot.data.ros_messages.definitions import EMBEDDING_STAMPED

EMBEDDING = "s2robot_msgs/msg/EmbeddingStamped"
TEXT = "std_msgs/msg/String"
HEADER = "std_msgs/msg/Header"
STAMP = "builtin_interfaces/msg/Time"
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def typestore_of(ros2: bool) -> Typestore:
    """Return the standard messages of ROS 2 Humble or ROS 1 Noetic, and ``EmbeddingStamped``."""
    store = get_typestore(Stores.ROS2_HUMBLE if ros2 else Stores.ROS1_NOETIC)
    store.register(get_types_from_msg(EMBEDDING_STAMPED, EMBEDDING))
    return store


def embedding_message(
    store: Typestore,
    header: Any,
    model: str,
    shape: tuple[int, ...],
    values: np.ndarray,
    number: int,
) -> Any:
    """Return an ``EmbeddingStamped``.

    Args:
        store: types of messages; see ``typestore_of``.
        header: header of the frame, of ROS 1 or ROS 2.
        model: name and digest of the encoder; see ``EncoderSpec.tag``.
        shape: shape of the embedding.
        values: the embedding ``(D,)`` float32.
        number: ``seq`` in ROS 1 if the frame's header has none because it is of ROS 2.
    """
    stamp = store.types[STAMP](sec=header.stamp.sec, nanosec=header.stamp.nanosec)
    fields: dict[str, Any] = {"stamp": stamp, "frame_id": header.frame_id}
    if any(name == "seq" for name, _ in store.fielddefs[HEADER][1]):
        fields["seq"] = getattr(header, "seq", number)
    return store.types[EMBEDDING](
        header=store.types[HEADER](**fields),
        model=model,
        shape=np.array(shape, np.uint32),
        data=values,
    )
