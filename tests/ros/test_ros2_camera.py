"""From a recording to embeddings by commands alone: `ros2-camera`, `ros2-node`, the example.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from integration.test_examples import EXAMPLES, check_promise  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from support.media_files import write_png  # noqa: E402
from support.ros2_rig import IMAGE, WAIT_S, Rig2, eventually  # noqa: E402

SHAPE = (48, 64, 3)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two pictures, one red and one blue."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in (("0", (65535, 0, 0)), ("1", (0, 0, 65535))):
        write_png(folder / f"{name}.png", np.full(SHAPE, color, np.uint16))
    return folder


def command(ros2: Rig2, name: str, *words: str):
    return ros2.start(name, "-m", "s2robot.cli", name, *words)


def test_commands_lead_from_pictures_to_embeddings(ros2: Rig2, pictures: Path) -> None:
    camera = command(ros2, "ros2-camera", str(pictures), "--hz", "20", "--topic", IMAGE)
    node = command(ros2, "ros2-node", "--ros-args", "-r", f"image:={IMAGE}")
    listener = ros2.start("example", str(EXAMPLES / "ros2_subscriber.py"), "--count", "3")
    seen = ros2.subscribe(IMAGE, Image).after(2)[:2]
    assert {bytes(message.data[:3]) for message in seen} == {b"\xff\x00\x00", b"\x00\x00\xff"}
    for message in seen:
        assert (message.height, message.width, 3) == SHAPE
        assert (message.encoding, message.step, message.header.frame_id) == ("rgb8", 192, "camera")
    assert listener.wait(WAIT_S) == 0
    check_promise("ros2_subscriber.py", listener.text)
    assert f"frames of {IMAGE} become embeddings on /embedding" in node.text
    assert f"frames of 64 x 48 pixels on {IMAGE}" in camera.text
    for process in (camera, node):
        process.kill(signal.SIGINT)
        assert process.wait() == 0
        assert "Traceback" not in process.text


def test_a_recording_is_played_once(ros2: Rig2, pictures: Path) -> None:
    received = ros2.subscribe(IMAGE, Image)
    words = [str(pictures), "--once", "--hz", "5", "--topic", IMAGE, "--frame-id", "wrist"]
    camera = command(ros2, "ros2-camera", *words)
    assert camera.wait(WAIT_S) == 0
    eventually("both pictures arrive", lambda: len(received.messages) > 1)
    first, second = received.messages
    assert (bytes(first.data[:3]), bytes(second.data[:3])) == (b"\xff\x00\x00", b"\x00\x00\xff")
    assert second.header.frame_id == "wrist"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["no.mp4"], "no.mp4: no such picture, video, bag"),
        (["977"], "/dev/video977: no such camera"),
        (["PICTURES", "--topic", "a b"], "'a b' is no name of a topic in ROS 2"),
        (["PICTURES", "--ros-args", "-r", "image"], "refuses its arguments"),
    ],
)
def test_a_camera_that_cannot_be_says_so_in_one_line(ros2: Rig2, pictures, words, text) -> None:
    given = [word.replace("PICTURES", str(pictures)) for word in words]
    camera = command(ros2, "ros2-camera", *given)
    assert camera.wait(WAIT_S) == 2
    assert text in camera.text
    assert "Traceback" not in camera.text


def test_words_that_ros_does_not_take_end_the_node(ros2: Rig2) -> None:
    node = command(ros2, "ros2-node", "--ros-args", "-r", "image")
    assert node.wait(WAIT_S) == 1
    assert "encoder: ROS 2 refuses its arguments: " in node.text
    assert "'-r image'" in node.text
    assert "Traceback" not in node.text
