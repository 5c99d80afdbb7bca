"""The real ROS 1 node: a master on loopback, a camera at 30 Hz, the node by roslaunch.

These run where ROS 1 is (`make test-ros` makes that environment) and are skipped elsewhere.
"""

from __future__ import annotations

import io
import math
import os
import re
import signal
import subprocess
import sys
import xmlrpc.client
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rospy = pytest.importorskip("rospy", reason="ROS 1 is not in this environment: make test-ros")

import rosgraph  # noqa: E402  # pyright: ignore
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402  # pyright: ignore
from sensor_msgs.msg import Image  # noqa: E402  # pyright: ignore
from std_msgs.msg import Float32MultiArray, Header  # noqa: E402  # pyright: ignore
from std_srvs.srv import SetBool  # noqa: E402  # pyright: ignore
from support.ros1_rig import (  # noqa: E402
    IMAGE,
    ROOT,
    Rig,
    rendered_frames,
    statuses,
    wait_for,
)

from s2robot.data.rosbag import read_embeddings  # noqa: E402
from s2robot.encoder.frame_encoder import FrameEncoder  # noqa: E402
from s2robot.plugins.ros.ros1_messages import message_class  # noqa: E402

FRAMES = 12
NODE = "/s2robot_encoder"
EmbeddingStamped = message_class("EmbeddingStamped")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return rendered_frames(FRAMES)


@pytest.fixture(scope="module")
def frames_file(frames: np.ndarray, ros_master: Rig) -> str:
    path = ros_master.folder / "frames.npy"
    np.save(path, frames)
    return str(path)


@pytest.fixture(scope="module")
def expected(frames: np.ndarray) -> np.ndarray:
    """Embeddings of the frames without ROS: (FRAMES, D)."""
    encoder = FrameEncoder.from_name("s2r-vitt16-128", (1, 2), "spatial_softmax", device="cpu")
    return np.stack([encoder(frame).flatten().numpy() for frame in frames])


def sent(path: Path) -> dict[int, tuple[int, int]]:
    """Return number and stamp of each frame by ``seq``, as the camera recorded them."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(seq): (int(index), int(stamp)) for seq, index, stamp in rows}


def check(messages: list[Any], expected: np.ndarray, record: Path) -> None:
    """Check that each embedding is that of its header's frame, and that stamps increase."""
    camera = sent(record)
    stamps = [message.header.stamp.to_nsec() for message in messages]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == len(stamps)
    for message, stamp in zip(messages, stamps, strict=True):
        index, at = camera[message.header.seq]
        assert message.header.frame_id == f"frame {index}"
        assert stamp == at
        assert message.model.startswith("s2r-vitt16-128@")
        assert math.prod(message.shape) == len(message.data)
        np.testing.assert_allclose(message.data, expected[index], rtol=0, atol=2e-5)


def test_embeddings_are_those_of_the_offline_encoder(rig, frames_file, expected, tmp_path):
    """A camera at 30 Hz and a node by roslaunch: it subscribes only while it has subscribers."""
    record = tmp_path / "sent.txt"
    rig.camera(frames_file, IMAGE, "--record", str(record))
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}")
    health = rig.subscribe("/diagnostics", DiagnosticArray)
    health.after(2)
    assert "switched off" in statuses(health.messages[-1])[f"encoder {IMAGE}"]["message"]
    assert IMAGE not in subscriptions_of(NODE)
    received = rig.subscribe("/embedding", EmbeddingStamped)
    check(received.after(60), expected, record)
    assert IMAGE in subscriptions_of(NODE)
    health.after(2)
    values = statuses(health.messages[-1])[f"encoder {IMAGE}"]
    assert values["level"] == "0"
    assert values["hardware"] == received.messages[0].model
    assert int(values["published"]) >= 60
    assert {"age_p50_ms", "encode_p50_ms", "reuse_hit_rate", "received_hz"} <= values.keys()
    received.close()
    wait_for("the camera is let go", lambda: IMAGE not in subscriptions_of(NODE))


def subscriptions_of(node: str) -> list[str]:
    """Return the topics that a node subscribes to, according to the master."""
    _, subscribers, _ = rosgraph.Master("/tests").getSystemState()
    return [topic for topic, nodes in subscribers if node in nodes]


def test_it_is_switched_off_and_on(rig, frames_file, expected, tmp_path):
    record = tmp_path / "sent.txt"
    rig.camera(frames_file, IMAGE, "--record", str(record))
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}", "scales:=[1,2]")
    received = rig.subscribe("/embedding", EmbeddingStamped)
    received.after(3)
    enable = rospy.ServiceProxy(f"{NODE}/enable", SetBool)
    answer = enable(False)
    assert answer.success
    assert "switched off" in answer.message
    rospy.sleep(0.3)  # what was on its way
    before = len(received.messages)
    rospy.sleep(1.0)
    assert len(received.messages) == before
    assert "switched on" in enable(True).message
    check(received.after(5), expected, record)


