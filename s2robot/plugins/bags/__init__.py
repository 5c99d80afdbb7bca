"""Bags of ROS 1 and ROS 2, read and written without ROS: frames in, embeddings out.

>>> from s2robot.plugins.bags import read_embeddings  # doctest: +SKIP
>>> found = read_embeddings("run.embeddings.mcap", "/camera/image_raw/embedding")  # doctest: +SKIP
>>> found.stamps_ns, found.values.shape  # doctest: +SKIP
"""

from __future__ import annotations

import importlib.util

from s2robot.errors import S2RobotError

if importlib.util.find_spec("rosbags") is None:
    raise S2RobotError("bags need the package rosbags: pip install 's2robot[ros]'")

from s2robot.plugins.bags.encoding import BagSettings, Encoded, encode_bag
from s2robot.plugins.bags.messages import EMBEDDING
from s2robot.plugins.bags.reading import Embeddings, bag_frames, read_embeddings
from s2robot.plugins.ros.definitions import ENCODER_TOPIC

__all__ = [
    "EMBEDDING",
    "ENCODER_TOPIC",
    "BagSettings",
    "Embeddings",
    "Encoded",
    "bag_frames",
    "encode_bag",
    "read_embeddings",
]
