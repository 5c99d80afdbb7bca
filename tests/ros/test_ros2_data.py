"""The ROS 2 node on rclpy and FastDDS: every kind of message, good and bad, against the encoder.

One node serves all tests: this process is its lifecycle manager, its camera and its subscriber.
They run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image as Picture

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from lifecycle_msgs.msg import State, Transition  # noqa: E402
from rcl_interfaces.srv import DescribeParameters  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rosbags.typesys import get_types_from_msg  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from s2robot_msgs.msg import ActionStamped, EmbeddingStamped  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Float32MultiArray  # noqa: E402
from support.ros2_managed import (  # noqa: E402
    COMPRESSED,
    NS,
    Camera,
    Managed,
    compressed,
    image,
    real_image,
    same,
    stamp_of,
)
from support.ros2_rig import IMAGE, eventually  # noqa: E402
from unit.data.ros_messages.test_images import (  # noqa: E402
    BAYER,
    CHANNELS,
    bilinear,
    interleaved,
    random_message,
)

from s2robot.data.ros_messages.definitions import MESSAGES, PACKAGE  # noqa: E402
from s2robot.data.ros_messages.images import ENCODINGS, frame_of  # noqa: E402
from s2robot.data.rosbag.messages import typestore_of  # noqa: E402
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS  # noqa: E402

RNG = np.random.default_rng(0)


def frame(height: int = 24, width: int = 32) -> np.ndarray:
    """Return a new frame (H, W, 3) uint8."""
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------- images
def test_every_encoding_becomes_the_embedding_of_its_frame(node: Managed, offline) -> None:
    """Rows are padded, and samples of 16 bits come in both byte orders."""
    node.start(image_topics=[IMAGE], reuse=False)
    camera = Camera(node, [IMAGE])
    for number, encoding in enumerate(ENCODINGS):
        message = random_message(encoding, 12, 16, padding=5, big=number % 2)
        reference = frame_of(message)  # of yuv, which a test of its own compares
        if encoding in CHANNELS:
            reference = interleaved(message)
        elif encoding.startswith("bayer"):
            reference = bilinear(message, BAYER[encoding[6:10]])
        same(camera.shown(real_image(message)), offline(reference))
    values = node.counted("published", len(ENCODINGS))
    assert values["failed"] == "0"
    assert "reuse_hit_rate" not in values
    camera.close()


@pytest.mark.parametrize("name", [COMPRESSED, "image"])
def test_compressed_pictures(node: Managed, offline, name: str) -> None:
    """Also where a remapping leads to such a topic."""
    topic = COMPRESSED
    node.start(image_topics=[name])
    camera = Camera(node, [topic])
    shown = frame()
    for form in ("png", "bgr8; png compressed bgr8"):
        same(camera.shown(compressed(shown, "PNG", form)), offline(shown))
    message = compressed(shown, "JPEG", "jpeg")
    with Picture.open(io.BytesIO(bytes(message.data))) as picture:
        decoded = np.asarray(picture)
    assert np.abs(decoded.astype(int) - shown).max() > 0  # JPEG loses something
    same(camera.shown(message), offline(decoded))
    # The mosaic of a Bayer camera: a gray picture whose format names no target.
    bad = camera.publish(compressed(shown[..., 0], "JPEG", "bayer_rggb8; jpeg compressed "))
    node.counted("failed_encoding")
    assert "a raw Bayer mosaic" in node.process.text
    cut = compressed(frame(40, 40), "PNG", "png")
    cut.data = bytes(cut.data)[:900]
    worse = camera.publish(cut)
    node.counted("failed", 2)
    same(camera.shown(compressed(shown, "PNG", "png")), offline(shown))
    assert not {bad, worse} & set(camera.stamps())
    camera.close()


def test_bad_images_are_counted_and_never_published(node: Managed, offline) -> None:
    node.start(image_topics=[IMAGE])
    camera = Camera(node, [IMAGE])
    shown = frame()
    same(camera.shown(image(shown)), offline(shown))
    bad = {
        "encoding": image(shown, encoding="magic8"),
        "truncated": image(shown, data=shown.tobytes()[:-1]),
        "step": image(shown, step=3),
        "zero_size": image(shown, width=0),
    }
    stamps = []
    for kind, message in bad.items():
        stamps.append(camera.publish(message))
        node.counted(f"failed_{kind}")
    stamps.append(camera.publish(image(shown, encoding="16UC1", step=64)))
    values = node.counted("failed_encoding", 2)
    assert values["level"] in "12"
    assert "failures in the last" in values["message"]
    assert "mono16" in node.process.text  # what to publish in place of 16UC1
    other = frame(30, 20)  # of another size
    same(camera.shown(image(other)), offline(other))
    same(camera.shown(image(shown)), offline(shown))
    assert int(node.counted("size_changes", 2)["failed"]) == 5
    assert not set(stamps) & set(camera.stamps())
    assert "Traceback" not in node.process.text
    camera.close()


def test_stamps_that_go_back(node: Managed, offline) -> None:
    """A little: the frame is late and left out. By more: a clock was set back, all begins anew."""
    node.start(image_topics=[IMAGE])
    camera = Camera(node, [IMAGE])
    now = camera.now_ns()
    first, second, third = frame(), frame(), frame()
    same(camera.shown(image(first), now), offline(first))
    late = camera.publish(image(second), now - NS // 10)
    node.counted("late")
    same(camera.shown(image(third), now - 5 * NS), offline(third))
    assert node.counted("resets")["backwards"] == "2"
    assert late not in camera.stamps()
    camera.close()


def test_old_frames_are_not_published(node: Managed) -> None:
    node.start(image_topics=[IMAGE], stale_s=5.0)
    camera = Camera(node, [IMAGE])
    old = camera.publish(image(frame()), camera.now_ns() - 9 * NS)
    node.counted("stale")
    assert old not in camera.stamps()
    eventually("it is logged", lambda: "not published" in node.process.text)
    camera.close()


@pytest.mark.parametrize("number", range(2))
def test_rosbags_and_ros_read_each_others_bytes(number: int) -> None:
    """A bag that `encode-bag` writes is read by ROS, and one of the node's by rosbags."""
    message = (
        EmbeddingStamped(model="vit@0123", shape=[2, 3], data=[float(i) for i in range(6)]),
        ActionStamped(policy="ä", meaning=["dx", "z"], data=[0.5, -1.0], period=0.25, anew=True),
    )[number]
    message.header.frame_id = "camera"
    message.header.stamp.sec, message.header.stamp.nanosec = 5, 7
    name = type(message).__name__
    store, full = typestore_of(ros2=True), f"{PACKAGE}/msg/{name}"
    if full not in store.types:
        store.register(get_types_from_msg(MESSAGES[name], full))
    theirs = serialize_message(message)
    ours = bytes(store.serialize_cdr(store.deserialize_cdr(theirs, full), full))
    assert len(ours) == len(theirs)  # the padding between fields is not set in ROS
    assert deserialize_message(ours, type(message)) == message