def test_camera_and_node_may_die(rig, frames_file, expected, tmp_path):
    """A killed camera is reported, a killed node is restarted; embeddings fit their headers."""
    record = tmp_path / "sent.txt"
    words = (frames_file, IMAGE, "--record", str(record))
    camera = rig.camera(*words)
    node = rig.launch("encoder", "encoder.launch", f"image:={IMAGE}", "respawn:=true")
    received = rig.subscribe("/embedding", EmbeddingStamped)
    health = rig.subscribe("/diagnostics", DiagnosticArray)
    received.after(5)
    camera.kill()

    def silent() -> bool:
        values = statuses(health.after(1)[-1])[f"encoder {IMAGE}"]
        return "no frames for" in values["message"]

    wait_for("the camera's silence is reported", silent)
    assert node.running
    record.rename(tmp_path / "before.txt")
    first = len(received.messages)
    check(received.messages, expected, tmp_path / "before.txt")
    camera = rig.camera(*words)
    received.after(5)
    check(received.messages[first:], expected, record)
    kill_node(NODE)
    received.after(5)
    check(received.messages[first:], expected, record)
    assert "process has died" in node.text


def kill_node(name: str) -> None:
    """Send SIGKILL to the process of a node."""
    server: Any = xmlrpc.client.ServerProxy(rosgraph.Master("/tests").lookupNode(name))
    os.kill(server.getPid("/tests")[2], signal.SIGKILL)


def test_the_master_may_die(rig, frames_file, expected, tmp_path):
    """Embeddings continue without a master; a new one gets all topics and services again."""
    record = tmp_path / "sent.txt"
    camera = rig.camera(frames_file, IMAGE, "--record", str(record))
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}")
    received = rig.subscribe("/embedding", EmbeddingStamped)
    received.after(5)
    rig.master.kill()
    received.after(30)
    rig.start_master()
    wait_for("the node is known again", lambda: IMAGE in subscriptions_of(NODE))
    late = rig.subscribe("/embedding", EmbeddingStamped)
    late.after(5)
    assert rospy.ServiceProxy(f"{NODE}/enable", SetBool)(True).success
    camera.kill()
    record.rename(tmp_path / "before.txt")
    check(list(received.messages), expected, tmp_path / "before.txt")
    camera = rig.camera(frames_file, IMAGE, "--record", str(record))
    check(late.after(10)[-4:], expected, record)


def test_compressed_images_and_arrays(rig, frames_file, frames, expected):
    """A lossless topic by its name; embeddings without s2robot_msgs."""
    topic = "/camera/image_raw/compressed"
    rig.camera(frames_file, topic, "--compressed", "--hz", "10")
    rig.launch("encoder", "encoder.launch", f"image:={topic}", "output:=float32multiarray")
    received = rig.subscribe("/embedding", Float32MultiArray)
    for message in received.after(FRAMES):
        found = np.array(message.data)
        gaps = np.abs(expected - found).max(axis=1)
        assert gaps.min() < 2e-5
        sizes = [dimension.size for dimension in message.layout.dim]
        assert math.prod(sizes) == expected.shape[1]
        assert message.layout.dim[0].stride == expected.shape[1]


def test_bad_images_are_counted_and_never_published(rig, frames, expected):
    """Bad messages of each kind, twice, between good ones."""
    node = rig.launch("encoder", "encoder.launch", f"image:={IMAGE}")
    received = rig.subscribe("/embedding", EmbeddingStamped)
    health = rig.subscribe("/diagnostics", DiagnosticArray)
    camera = rospy.Publisher(IMAGE, Image, queue_size=10)
    wait_for("the node listens", camera.get_num_connections)
    good = [picture(frames[i]) for i in range(3)]
    bad = {
        "encoding": {"encoding": "rgb9"},
        "truncated": {"data": b"\0" * 7},
        "zero_size": {"width": 0},
        "step": {"step": 3},
    }
    for message in (good[0], *[picture(frames[0], **b) for b in bad.values() for _ in "12"]):
        camera.publish(stamped(message))
        rospy.sleep(0.2)
    camera.publish(stamped(picture(np.ascontiguousarray(frames[1][::2, ::2]))))
    rospy.sleep(0.2)
    late = stamped(good[2])
    late.header.stamp -= rospy.Duration(0, 400_000_000)
    camera.publish(late)
    rospy.sleep(0.2)
    camera.publish(stamped(good[2]))
    wait_for("three embeddings", lambda: len(received.messages) == 3)
    health.after(2)
    values = statuses(health.messages[-1])[f"encoder {IMAGE}"]
    for kind in bad:
        assert values[f"failed_{kind}"] == "2"
    assert (values["published"], values["late"], values["size_changes"]) == ("3", "1", "2")
    assert len(received.messages) == 3
    np.testing.assert_allclose(received.messages[0].data, expected[0], atol=2e-5)
    np.testing.assert_allclose(received.messages[2].data, expected[2], atol=2e-5)
    errors = [line for line in node.text.splitlines() if "rgb9" in line]
    assert len(errors) == 1
    camera.unregister()


def picture(frame: np.ndarray, **changes: Any) -> Any:
    height, width, _ = frame.shape
    fields = {"height": height, "width": width, "encoding": "rgb8", "step": 3 * width}
    return Image(**{**fields, "data": frame.tobytes(), **changes})


