"""The ROS 2 node on rclpy and FastDDS: a camera process, the node's process, this one.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from s2robot_msgs.msg import EmbeddingStamped  # noqa: E402
from std_msgs.msg import Float32MultiArray, String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from support.ros1_rig import Process, rendered_frames, statuses  # noqa: E402
from support.ros2_rig import WAIT_S, Rig2, eventually  # noqa: E402

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC  # noqa: E402
from s2robot.encoder.frame_encoder import FrameEncoder  # noqa: E402

FRAMES = 12
NS = 10**9


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return rendered_frames(FRAMES)


@pytest.fixture(scope="module")
def expected(frames: np.ndarray) -> np.ndarray:
    """Embeddings of the frames without ROS: (FRAMES, D)."""
    encoder = FrameEncoder.from_name("s2r-vitt16-128", (1, 2), "spatial_softmax", device="cpu")
    return np.stack([encoder(frame).flatten().numpy() for frame in frames])


@pytest.fixture(scope="module")
def kept() -> list[Process]:
    """The node that several tests share, with the encoder that ships."""
    return []


@pytest.fixture
def node(all_tests: Rig2, kept: list[Process]) -> Iterator[Process]:
    """A running node, that of the test before if there was one."""
    kept[:] = [process for process in kept if process.running] or [all_tests.encoder()]
    yield kept[0]
    all_tests.clear(*(process for process in kept if process.running))


@pytest.fixture
def record(node: Process, all_tests: Rig2, frames_file: str, tmp_path: Path) -> Path:
    """What a camera, which runs beside the node, writes about the frames that it has sent."""
    path = tmp_path / "sent.txt"
    all_tests.camera(frames_file, "--record", str(path))
    return path


@pytest.fixture(scope="module")
def frames_file(frames: np.ndarray, all_tests: Rig2) -> str:
    path = all_tests.folder / "frames.npy"
    np.save(path, frames)
    return str(path)


def sent(path: Path) -> dict[int, int]:
    """Return the number of each frame by its stamp [ns], as the camera recorded them."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(stamp): int(index) for index, stamp in rows}


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def check(messages: list[Any], expected: np.ndarray, record: Path) -> None:
    """Check that each embedding is that of its header's frame, and that stamps increase."""
    camera = sent(record)
    stamps = [stamp_of(message) for message in messages]
    assert stamps == sorted(set(stamps))
    for message, stamp in zip(messages, stamps, strict=True):
        index = camera[stamp]
        assert message.header.frame_id == f"frame {index}"
        assert message.model.startswith("s2r-vitt16-128@")
        assert math.prod(message.shape) == len(message.data)
        np.testing.assert_allclose(message.data, expected[index], rtol=0, atol=2e-5)


def health_of(message: Any) -> dict[str, str]:
    """Return the status of the camera's channel."""
    (values,) = [each for name, each in statuses(message).items() if name.startswith("encoder ")]
    return values


def state(ros2: Rig2) -> int:
    return ros2.call(GetState, "get_state").current_state.id


def test_embeddings_are_those_of_the_offline_encoder(all_tests, node, record, expected):
    """The node subscribes to the camera only while somebody subscribes to the embeddings."""
    ros2 = all_tests
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    assert "switched off" in health_of(health.after(2)[-1])["message"]
    assert ros2.cameras_subscribers() == 0
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    check(received.after(30), expected, record)
    eventually("the node alone subscribes", lambda: ros2.cameras_subscribers() == 1)
    values = health_of(health.after(2)[-1])
    assert values["hardware"] == received.messages[0].model
    assert int(values["published"]) >= 30
    assert values["failed"] == "0"
    assert {"age_p50_ms", "encode_p50_ms", "reuse_hit_rate", "received_hz"} <= values.keys()
    received.close()
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)


