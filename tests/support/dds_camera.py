"""A camera and a subscriber in a separate process, on cyclonedds only: no ROS, no s2robot.

Types are written as rosidl writes them, and cyclonedds's own codec is used, so that names and bytes
are checked by a second party. Commands are lines of JSON on stdin, each answered by one:

    {"do": "camera", "reliable": false}
    {"do": "listen"}
    {"do": "show", "sec": 1, "nanosec": 5, "height": 4, "width": 4, "data": "<hex>"}
    {"do": "received"}
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.annotations import final
from cyclonedds.idl.types import float32, int32, sequence, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
@final
class Time_(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
@final
class Header_(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time_
    frame_id: str


@dataclass
@final
class Image_(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header_
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
@final
class EmbeddingStamped_(IdlStruct, typename="s2robot_msgs::msg::dds_::EmbeddingStamped_"):
    header: Header_
    model: str
    shape: sequence[uint32]
    data: sequence[float32]


def qos(reliable: bool) -> Qos:
    """Return the profile of ROS 2 for sensor data, or the default one."""
    second = duration(milliseconds=100)
    kind = Policy.Reliability.Reliable(second) if reliable else Policy.Reliability.BestEffort
    xcdr1 = Policy.DataRepresentation(use_cdrv0_representation=True)
    return Qos(kind, Policy.Durability.Volatile, Policy.History.KeepLast(5), xcdr1)


class Process:
    """One participant; ``config`` is cyclonedds's XML."""

    def __init__(self, domain: int, config: str) -> None:
        self.domain = Domain(domain, config)
        self.participant = DomainParticipant(domain)
        self.camera: Any = None
        self.subscriptions: Any = None

    def do_camera(self, reliable: bool) -> dict:
        topic = Topic(self.participant, "rt/camera/image_raw", Image_)
        self.camera = DataWriter(self.participant, topic, qos(reliable))
        return {}

    def do_listen(self) -> dict:
        topic = Topic(self.participant, "rt/embedding", EmbeddingStamped_)
        self.subscriptions = DataReader(self.participant, topic, qos(True))
        return {}

    def do_matched(self) -> dict:
        return {"matched": len(self.camera.get_matched_subscriptions())}

    def do_show(self, sec: int, nanosec: int, height: int, width: int, data: str) -> dict:
        header = Header_(Time_(sec, nanosec), "optical_frame")
        pixels: Any = list(bytes.fromhex(data))
        self.camera.write(Image_(header, height, width, "rgb8", 0, width * 3, pixels))
        return {}

    def do_received(self) -> dict:
        taken: list[Any] = self.subscriptions.take(N=100)
        found = [
            {
                "stamp": [each.header.stamp.sec, each.header.stamp.nanosec],
                "frame_id": each.header.frame_id,
                "model": each.model,
                "shape": list(each.shape),
                "data": list(each.data),
            }
            for each in taken
        ]
        return {"received": found}


def main() -> None:
    """Answer commands until stdin ends."""
    process = Process(int(sys.argv[1]), sys.argv[2])
    print("{}", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(process, f"do_{command.pop('do')}")(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
