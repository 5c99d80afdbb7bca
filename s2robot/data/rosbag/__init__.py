"""Reading and writing of ROS 1 and ROS 2 bags without ROS; needs the extra `ros`.

``reading``   bags opened, topics chosen, frames and embeddings read
``writing``   bags of embeddings that appear only when they are complete
``copying``   messages copied from one bag to another, also between ROS 1 and ROS 2
``messages``  types of the messages and the message of an embedding

>>> from s2robot.data.rosbag import read_embeddings  # doctest: +SKIP
>>> found = read_embeddings("run.embeddings.mcap", "/camera/image_raw/embedding")  # doctest: +SKIP
>>> found.stamps_ns, found.values.shape  # doctest: +SKIP
"""

from __future__ import annotations

import importlib.util

from s2robot.errors import S2RobotError, install_command

if importlib.util.find_spec("rosbags") is None:
    raise S2RobotError(f"bags need the package rosbags: {install_command('ros')}")

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.data.rosbag.messages import EMBEDDING
from s2robot.data.rosbag.reading import Embeddings, bag_frames, read_embeddings

__all__ = [
    "EMBEDDING",
    "ENCODER_TOPIC",
    "Embeddings",
    "bag_frames",
    "read_embeddings",
]
