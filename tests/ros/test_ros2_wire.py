"""The ROS 2 node on a real wire: DDS to a second process that knows nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cyclonedds", reason="cyclonedds is not installed")

from support.dds_transport import CONFIG, DDS, idl_class, wire_class
from support.fake_rclpy import installed
from support.fake_ros_world import NS, World
from support.fake_rosidl import message_class, to_store, typestore
from support.ros2_bench import Bench, image, joint_message
from support.small_encoders import picture

CAMERA = "/camera/image_raw"
SIZE = (40, 48)


class Camera:
    """A camera and a subscriber in a second process."""

    def __init__(self, domain: int) -> None:
        command = [sys.executable, str(Path(__file__).parents[1] / "support" / "dds_camera.py")]
        self.process = subprocess.Popen(
            [*command, str(domain), CONFIG],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __call__(self, do: str, **more: Any) -> Any:
        assert self.process.stdin
        print(json.dumps({"do": do, **more}), file=self.process.stdin, flush=True)
        return self.answer()

    def show(self, stamp: int, frame: np.ndarray) -> None:
        sec, nanosec = divmod(stamp, NS)
        size = {"height": frame.shape[0], "width": frame.shape[1]}
        self("show", sec=sec, nanosec=nanosec, data=frame.tobytes().hex(), **size)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(20) == 0


@pytest.fixture
def world() -> Iterator[World]:
    with installed(DDS()) as found:
        yield found


@pytest.fixture
def camera(world: World) -> Iterator[Camera]:
    assert isinstance(world.transport, DDS)
    made = Camera(world.transport.number)
    yield made
    made.close()


def started(world: World, tiny: str, **parameters: Any) -> Bench:
    bench = Bench(world, tiny, image_topics=[CAMERA], **parameters)
    assert bench.node.start(), world.logged("error")
    return bench


@pytest.mark.parametrize("reliable", [False, True])
def test_a_frame_comes_back_as_its_embedding(
    world: World, tiny: str, camera: Camera, reliable: bool
) -> None:
    bench = started(world, tiny)
    camera("camera", reliable=reliable)
    assert camera("matched")["matched"] == 0  # nobody wants an embedding
    camera("listen")

    def flows() -> bool:
        world.forward(0.05)
        return camera("matched")["matched"] == 1

    bench.wait(flows)
    for i in range(3):
        frame = picture(1, *SIZE, seed=i)[0]
        stamp = bench.now + i * NS // 100
        received = receive(bench, camera, frame, stamp)
        assert received["frame_id"] == "optical_frame"
        assert received["shape"] == [len(received["data"])]
        assert received["model"] == bench.node._parts.core.model
        assert array("f", received["data"]) == array("f", bench.offline(frame, CAMERA))


def receive(bench: Bench, camera: Camera, frame: np.ndarray, stamp: int) -> dict[str, Any]:
    """Return the embedding of a frame, which is sent repeatedly, as best effort may lose it."""
    received: list[Any] = []

    def arrived() -> bool:
        camera.show(stamp, frame)
        received[:] = camera("received")["received"][-1:]
        return bool(received) and tuple(received[0]["stamp"]) == divmod(stamp, NS)

    bench.wait(arrived)
    return received[0]


def test_a_reliable_node_gets_nothing_from_a_best_effort_camera(
    world: World, tiny: str, camera: Camera
) -> None:
    bench = started(world, tiny, reliability="reliable", lazy=False)
    transport = world.transport
    assert isinstance(transport, DDS)
    camera("camera", reliable=False)
    bench.wait(lambda: bool(transport.refused))
    assert transport.refused == bench.node._subscriptions
    for i in range(5):
        camera.show(bench.now + i, picture(1, *SIZE)[0])
        world.spin_some()
    assert camera("matched")["matched"] == 0
    assert bench.counts(CAMERA).received == 0


def samples() -> list[Any]:
    """Return a message of every type on the wire, without default values."""
    embedding = message_class("s2robot_msgs/msg/EmbeddingStamped")(
        model="vit@0123456789abcdef", shape=[2, 3], data=array("f", range(6))
    )
    action = message_class("s2robot_msgs/msg/ActionStamped")(
        policy="p", meaning=["dx", "gripper"], data=array("f", [0.5, -1]), period=0.25, anew=True
    )
    dimension = message_class("std_msgs/msg/MultiArrayDimension")(label="x", size=2, stride=2)
    layout = message_class("std_msgs/msg/MultiArrayLayout")(dim=[dimension], data_offset=1)
    floats = message_class("std_msgs/msg/Float32MultiArray")(layout=layout, data=array("f", [1, 2]))
    pair = message_class("diagnostic_msgs/msg/KeyValue")(key="ä", value="1")
    status = message_class("diagnostic_msgs/msg/DiagnosticStatus")(
        level=b"\2", name="n", message="m", hardware_id="h", values=[pair, pair]
    )
    diagnostics = message_class("diagnostic_msgs/msg/DiagnosticArray")(status=[status])
    compressed = message_class("sensor_msgs/msg/CompressedImage")(
        format="jpeg", data=b"\xff\xd8\xff"
    )
    header = image(123456789).header
    for each in (embedding, action, diagnostics, compressed):
        each.header = header
    return [
        image(5 * NS + 7, picture(1, 3, 5)[0]),
        joint_message(NS),
        embedding,
        action,
        floats,
        diagnostics,
        compressed,
    ]


@pytest.mark.parametrize("place", range(7))
def test_bytes_of_two_codecs(place: int) -> None:
    """The codecs of rosbags and cyclonedds agree on every message in both directions."""
    message = samples()[place]
    name = message._name
    ours = bytes(typestore().serialize_cdr(to_store(message), name))
    theirs = idl_class(name).deserialize(ours)
    assert theirs.serialize(use_version_2=False) == ours
    again = wire_class(name).deserialize(theirs.serialize(use_version_2=False))
    assert again.message == message  # pyright: ignore[reportAttributeAccessIssue]