def stamped(message: Any) -> Any:
    message.header = Header(stamp=rospy.get_rostime(), frame_id="camera")
    return message


def test_simulated_time(rig, frames_file, expected, tmp_path):
    """Stamps of a clock at half the speed are neither old nor in the future."""
    record = tmp_path / "sent.txt"
    rospy.set_param("/use_sim_time", True)
    words = (frames_file, IMAGE, "--record", str(record), "--clock", "0.5")
    rig.camera(*words)
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}")
    received = rig.subscribe("/embedding", EmbeddingStamped)
    health = rig.subscribe("/diagnostics", DiagnosticArray)
    check(received.after(20), expected, record)
    assert received.messages[0].header.stamp.to_sec() < 1e6
    health.after(2)
    values = statuses(health.messages[-1])[f"encoder {IMAGE}"]
    assert values["level"] == "0"
    assert 0 <= float(values["age_p50_ms"]) < 500


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["_encoder:=s2r-vitt16"], "did you mean 's2r-vitt16-128'"),
        (["_outptu:=stamped"], "unknown parameter 'outptu'"),
        (["_policy:=/nowhere/policy.safetensors"], "/nowhere/policy.safetensors"),
        (["_max_rate_hz:=-1"], "max_rate_hz is -1"),
        (
            ["_synchronise:=false", "_max_rate_hz:=-1"],
            "parameter synchronise is now called synchronize",
        ),
    ],
)
def test_bad_parameters_end_it_with_a_reason(rig, words, text):
    name = f"bad{words[0][:5]}"
    module = "s2robot.plugins.ros.ros1"
    process = rig.start(name, sys.executable, "-m", module, f"__name:={name}", *words)
    assert process.wait() == 1
    assert text in process.text
    assert "Traceback" not in process.text


def test_what_is_recorded_is_read_as_a_bag(rig, frames_file, expected, tmp_path):
    """rosbag records embeddings and the encoder's description; the bag reader reads both."""
    rig.camera(frames_file, IMAGE)
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}")
    bag = tmp_path / "robot.bag"
    received = rig.subscribe("/embedding", EmbeddingStamped)
    received.after(3)
    recorder = rig.start(
        "recorder",
        sys.executable,
        str(Path(__file__).parents[1] / "support" / "ros1_record.py"),
        str(bag),
        "10",
    )
    assert recorder.wait() == 0, recorder.text
    found = read_embeddings(bag)
    assert found.encoder is not None
    assert found.encoder["scales"] == [1, 2]
    assert len(found.values) == 10
    for row in found.values:
        assert np.abs(expected - row.reshape(-1)).max(axis=1).min() < 2e-5


@pytest.mark.parametrize("name", ["EmbeddingStamped", "ActionStamped"])
def test_messages_are_genpys(name):
    """Bytes written without genpy equal those of genpy."""
    numbers = np.linspace(-3, 3, 1001, dtype=np.float32)
    found = message_class(name)()
    found.header.seq, found.header.frame_id = 7, "camera"
    found.header.stamp = rospy.Time(12, 34)
    if name == "EmbeddingStamped":
        found.model, found.shape = "a@b", array("I", (7, 11, 13))
    found.data = array("f", numbers.tobytes())
    quick, plain = io.BytesIO(b"1234"), io.BytesIO(b"1234")
    for out in (quick, plain):
        out.seek(4)
    found.serialize(quick)
    found.data = numbers.tolist()
    found.serialize(plain)
    assert quick.getvalue() == plain.getvalue()
    again = message_class(name)().deserialize(quick.getvalue()[4:])
    assert (again.header.seq, again.header.stamp.to_nsec()) == (7, 12_000_000_034)
    assert np.array_equal(np.array(again.data, np.float32), numbers)
    with pytest.raises(ValueError, match="unknown message"):
        message_class("EmbeddingStampd")


def test_help_needs_no_master():
    found = subprocess.run(
        [sys.executable, "-m", "s2robot.plugins.ros.ros1", "--help"], capture_output=True, text=True
    )
    assert found.returncode == 0
    assert "roslaunch s2robot_ros encoder.launch" in found.stdout


def test_the_callback_of_the_documentation(rig, frames_file, frames, expected):
    """The callback of docs/integrations/ros.md as a program with a camera."""
    text = (ROOT / "docs/integrations/ros.md").read_text(encoding="utf-8")
    (program,) = [part for part in text.split("```python\n")[1:] if part.startswith("import rospy")]
    path = rig.folder / "mine.py"
    path.write_text(program.partition("```")[0], encoding="utf-8")
    rig.camera(frames_file, IMAGE, "--hz", "5")
    mine = rig.start("mine", sys.executable, str(path))
    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2), device="cpu")
    norms = [float(encoder(frame).norm()) for frame in frames]
    found = wait_for("two lines", lambda: re.findall(r"tensor\((\d+\.\d+)\)", mine.text)[1:])
    for norm in found:
        assert np.abs(np.array(norms) - float(norm)).min() < 1e-3