def test_a_late_subscriber_gets_the_encoders_description(all_tests, node):
    eventually("the node is active", lambda: state(all_tests) == State.PRIMARY_STATE_ACTIVE)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    (message,) = all_tests.subscribe(ENCODER_TOPIC, String, qos=latched).after(1)
    record = json.loads(message.data)
    assert record["encoder"]["scales"] == [1, 2]
    assert record["encoder"]["backbone"] == "s2r-vitt16-128"
    assert record["model"].startswith("s2r-vitt16-128@")
    assert record["image_topics"] == ["image"]


def test_it_is_switched_off_and_on(all_tests, node, record, expected):
    ros2 = all_tests
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    received.after(3)
    answer = ros2.call(SetBool, "enable", data=False)
    assert answer.success
    assert "switched off" in answer.message
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)
    at = max(sent(record))
    eventually("the camera goes on", lambda: max(sent(record)) > at + 2 * NS)
    assert stamp_of(received.messages[-1]) <= at
    assert "switched on" in ros2.call(SetBool, "enable", data=True).message
    check(received.after(5), expected, record)
    assert stamp_of(received.messages[-1]) > at


def test_a_camera_that_dies_comes_back(all_tests, node, frames_file, expected, tmp_path):
    ros2, record = all_tests, tmp_path / "sent.txt"
    camera = ros2.camera(frames_file, "--record", str(record))
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    received.after(3)
    camera.kill(signal.SIGKILL)

    def told() -> bool:
        return health_of(health.messages[-1])["message"].startswith("no frames for ")

    eventually("diagnostics say so", told)
    assert health_of(health.messages[-1])["level"] == "2"
    count = len(received.messages)
    ros2.camera(frames_file, "--record", str(record))
    check(received.after(5), expected, record)
    last = max(sent(record))
    assert stamp_of(received.messages[count]) > stamp_of(received.messages[count - 1])
    eventually("it is well again", lambda: health_of(health.messages[-1])["level"] != "2")
    eventually("embeddings go on", lambda: stamp_of(received.messages[-1]) > last)


def test_a_node_that_is_killed_goes_on_when_it_is_started_again(
    all_tests, node, kept, record, expected
):
    ros2 = all_tests
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    received.after(3)
    node.kill(signal.SIGKILL)
    time.sleep(0.5)  # for embeddings that are on their way
    count, at = len(received.messages), max(sent(record))
    eventually("the camera goes on", lambda: max(sent(record)) > at + NS)
    assert len(received.messages) == count
    kept[:] = [ros2.encoder()]
    check(received.after(5), expected, record)
    assert stamp_of(received.messages[count]) > at
    kept[0].kill(signal.SIGINT)
    assert kept[0].wait() == 0
    assert "Traceback" not in kept[0].text


def test_without_our_messages_it_publishes_arrays_and_says_so(ros2, frames_file, expected):
    """An unknown parameter is named; a manager shuts the node down."""
    code = (
        "import sys; sys.modules['s2robot_msgs'] = None; from s2robot.plugins.ros.ros2 import main;"
        " sys.exit(main())"
    )
    ros2.camera(frames_file)
    node = ros2.encoder("outptu:=stamped", program=("-c", code))
    received = ros2.subscribe("/embedding", Float32MultiArray)
    for message in received.after(FRAMES):
        assert np.abs(expected - np.array(message.data)).max(axis=1).min() < 2e-5
        assert math.prod(each.size for each in message.layout.dim) == expected.shape[1]
    assert node.text.count("messages are std_msgs/Float32MultiArray, without the header") == 1
    assert "colcon build" in node.text
    assert "ignored: unknown parameter 'outptu'" in node.text
    shutdown = Transition(id=Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert ros2.call(ChangeState, "change_state", transition=shutdown).success
    assert state(ros2) == State.PRIMARY_STATE_FINALIZED
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)
    node.kill(signal.SIGINT)
    assert node.wait() == 0
    assert "Traceback" not in node.text


def test_autostart_that_is_neither_true_nor_false_ends_it(ros2):
    node = ros2.encoder("autostart:=7")
    assert node.wait(WAIT_S) == 1
    assert "autostart" in node.text
    assert "Traceback" not in node.text
