"""Small bags of pictures of ROS 1 and ROS 2."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from support.small_encoders import picture

CAMERA, WRIST, DEPTH, WORDS = "/camera/image_raw", "/wrist/compressed", "/depth", "/words"
SOURCES = ("bag", "mcap", "db3")
BEGIN_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
LATENCY_NS = 7_000_123


@dataclass
class BagMaker:
    """Writer of messages of ROS 1 or ROS 2 to a bag."""

    writer: Writer1 | Writer2
    ros2: bool

    def __post_init__(self) -> None:
        self.store = get_typestore(Stores.ROS2_HUMBLE if self.ros2 else Stores.ROS1_NOETIC)
        self.topics: dict[str, Any] = {}

    def header(self, i: int, frame_id: str) -> Any:
        stamp = BEGIN_NS + i * PERIOD_NS
        time = self.store.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
        extra = {} if self.ros2 else {"seq": 40 + i}
        return self.store.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id, **extra)

    def write(self, topic: str, kind: str, i: int, **fields: Any) -> None:
        """Write a message that arrives some milliseconds after its stamp."""
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        message = self.store.types[kind](**fields)
        serialize = self.store.serialize_cdr if self.ros2 else self.store.serialize_ros1
        time = BEGIN_NS + i * PERIOD_NS + LATENCY_NS
        self.writer.write(self.topics[topic], time, serialize(message, kind))

    def raw(self, topic: str, i: int, frame: np.ndarray, encoding: str = "bgr8") -> None:
        """Write a BGR image with five unused bytes after each row."""
        height, width = frame.shape[:2]
        rows = np.full((height, width * 3 + 5), 99, np.uint8)
        rows[:, : width * 3] = frame[..., ::-1].reshape(height, -1)
        self.write(
            topic,
            "sensor_msgs/msg/Image",
            i,
            header=self.header(i, "front"),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=width * 3 + 5,
            data=rows.reshape(-1),
        )

    def compressed(self, topic: str, i: int, frame: np.ndarray) -> None:
        content = io.BytesIO()
        Image.fromarray(frame).save(content, "PNG")
        self.write(
            topic,
            "sensor_msgs/msg/CompressedImage",
            i,
            header=self.header(i, "wrist"),
            format="bgr8; png compressed bgr8",
            data=np.frombuffer(content.getvalue(), np.uint8),
        )

    def word(self, i: int, topic: str = WORDS) -> None:
        self.write(topic, "std_msgs/msg/String", i, data=f"word {i}")


def bag_maker(path: Path) -> BagMaker:
    if path.suffix == ".bag":
        return BagMaker(Writer1(path), False)
    plugin = StoragePlugin.SQLITE3 if path.name.endswith("db3") else StoragePlugin.MCAP
    return BagMaker(Writer2(path, version=8, storage_plugin=plugin), True)


def make_bag(path: Path, content: Any) -> Path:
    """Return a bag that ``content(maker)`` wrote: a file in ROS 1, a folder in ROS 2."""
    maker = bag_maker(path)
    with maker.writer:
        content(maker)
    return path


def path_of(kind: str, folder: Path) -> Path:
    return folder / ("in.bag" if kind == "bag" else f"in_{kind}")


def file_of(bag: Path) -> Path:
    return bag if bag.is_file() else next(p for p in bag.iterdir() if p.suffix != ".yaml")


FRAMES = picture(7, 40, 56)
WRIST_FRAMES = picture(5, 50, 50, seed=1)


def two_cameras(maker: BagMaker) -> None:
    for i, frame in enumerate(FRAMES):
        maker.raw(CAMERA, i, frame)
        maker.word(i)
        if i < len(WRIST_FRAMES):
            maker.compressed(WRIST, i, WRIST_FRAMES[i])


def one_camera(maker: BagMaker) -> None:
    for i, frame in enumerate(FRAMES):
        maker.raw(CAMERA, i, frame)


def with_depth(maker: BagMaker) -> None:
    one_camera(maker)
    for i in range(3):
        maker.raw(DEPTH, i, FRAMES[i], "32FC1")
    maker.raw(DEPTH, 3, FRAMES[3], "nonsense")
    maker.raw(DEPTH, 4, FRAMES[4])


def all_messages(path: Path) -> Iterator[tuple[str, int, Any]]:
    with AnyReader([path]) as reader:
        for connection, time, raw in reader.messages():
            yield connection.topic, time, reader.deserialize(raw, connection.msgtype)


def stamps(count: int, step: int = 1) -> np.ndarray:
    return BEGIN_NS + np.arange(0, count, step) * PERIOD_NS
