"""Topics of ROS 2 in a bag: `ros2-record`, and what reads its bags.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from mcap_ros2.reader import read_ros2_messages  # noqa: E402
from s2robot_msgs.msg import EmbeddingStamped  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from support.media_files import write_png  # noqa: E402
from support.ros2_rig import IMAGE, WAIT_S, Process, Rig2, eventually  # noqa: E402

from s2robot.data.rosbag import (  # noqa: E402
    ENCODER_TOPIC,
    Embeddings,
    bag_frames,
    read_embeddings,
)
from s2robot.plugins.ros.ros2_recordings.recorder import installed_types  # noqa: E402

EMBEDDING = "/embedding"
PLENTY = 5


def record(ros2: Rig2, *words: str) -> Process:
    return ros2.start("recorder", "-m", "s2robot.cli", "ros2-record", *words)


def play(ros2: Rig2, source: Path, *words: str) -> Process:
    given = [str(source), "--topic", IMAGE, *words]
    return ros2.start("player", "-m", "s2robot.cli", "ros2-camera", *given)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "0.png"
    write_png(path, np.random.default_rng(0).integers(0, 65536, (48, 64, 3)).astype(np.uint16))
    return path


def test_what_a_node_publishes_is_in_the_bag(ros2: Rig2, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    recorder = record(ros2, str(out), IMAGE, EMBEDDING, ENCODER_TOPIC)
    received = ros2.subscribe(EMBEDDING, EmbeddingStamped)
    ros2.encoder()
    play(ros2, picture, "--hz", "10")
    # The encoder's description, published once, may come seconds after its subscription.
    eventually("it records", lambda: recorder.text.count("the first message of /") == 3)
    received.after(PLENTY)
    recorder.kill(signal.SIGINT)
    assert recorder.wait() == 0
    assert "Traceback" not in recorder.text
    assert f"of {EMBEDDING}, 1 of {ENCODER_TOPIC}" in recorder.text

    found = read_embeddings(out, EMBEDDING)
    sent = {stamp_ns(message): np.asarray(message.data) for message in received.messages}
    shared = [i for i, stamp in enumerate(found.stamps_ns) if stamp in sent]
    # It may end a few frames before the subscription here does, but none is left out between.
    times = sorted(sent)
    first, last = (times.index(found.stamps_ns[shared[i]]) for i in (0, -1))
    assert len(shared) == last - first + 1
    for i in shared:
        np.testing.assert_array_equal(found.values[i], sent[found.stamps_ns[i]])
    assert (found.encoder or {})["backbone"] in found.model
    check_definitions(ros2)
    check_with_the_format_s_own_reader(out, found)
    check_played_again(ros2, out)


def stamp_ns(message: EmbeddingStamped) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def check_definitions(ros2: Rig2) -> None:
    """The digests of the definitions that are written are those that ROS tells."""
    offers = ros2.node.get_publishers_info_by_topic
    for topic in (IMAGE, EMBEDDING, ENCODER_TOPIC):
        # A process hears of publishers to which it does not subscribe by and by.
        (offer,) = eventually(f"{topic} is offered", lambda named=topic: offers(named))
        kind = offer.topic_type
        assert installed_types(kind).hash_rihs01(kind) == str(offer.topic_type_hash)


def check_with_the_format_s_own_reader(out: Path, expected: Embeddings) -> None:
    """Foxglove's library decodes messages by the definitions that the bag holds."""
    values = [list(each.ros_msg.data) for each in read_ros2_messages(str(out), topics=[EMBEDDING])]
    np.testing.assert_array_equal(np.array(values, np.float32), expected.values)


def check_played_again(ros2: Rig2, out: Path) -> None:
    frame = next(iter(bag_frames(out, IMAGE)))
    ros2.clear()
    received = ros2.subscribe(IMAGE, Image)
    play(ros2, Path(f"{out}:{IMAGE}"), "--hz", "10")
    (message, *_) = received.after(1)
    assert bytes(message.data) == np.asarray(frame).tobytes()


def test_it_ends_after_its_time_and_replaces_nothing(
    ros2: Rig2, picture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    play(ros2, picture, "--best-effort")
    assert record(ros2, str(out), IMAGE, "--seconds", "0.5").wait(WAIT_S) == 0
    assert (out / "metadata.yaml").is_file()
    again = record(ros2, str(out), IMAGE)
    assert again.wait(WAIT_S) == 2
    assert "exists already" in again.text
    forced = record(ros2, str(out), IMAGE, "--seconds", "0.1", "--force")
    assert forced.wait(WAIT_S) == 0


def test_without_messages_there_is_no_bag(ros2: Rig2, tmp_path: Path) -> None:
    recorder = record(ros2, str(tmp_path / "run.mcap"), "/nobody")
    eventually("it says so", lambda: "no publisher yet of /nobody; topics here" in recorder.text)
    recorder.kill(signal.SIGINT)
    assert recorder.wait() == 2
    assert "no message of /nobody arrived, so there is no bag" in recorder.text
    assert "Traceback" not in recorder.text
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_none_is_refused(ros2: Rig2, tmp_path: Path) -> None:
    recorder = record(ros2, str(tmp_path / "run.mcap"), "a b")
    assert recorder.wait(WAIT_S) == 2
    assert "'a b' is no name of a topic in ROS 2" in recorder.text
    assert not list(tmp_path.iterdir())
