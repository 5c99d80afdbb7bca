"""Small bags of demonstrations: camera frames, joint states and actions with their own rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from support.bags import BagMaker, bag_maker
from support.recorded_data import recorded_arrays

CAMERA, JOINTS, COMMAND, TWIST = "/front/image_raw", "/joint_states", "/command", "/twist"
BEGIN_NS = 1_700_000_000_000_000_000
MS = 1_000_000
JOINT_TYPE, TWIST_TYPE = "sensor_msgs/msg/JointState", "geometry_msgs/msg/TwistStamped"


@dataclass
class Message:
    """A message that is to be written: its moment [ms], and a function that writes it."""

    at_ms: float
    topic: str
    kind: str
    fields: Callable[[BagMaker], dict[str, Any]]
    stamp_ms: float | None = None
    """Of the header, where it differs; negative: never set."""


@dataclass
class Episode:
    """Messages of a bag."""

    messages: list[Message] = field(default_factory=list)

    def frame(self, at_ms: float, frame: np.ndarray, topic: str = CAMERA) -> None:
        height, width = frame.shape[:2]
        content = {
            "height": height,
            "width": width,
            "encoding": "rgb8",
            "is_bigendian": 0,
            "step": 3 * width,
            "data": np.ascontiguousarray(frame).reshape(-1),
        }
        self.messages.append(Message(at_ms, topic, "sensor_msgs/msg/Image", lambda _: content))

    def joints(self, at_ms: float, values: Any, topic: str = JOINTS, names: Any = None) -> None:
        empty = np.zeros(0)
        content = {
            "name": list(names or [f"joint_{i}" for i in range(len(values))]),
            "position": np.array(values, np.float64),
            "velocity": np.array(values, np.float64) * 10,
            "effort": empty,
        }
        self.messages.append(Message(at_ms, topic, JOINT_TYPE, lambda _: content))

    def twist(self, at_ms: float, x: float, topic: str = TWIST) -> None:
        def fields(maker: BagMaker) -> dict[str, Any]:
            types = maker.store.types
            zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
            linear = types["geometry_msgs/msg/Vector3"](x=x, y=0.0, z=0.0)
            return {"twist": types["geometry_msgs/msg/Twist"](linear=linear, angular=zero)}

        self.messages.append(Message(at_ms, topic, TWIST_TYPE, fields))

    def only(self, keep: Callable[[Message], bool]) -> Episode:
        return Episode([message for message in self.messages if keep(message)])

    def write(self, path: Path) -> Path:
        """Write a bag: ROS 1 where the name ends in .bag, else a folder of ROS 2."""
        path.parent.mkdir(parents=True, exist_ok=True)
        maker = bag_maker(path)
        with maker.writer:
            for message in sorted(self.messages, key=lambda each: each.at_ms):
                _write(maker, message)
        return path


def _write(maker: BagMaker, message: Message) -> None:
    at_ms = message.at_ms if message.stamp_ms is None else message.stamp_ms
    stamp = 0 if at_ms < 0 else BEGIN_NS + int(at_ms * MS)
    time = maker.store.types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
    extra = {} if maker.ros2 else {"seq": 0}
    header = maker.store.types["std_msgs/msg/Header"](stamp=time, frame_id="", **extra)
    if message.topic not in maker.topics:
        maker.topics[message.topic] = maker.writer.add_connection(
            message.topic, message.kind, typestore=maker.store
        )
    own = message.fields(maker)
    with_header = "unstamped" not in own
    fields = {"header": header, **own} if with_header else dict(own)
    fields.pop("unstamped", None)
    built = maker.store.types[message.kind](**fields)
    serialize = maker.store.serialize_cdr if maker.ros2 else maker.store.serialize_ros1
    log_ns = BEGIN_NS + int(message.at_ms * MS) + 3 * MS
    maker.writer.write(maker.topics[message.topic], log_ns, serialize(built, message.kind))


def reaching(seed: int, length: int = 8, size: int = 32) -> Episode:
    """Return an episode of ``recorded_arrays``: frames at 10 Hz, joints at 50 Hz, actions at 20 Hz.

    Joint states between two frames are interpolated; actions come 20 ms after the frame, and hold.
    """
    ((actions, positions, frames),) = recorded_arrays(1, length, size, seed)
    episode = Episode()
    for step, frame in enumerate(frames):
        episode.frame(100 * step, frame)
    for tick in range(5 * (length - 1) + 1):
        own = [np.interp(tick / 5, np.arange(length), positions[:, i]) for i in range(2)]
        episode.joints(20 * tick, own)
    for tick in range(2 * length):
        episode.joints(20 + 50 * tick, actions[tick // 2], COMMAND, ("dx", "dy", "close"))
    return episode


def write_bags(folder: Path, kind: str = "db3", count: int = 5, length: int = 8) -> Path:
    """Write a folder of bags of ``reaching``, one an episode, and return it."""
    for number in range(count):
        ending = ".bag" if kind == "bag" else f"_{kind}"
        reaching(number, length).write(folder / f"episode_{number}{ending}")
    return folder
