"""The message that carries an embedding, and the types of ROS 1 and ROS 2 around it."""

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
    """Standard messages, and ``EmbeddingStamped``, as ROS 1 (Noetic) or ROS 2 (Humble) has them."""
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
    """An ``EmbeddingStamped``.

    Args:
        store: as from ``typestore_of``.
        header: of the frame, of ROS 1 or ROS 2.
        model: ``EncoderSpec.tag``.
        shape: of the embedding.
        values: the embedding ``(D,)`` float32.
        number: ``seq`` where ROS 1 wants one and the frame's header, of ROS 2, has none.
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