# ------------------------------------------------------------------------ several cameras
def test_cameras_that_are_taken_together(node: Managed, offline) -> None:
    """One embedding of frames whose stamps lie within the slop, with the first one's header."""
    left, right = "/left/image_raw", "/right/image_raw"
    node.start(image_topics=[left, right], slop_s=0.02)
    camera = Camera(node, [left, right])
    begin = camera.now_ns() - NS
    for step in range(4):
        pair = frame(), frame(18, 20)
        stamp = camera.publish(image(pair[0]), begin + step * NS // 10, left)
        if step == 2:
            continue  # the right camera misses one
        camera.publish(image(pair[1]), stamp + NS // 100, right)
        message = camera.embedding(stamp)
        same(np.array(message.data), np.concatenate([offline(each) for each in pair]))
        assert list(message.shape) == [2, len(message.data) // 2]
    assert camera.stamps() == [begin + step * NS // 10 for step in (0, 1, 3)]
    camera.close()


def test_cameras_with_a_topic_each(node: Managed, offline) -> None:
    left, right = "/left/image_raw", "/right/image_raw"
    node.start(image_topics=[left, right], synchronize=False)
    for topic in (left, right):
        camera = Camera(node, [topic], f"/embedding{topic}")
        shown = frame()
        same(camera.shown(image(shown)), offline(shown))
        assert len(camera.stamps()) == 1
        camera.close()


def test_arrays_of_cameras_that_are_taken_together(node: Managed, offline) -> None:
    left, right = "/left/image_raw", "/right/image_raw"
    node.start(image_topics=[left, right], output="float32multiarray")
    camera = Camera(node, [left, right], kind=Float32MultiArray)
    pair = frame(), frame()
    stamp = camera.now_ns()

    def shown() -> bool:
        """Show both, again where a frame was lost, as best effort may lose it."""
        camera.publish(image(pair[0]), stamp + len(camera.sent), left)
        camera.publish(image(pair[1]), stamp + len(camera.sent), right)
        time.sleep(0.1)
        return bool(camera.received.messages)

    eventually("an array comes", shown)
    found = camera.received.messages[0]
    same(np.array(found.data), np.concatenate([offline(each) for each in pair]))
    width = len(found.data) // 2
    dims = [(each.label, each.size, each.stride) for each in found.layout.dim]
    assert dims == [("cell", 2, 2 * width), ("feature", width, width)]
    camera.close()


# ------------------------------------------------------------------------------- parameters
def test_parameters_are_described(node: Managed) -> None:
    names = [*CONFIG_PARAMETERS, "autostart", "hardware_id"]
    answer = node.rig.call(DescribeParameters, "describe_parameters", names=names)
    found = {each.name: each for each in answer.descriptors}
    assert list(found) == names
    undescribed = {name for name, each in found.items() if not each.description}
    assert undescribed == {"device", "joint_topic", "embedding_topic", "action_topic"}
    assert {name for name, each in found.items() if each.read_only} == {"autostart"}


def test_a_manager_changes_states(node: Managed, offline) -> None:
    """Parameters are refused while it is configured; a wrong transition does not end it.

    The node answers that one in Jazzy, and rclpy itself in Kilted.
    """
    node.prepare(image_topics=[IMAGE])
    assert not node.change(Transition.TRANSITION_ACTIVATE)
    refusals = ("this transition is not possible now", "Unable to start transition 3")
    eventually("it says so", lambda: any(text in node.process.text for text in refusals))
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.state() == State.PRIMARY_STATE_INACTIVE
    (refused,) = node.set(max_rate_hz=5.0)
    assert not refused.successful
    assert "deactivate it, clean it up" in refused.reason
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    camera = Camera(node, [IMAGE])
    shown = frame()
    same(camera.shown(image(shown)), offline(shown))
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    eventually("the camera is let go", lambda: not node.rig.cameras_subscribers())
    camera.publish(image(frame()))
    assert node.change(Transition.TRANSITION_ACTIVATE)
    eventually("the node listens", node.rig.cameras_subscribers)
    same(camera.shown(image(shown)), offline(shown))
    assert len(camera.stamps()) == 2
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert node.change(Transition.TRANSITION_CLEANUP)
    assert node.state() == State.PRIMARY_STATE_UNCONFIGURED
    (accepted,) = node.set(max_rate_hz=5.0)
    assert accepted.successful
    camera.close()


# ------------------------------------------------------------------------------- topics
def test_a_camera_of_the_other_transport_is_named(node: Managed) -> None:
    node.start(image_topics=[IMAGE], lazy=False, transport="compressed")
    other = node.rig.node.create_publisher(Image, IMAGE, 1)
    text = (
        f"no frame has arrived yet: {IMAGE} has sensor_msgs/msg/Image of tests, but the node takes "
        "sensor_msgs/msg/CompressedImage: set its parameter transport to raw"
    )
    eventually("diagnostics say why", lambda: node.status().get("message") == text)
    node.rig.node.destroy_publisher(other)


# ------------------------------------------------------------------------------ the clock
def test_a_silent_clock_is_named_in_diagnostics(node: Managed, offline) -> None:
    """With simulated time and no /clock, embeddings still have the headers of their frames."""
    node.start(image_topics=[IMAGE], use_sim_time=True)
    camera = Camera(node, [IMAGE])

    def told() -> bool:
        shown = frame()
        same(camera.shown(image(shown)), offline(shown))
        return "/clock is silent" in node.status().get("message", "")

    eventually("diagnostics say so", told)
    assert node.status()["level"] == "1"
    camera.close()


def test_simulated_time_that_jumps_back(node: Managed, offline) -> None:
    """Ages are by /clock; after the jump frames are embedded, and none of before comes again."""
    clock = node.rig.node.create_publisher(Clock, "/clock", 10)
    node.start(image_topics=[IMAGE], use_sim_time=True, stale_s=5.0)
    camera = Camera(node, [IMAGE])

    def tick(seconds: int) -> None:
        clock.publish(Clock(clock=rclpy.time.Time(seconds=seconds).to_msg()))

    def until_embedded(seconds: int) -> None:
        """Show new frames of one moment until the node's time has reached it."""
        begin = len(camera.stamps())
        shown = {}
        while len(camera.stamps()) == begin:
            tick(seconds)
            stamp = seconds * NS + len(shown)  # [ns]
            shown[stamp] = frame()
            camera.publish(image(shown[stamp]), stamp)
            time.sleep(0.3)
        message = camera.received.messages[begin]
        same(np.array(message.data), offline(shown[stamp_of(message)]))

    until_embedded(1000)
    until_embedded(1030)
    before = set(camera.stamps())
    tick(10)  # frames of 1030 s would now be from the future
    until_embedded(10)
    later = camera.stamps()[len(before) :]
    assert all(10 * NS <= stamp < 11 * NS for stamp in later)
    assert node.counted("resets")["failed"] == "0"
    camera.close()
    node.rig.node.destroy_publisher(clock)


def test_ages_are_by_simulated_time(node: Managed, offline) -> None:
    """A stamp of the wall lies in the future, which is no reason to leave its frame out."""
    clock = node.rig.node.create_publisher(Clock, "/clock", 10)
    node.start(image_topics=[IMAGE], use_sim_time=True, stale_s=20.0)
    camera = Camera(node, [IMAGE])
    shown = frame()
    same(camera.shown(image(shown)), offline(shown))

    def stale() -> bool:
        clock.publish(Clock(clock=rclpy.time.Time(seconds=1050).to_msg()))
        camera.publish(image(frame()), 1001 * NS + len(camera.sent))
        time.sleep(0.1)
        return int(node.status().get("stale", 0)) > 0

    eventually("old frames are left out", stale)
    last = camera.sent[-1]
    assert last not in camera.stamps()
    camera.close()
    node.rig.node.destroy_publisher(clock)
