"""Bags of images become bags of embeddings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
from typing import Any

import numpy as np
import pytest
from mcap_ros2.reader import read_ros2_messages
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_types_from_msg
from support.bags import (
    BEGIN_NS,
    CAMERA,
    FRAMES,
    LATENCY_NS,
    PERIOD_NS,
    SOURCES,
    WORDS,
    WRIST,
    WRIST_FRAMES,
    BagMaker,
    all_messages,
    file_of,
    make_bag,
    one_camera,
    path_of,
    stamps,
    two_cameras,
)
from support.small_encoders import encoder_of

from s2robot.data.rosbag import EMBEDDING, ENCODER_TOPIC, bag_frames, read_embeddings
from s2robot.data.rosbag.messages import typestore_of
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.plugins.ros.encode_bag import BagSettings, encode_bag


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return encoder_of(readout="spatial_softmax")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("out", ["out.mcap", "out.bag", "out"])
def test_embeddings_headers_and_times(tmp_path, encoder, source, out):
    bag = make_bag(path_of(source, tmp_path), two_cameras)
    made = encode_bag(bag, tmp_path / out, encoder, BagSettings(batch=3))
    assert [(c.topic, c.messages, c.embeddings) for c in made.topics] == [
        (CAMERA, 7, 7),
        (WRIST, 5, 5),
    ]
    for topic, frames, frame_id in ((CAMERA, FRAMES, "front"), (WRIST, WRIST_FRAMES, "wrist")):
        found = read_embeddings(tmp_path / out, f"{topic}/embedding")
        assert np.array_equal(found.values, encoder(frames).numpy())
        assert found.values.dtype == np.float32
        assert np.array_equal(found.stamps_ns, stamps(len(frames)))
        assert np.array_equal(found.log_times_ns, stamps(len(frames)) + LATENCY_NS)
        assert found.frame_ids == (frame_id,) * len(frames)
        assert found.shape == encoder.output_shape
        assert found.model == f"one prefix@{encoder.spec.digest()[:16]}"
        assert found.encoder == encoder.spec.to_dict()
    topics = [topic for topic, _, _ in all_messages(tmp_path / out)]
    assert (len(topics), topics.count(ENCODER_TOPIC)) == (13, 1)


@pytest.mark.parametrize("source", SOURCES)
def test_the_library_of_the_format_s_makers_reads_embeddings(tmp_path, encoder, source):
    """It decodes by the definitions that the file holds, as Foxglove and PlotJuggler do."""
    bag = make_bag(path_of(source, tmp_path), one_camera)
    encode_bag(bag, tmp_path / "out.mcap", encoder)
    read = list(read_ros2_messages(str(tmp_path / "out.mcap"), topics=[f"{CAMERA}/embedding"]))
    assert {each.schema.name for each in read} == {EMBEDDING}
    assert {each.schema.encoding for each in read} == {"ros2msg"}
    found = [list(each.ros_msg.data) for each in read]
    np.testing.assert_array_equal(np.array(found, np.float32), encoder(FRAMES).numpy())
    header = read[0].ros_msg.header
    assert header.stamp.sec * 10**9 + header.stamp.nanosec == stamps(1)[0]
    assert (header.frame_id, read[0].ros_msg.model.partition("@")[0]) == ("front", "one prefix")


@pytest.mark.parametrize("source", SOURCES)
def test_sequence_numbers_of_ros1(tmp_path, encoder, source):
    bag = make_bag(path_of(source, tmp_path), one_camera)
    encode_bag(bag, tmp_path / "out.bag", encoder)
    numbers = [m.header.seq for t, _, m in all_messages(tmp_path / "out.bag") if CAMERA in t]
    first = 40 if source == "bag" else 0  # ROS 2 has none: counted from 0
    assert numbers == list(range(first, first + 7))


def test_a_single_file_of_a_ros2_folder_is_a_bag(tmp_path, encoder):
    bag = make_bag(tmp_path / "in_mcap", one_camera)
    encode_bag(bag / "in_mcap.mcap", tmp_path / "out.mcap", encoder)
    assert (tmp_path / "out.mcap").is_file()
    assert len(read_embeddings(tmp_path / "out.mcap").values) == 7


def test_the_record_tells_the_encoder_and_is_latched(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    for name in ("out", "out.bag"):
        encode_bag(bag, tmp_path / name, encoder)
        (text,) = [m.data for t, _, m in all_messages(tmp_path / name) if t == ENCODER_TOPIC]
        record = json.loads(text)
        assert record["digest"] == encoder.spec.digest()
        assert record["inference"] == encoder.inference  # names the calibration of int8
        assert record["topics"] == {CAMERA: f"{CAMERA}/embedding"}
        assert record["provenance"]["versions"]["s2robot"]
        with AnyReader([tmp_path / name]) as reader:
            ext: Any = reader.topics[ENCODER_TOPIC].connections[0].ext
            if name == "out.bag":
                assert ext.latching == 1
            else:
                assert ext.offered_qos_profiles[0].durability.name == "TRANSIENT_LOCAL"


ODD = "lab_msgs/msg/Odd"


def test_sqlite_bags_from_before_iron_hold_no_definitions(tmp_path, encoder):
    def content(maker: BagMaker) -> None:
        two_cameras(maker)
        maker.store.register(get_types_from_msg("string data", ODD))
        maker.write("/odd", ODD, 0, data="odd")

    bag = make_bag(tmp_path / "in_db3", content)
    with contextlib.closing(sqlite3.connect(file_of(bag))) as database:
        database.executescript("DROP TABLE message_definitions; DROP TABLE schema")
    metadata = bag / "metadata.yaml"
    metadata.write_text(re.sub(r"\n *type_description_hash:\s+\S+", "", metadata.read_text()))
    for out in ("out.mcap", "out.bag"):
        made = encode_bag(bag, tmp_path / out, encoder, BagSettings(copy_all=True))
        assert [c.embeddings for c in made.topics] == [7, 5]
        assert made.copied == {WORDS: 7}
        assert len(made.not_copied) == 1
        assert "the bag does not define its type lab_msgs/msg/Odd" in made.not_copied[0]
        words = [m.data for topic, _, m in all_messages(tmp_path / out) if topic == WORDS]
        assert words == [f"word {i}" for i in range(7)]
    with pytest.raises(ValueError, match="/odd cannot be copied"):
        encode_bag(bag, tmp_path / "other.bag", encoder, BagSettings(copy=("/odd",)))


def test_topics_every_start_and_end(tmp_path, encoder):
    bag = make_bag(tmp_path / "in_mcap", two_cameras)
    settings = BagSettings((CAMERA,), every=2, start_s=0.1, end_s=0.5)
    made = encode_bag(bag, tmp_path / "out.mcap", encoder, settings)
    assert [(c.messages, c.embeddings) for c in made.topics] == [(5, 3)]  # 1, 2, 3, 4, 5
    found = read_embeddings(tmp_path / "out.mcap")
    assert np.array_equal(found.stamps_ns, BEGIN_NS + np.array([1, 3, 5]) * PERIOD_NS)
    assert np.array_equal(found.values, encoder(FRAMES[[1, 3, 5]]).numpy())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("out", ["out.mcap", "out.bag"])
@pytest.mark.parametrize("settings", [{"copy": (WORDS,)}, {"copy_all": True, "topics": (CAMERA,)}])
def test_other_topics_are_copied(tmp_path, encoder, source, out, settings):
    bag = make_bag(path_of(source, tmp_path), two_cameras)
    made = encode_bag(bag, tmp_path / out, encoder, BagSettings(**settings))
    expected = {WORDS: 7, WRIST: 5} if "copy_all" in settings else {WORDS: 7}
    assert made.copied == expected
    for topic in expected:
        before, after = (
            [(t, str(vars(m))) for n, t, m in all_messages(p) if n == topic and topic == WORDS]
            for p in (bag, tmp_path / out)
        )
        assert before == after
    if WRIST in expected:
        assert np.array_equal(np.stack([*bag_frames(tmp_path / out, WRIST)]), WRIST_FRAMES)
        headers = [m.header for n, _, m in all_messages(tmp_path / out) if n == WRIST]
        assert [h.stamp.nanosec for h in headers] == [i * PERIOD_NS for i in range(5)]
        if source == "bag" and out == "out.bag":
            assert [h.seq for h in headers] == [40, 41, 42, 43, 44]


def test_images_that_are_encoded_are_copied_if_named(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    made = encode_bag(bag, tmp_path / "out.mcap", encoder, BagSettings(copy=(CAMERA,)))
    assert made.copied == {CAMERA: 7}
    assert np.array_equal(np.stack([*bag_frames(tmp_path / "out.mcap")]), FRAMES)


def test_a_topic_published_by_several_nodes_is_copied_whole(tmp_path, encoder):
    def content(maker: BagMaker) -> None:
        one_camera(maker)
        for i, caller in enumerate(("/a", "/a", "/b")):
            maker.topics.pop(WORDS, None)
            if caller not in maker.topics:
                writer: Any = maker.writer
                maker.topics[caller] = writer.add_connection(
                    WORDS, "std_msgs/msg/String", typestore=maker.store, callerid=caller
                )
            maker.topics[WORDS] = maker.topics[caller]
            maker.word(i)

    bag = make_bag(tmp_path / "in.bag", content)
    for name in ("out.bag", "out.mcap"):
        encode_bag(bag, tmp_path / name, encoder, BagSettings(copy_all=True))
        words = [m.data for topic, _, m in all_messages(tmp_path / name) if topic == WORDS]
        assert words == ["word 0", "word 1", "word 2"]


def test_embeddings_are_not_covered_by_copies_of_older_ones(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    encode_bag(bag, tmp_path / "once.bag", encoder, BagSettings(copy=(CAMERA,)))
    again = encode_bag(
        tmp_path / "once.bag", tmp_path / "twice.bag", encoder, BagSettings(copy_all=True)
    )
    assert len(again.not_copied) == 2
    assert len(read_embeddings(tmp_path / "twice.bag").values) == 7
    with pytest.raises(ValueError, match="the new bag has one of that name"):
        settings = BagSettings(copy=(f"{CAMERA}/embedding",))
        encode_bag(tmp_path / "once.bag", tmp_path / "other.bag", encoder, settings)
    assert not (tmp_path / "other.bag").exists()


def test_reuse_gives_the_same_embeddings(tmp_path, encoder):
    def content(maker: BagMaker) -> None:
        for i in range(6):
            maker.raw(CAMERA, i, FRAMES[i // 3])

    bag = make_bag(tmp_path / "in.bag", content)
    made = encode_bag(bag, tmp_path / "out.mcap", encoder, BagSettings(reuse=True))
    assert made.topics[0].hit_rate == pytest.approx(4 / 6)
    values = read_embeddings(tmp_path / "out.mcap").values
    assert np.array_equal(values, encoder(FRAMES[[0, 0, 0, 1, 1, 1]]).numpy())


def test_a_camera_that_changes_its_size(tmp_path, encoder):
    def content(maker: BagMaker) -> None:
        for i in range(4):
            maker.raw(CAMERA, i, (FRAMES if i < 2 else WRIST_FRAMES)[i])

    bag = make_bag(tmp_path / "in.bag", content)
    encode_bag(bag, tmp_path / "out.mcap", encoder)
    values = read_embeddings(tmp_path / "out.mcap").values
    assert np.array_equal(values[:2], encoder(FRAMES[:2]).numpy())
    assert np.array_equal(values[2:], encoder(WRIST_FRAMES[2:4]).numpy())


def test_md5_of_ros1_is_that_of_the_rules(tmp_path, encoder):
    """The md5 of the fields, comments stripped, that of Header (known) in place of its name."""
    fields = "2176decaecbce78abc3b96ef049fabed header\nstring model\nuint32[] shape\nfloat32[] data"
    expected = hashlib.md5(fields.encode()).hexdigest()
    bag = make_bag(tmp_path / "in.bag", one_camera)
    encode_bag(bag, tmp_path / "out.bag", encoder)
    with AnyReader([tmp_path / "out.bag"]) as reader:
        assert reader.topics[f"{CAMERA}/embedding"].connections[0].digest == expected


def test_bags_carry_their_definitions(tmp_path, encoder):
    """A reader without our definitions reads them, as plain rosbags does above."""
    bag = make_bag(tmp_path / "in.bag", one_camera)
    encode_bag(bag, tmp_path / "out", encoder)
    with AnyReader([tmp_path / "out"]) as reader:
        connection = reader.topics[f"{CAMERA}/embedding"].connections[0]
        assert "float32[] data" in connection.msgdef.data
        assert connection.digest.startswith("RIHS01_")
        assert connection.digest == typestore_of(True).hash_rihs01(EMBEDDING)
