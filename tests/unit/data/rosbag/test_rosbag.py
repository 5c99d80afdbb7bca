"""Bags of pictures to bags of embeddings, and bags as sources of frames."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import json
import os
import re
import signal
import sqlite3
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from support.paths import ROOT
from support.small_encoders import encoder_of, picture
from torch import Tensor

from s2robot.cli import encode_bag as encode_bag_command
from s2robot.cli import main as cli
from s2robot.data.frame_sources import frames_from
from s2robot.data.rosbag import (
    EMBEDDING,
    ENCODER_TOPIC,
    bag_frames,
    read_embeddings,
)
from s2robot.data.rosbag.messages import EMBEDDING_STAMPED, typestore_of
from s2robot.data.rosbag.writing import writing_bag
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError
from s2robot.plugins.ros.encode_bag import BagSettings, encode_bag
from s2robot.pretraining.config import ModelConfig, PretrainConfig
from s2robot.pretraining.frame_sources import open_dataset

CAMERA, WRIST, DEPTH, WORDS = "/camera/image_raw", "/wrist/compressed", "/depth", "/words"
SOURCES = ("bag", "mcap", "db3")
BEGIN_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
LATENCY_NS = 7_000_123


@dataclass
class BagMaker:
    """Writes messages of either ROS into a bag of rosbags."""

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
        """A message that arrives some milliseconds after its stamp."""
        if topic not in self.topics:
            self.topics[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        message = self.store.types[kind](**fields)
        serialize = self.store.serialize_cdr if self.ros2 else self.store.serialize_ros1
        time = BEGIN_NS + i * PERIOD_NS + LATENCY_NS
        self.writer.write(self.topics[topic], time, serialize(message, kind))

    def raw(self, topic: str, i: int, frame: np.ndarray, encoding: str = "bgr8") -> None:
        """BGR with five bytes after each row."""
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
    """A bag with what ``content(maker)`` writes; a folder unless it is one of ROS 1."""
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


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return encoder_of(readout="spatial_softmax")


def all_messages(path: Path) -> Iterator[tuple[str, int, Any]]:
    with AnyReader([path]) as reader:
        for connection, time, raw in reader.messages():
            yield connection.topic, time, reader.deserialize(raw, connection.msgtype)


def stamps(count: int, step: int = 1) -> np.ndarray:
    return BEGIN_NS + np.arange(0, count, step) * PERIOD_NS


# ---------------------------------------------------------------------------------- conversions
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


# -------------------------------------------------------------------------------------- choices
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


def test_pictures_that_are_encoded_are_copied_if_named(tmp_path, encoder):
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


class StandIn:
    """In place of an encoder: zeros, the sizes of the batches, and a sudden death if wanted."""

    output_shape = (2,)
    runtime = SimpleNamespace(name="eager")

    def __init__(self, dies_at: int = 0) -> None:
        self.spec = encoder_of().spec
        self.batches: list[int] = []
        self.dies_at = dies_at

    def __call__(self, frames: np.ndarray) -> Tensor:
        self.batches.append(len(frames))
        if len(self.batches) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(len(frames), 2)


def test_memory_is_bounded_by_the_batch(tmp_path):
    frame = picture(1, 300, 400)[0]

    def content(maker: BagMaker) -> None:
        for i in range(60):
            maker.raw(CAMERA, i, frame)

    bag = make_bag(tmp_path / "in_mcap", content)
    encode_bag(bag, tmp_path / "warm.mcap", as_encoder(StandIn()), BagSettings(end_s=0.1))
    stand_in = StandIn()
    tracemalloc.start()
    encode_bag(bag, tmp_path / "out.mcap", as_encoder(stand_in), BagSettings(batch=4))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stand_in.batches == [4] * 15
    # 4 frames and their stack, and a few chunks of 1 MB; all 60 frames would be 21 MB
    assert most < 25 * frame.nbytes


def as_encoder(stand_in: StandIn) -> FrameEncoder:
    encoder: Any = stand_in
    return encoder


# --------------------------------------------------------------------------- what cannot be read
def with_depth(maker: BagMaker) -> None:
    one_camera(maker)
    for i in range(3):
        maker.raw(DEPTH, i, FRAMES[i], "32FC1")
    maker.raw(DEPTH, 3, FRAMES[3], "nonsense")
    maker.raw(DEPTH, 4, FRAMES[4])


def test_pictures_of_unknown_encodings_are_counted_by_their_kind(tmp_path, encoder):
    bag = make_bag(tmp_path / "in_mcap", with_depth)
    made = encode_bag(bag, tmp_path / "out.mcap", encoder)
    depth = made.topics[1]
    assert (depth.messages, depth.embeddings) == (5, 1)
    assert sorted(depth.left_out.values()) == [1, 3]
    assert any("32FC1" in why for why in depth.left_out)
    found = read_embeddings(tmp_path / "out.mcap", f"{DEPTH}/embedding")
    assert np.array_equal(found.stamps_ns, stamps(5)[4:])


def test_strict_stops_at_them_and_leaves_nothing(tmp_path, encoder):
    bag = make_bag(tmp_path / "in_mcap", with_depth)
    with pytest.raises(CorruptFileError, match=r"/depth, message 0 .*32FC1"):
        encode_bag(bag, tmp_path / "out.mcap", encoder, BagSettings(strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["in_mcap"]


def test_no_frame_at_all(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", with_depth)
    with pytest.raises(S2RobotError, match=r"no frame to encode; /depth: 3 of 4 .*32FC1"):
        encode_bag(bag, tmp_path / "out.bag", encoder, BagSettings((DEPTH,), end_s=0.35))
    with pytest.raises(S2RobotError, match="in that window of time"):
        encode_bag(bag, tmp_path / "out.bag", encoder, BagSettings(start_s=100))
    assert not (tmp_path / "out.bag").exists()


def test_bags_without_pictures_list_their_topics(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", lambda maker: maker.word(0))
    with pytest.raises(ValueError, match=r"no image topic .*/words \(std_msgs/msg/String\)"):
        encode_bag(bag, tmp_path / "out.bag", encoder)


@pytest.mark.parametrize("kind", SOURCES)
def test_empty_bags(tmp_path, encoder, kind):
    bag = make_bag(path_of(kind, tmp_path), lambda maker: None)
    with pytest.raises(S2RobotError, match="holds no messages"):
        encode_bag(bag, tmp_path / "out.bag", encoder)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.97])
def test_cut_off_bags(tmp_path, encoder, kind, share):
    def content(maker: BagMaker) -> None:
        for i, frame in enumerate(picture(6, 300, 300)):
            maker.raw(CAMERA, i, frame)

    file = file_of(make_bag(path_of(kind, tmp_path), content))
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    bag = file if kind == "bag" else file.parent
    with pytest.raises(CorruptFileError, match="cannot be read"):
        encode_bag(bag, tmp_path / "out.mcap", encoder)
    assert not (tmp_path / "out.mcap").exists()


def test_broken_metadata(tmp_path, encoder):
    bag = make_bag(tmp_path / "in_mcap", one_camera)
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    with pytest.raises(CorruptFileError, match=r"in_mcap cannot be read"):
        encode_bag(bag, tmp_path / "out.mcap", encoder)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"topics": ("/camera/image",)}, r"unknown image topic .*did you mean '/camera/image_raw'"),
        ({"copy": ("/nothing",)}, "unknown topic to copy '/nothing'"),
        ({"every": 0}, "every must be 1 or more; got 0"),
        ({"batch": -1}, "batch must be 1 or more"),
        ({"start_s": float("nan")}, "start nan s"),
        ({"end_s": float("nan")}, "end nan s"),
        ({"start_s": 2.0, "end_s": 1.0}, "the end after the start"),
        ({"start_s": -1.0}, "start -1.0 s"),
    ],
)
def test_wrong_settings(tmp_path, encoder, settings, message):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    with pytest.raises(ValueError, match=message):
        encode_bag(bag, tmp_path / "out.bag", encoder, BagSettings(**settings))
    assert not (tmp_path / "out.bag").exists()


def test_wrong_places(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    (tmp_path / "folder").mkdir()
    for source, out, error, message in (
        ("missing.bag", "out.bag", FileNotFoundError, "no such bag"),
        ("folder", "out.bag", ValueError, "is no bag"),
        ("in.bag", "out.mp4", ValueError, "the name decides the format"),
        ("in.bag", "in.bag", ValueError, "exists already"),
        ("in.bag", "folder", ValueError, "is a folder that is not a bag"),
    ):
        with pytest.raises(error, match=message):
            encode_bag(tmp_path / source, tmp_path / out, encoder)
    with pytest.raises(ValueError, match="is the bag that is read"):
        encode_bag(bag, bag, encoder, force=True)
    assert len([*bag_frames(bag)]) == 7


# ------------------------------------------------------------------------------- whole or absent
@pytest.mark.parametrize("out", ["out.mcap", "out.bag", "out"])
def test_an_error_leaves_what_was_there(tmp_path, encoder, out, monkeypatch):
    bag = make_bag(tmp_path / "in_mcap", one_camera)
    encode_bag(bag, tmp_path / out, encoder, BagSettings(end_s=0.1))
    with pytest.raises(ValueError, match="exists already"):
        encode_bag(bag, tmp_path / out, encoder)
    forward = encoder.forward
    calls = iter((forward, None))
    monkeypatch.setattr(encoder, "forward", lambda frames: next(calls)(frames))  # pyright: ignore
    with pytest.raises(TypeError):
        encode_bag(bag, tmp_path / out, encoder, BagSettings(batch=2), force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in_mcap", out}
    assert len(read_embeddings(tmp_path / out).values) == 2
    monkeypatch.undo()
    encode_bag(bag, tmp_path / out, encoder, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in_mcap", out}
    assert len(read_embeddings(tmp_path / out).values) == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("out", ["out.mcap", "out.bag", "out"])
def test_a_killed_run_leaves_nothing_under_the_name(tmp_path, out):
    bag = make_bag(tmp_path / "in_mcap", one_camera)
    encoder = as_encoder(StandIn(dies_at=3))
    child = os.fork()
    if not child:
        try:
            encode_bag(bag, tmp_path / out, encoder, BagSettings(batch=2))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not (tmp_path / out).exists()
    encode_bag(bag, tmp_path / out, as_encoder(StandIn()))
    assert len(read_embeddings(tmp_path / out).values) == 7


# ------------------------------------------------------------------------------------ reading back
def test_choosing_a_topic_of_embeddings(tmp_path, encoder):
    bag = make_bag(tmp_path / "in.bag", two_cameras)
    encode_bag(bag, tmp_path / "out.mcap", encoder)
    with pytest.raises(ValueError, match="several embedding topics, /camera"):
        read_embeddings(tmp_path / "out.mcap")
    with pytest.raises(ValueError, match="unknown embedding topic '/camera'"):
        read_embeddings(tmp_path / "out.mcap", "/camera")
    with pytest.raises(ValueError, match="has no embedding topic"):
        read_embeddings(bag)


def written(path: Path, messages: Sequence[tuple[str, tuple[int, ...], list[float]]]) -> Path:
    stamp = SimpleNamespace(sec=1, nanosec=2)
    header = SimpleNamespace(stamp=stamp, frame_id="front")
    with writing_bag(path) as writer:
        for i, (model, shape, values) in enumerate(messages):
            writer.write_embedding("/e", i, header, model, shape, np.array(values, np.float32))
    return path


@pytest.mark.parametrize("name", ["out.mcap", "out.bag"])
def test_embeddings_that_cannot_be_used(tmp_path, name):
    good = ("a@1", (2,), [1.0, 2.0])
    found = read_embeddings(written(tmp_path / f"good_{name}", [good, good]))
    assert found.encoder is None
    assert found.stamps_ns.tolist() == [1_000_000_002] * 2
    for i, (bad, error) in enumerate(
        (
            (("b@1", (2,), [1.0, 2.0]), MismatchError),
            (("a@1", (1,), [1.0]), MismatchError),
            (("a@1", (2,), [1.0, 2.0, 3.0]), CorruptFileError),
            (("a@1", (2,), [1.0, float("nan")]), CorruptFileError),
        )
    ):
        with pytest.raises(error):
            read_embeddings(written(tmp_path / f"{i}_{name}", [good, bad]))


# -------------------------------------------------------------------------------------- messages
@pytest.mark.parametrize("ros", ["ros1", "ros2"])
def test_the_package_of_messages_defines_what_is_written(ros):
    file = ROOT / "ros" / ros / "s2robot_msgs" / "msg" / "EmbeddingStamped.msg"
    assert file.read_text() == EMBEDDING_STAMPED
    store = typestore_of(ros == "ros2")
    fields = get_types_from_msg(file.read_text(), EMBEDDING)[EMBEDDING]
    assert store.fielddefs[EMBEDDING] == fields
    assert [name for name, _ in fields[1]] == ["header", "model", "shape", "data"]
    for name in ("package.xml", "CMakeLists.txt"):
        assert "std_msgs" in (file.parents[1] / name).read_text()


def test_md5_of_ros1_is_that_of_the_rules(tmp_path, encoder):
    """The md5 of the fields, comments stripped, that of Header (known) in place of its name."""
    fields = "2176decaecbce78abc3b96ef049fabed header\nstring model\nuint32[] shape\nfloat32[] data"
    expected = hashlib.md5(fields.encode()).hexdigest()
    bag = make_bag(tmp_path / "in.bag", one_camera)
    encode_bag(bag, tmp_path / "out.bag", encoder)
    with AnyReader([tmp_path / "out.bag"]) as reader:
        assert reader.topics[f"{CAMERA}/embedding"].connections[0].digest == expected


def test_bags_carry_their_definitions(tmp_path, encoder):
    """A reader that knows no message of ours reads them: plain rosbags did so above."""
    bag = make_bag(tmp_path / "in.bag", one_camera)
    encode_bag(bag, tmp_path / "out", encoder)
    with AnyReader([tmp_path / "out"]) as reader:
        connection = reader.topics[f"{CAMERA}/embedding"].connections[0]
        assert "float32[] data" in connection.msgdef.data
        assert connection.digest.startswith("RIHS01_")
        assert connection.digest == typestore_of(True).hash_rihs01(EMBEDDING)


# -------------------------------------------------------------------------------- frame sources
@pytest.mark.parametrize("kind", SOURCES)
def test_bags_as_frame_sources(tmp_path, kind):
    bag = make_bag(path_of(kind, tmp_path), two_cameras)
    assert np.array_equal(frames_from(f"{bag}:{CAMERA}", 40, 56, 3), FRAMES[:3])
    assert np.array_equal(frames_from(f"{bag}:{WRIST}", 50, 50, 99), WRIST_FRAMES)
    assert frames_from(f"{bag}:{WRIST}", 20, 30, 2).shape == (2, 20, 30, 3)
    with pytest.raises(ValueError, match="several image topics, .*choose one: .*in.*:/TOPIC"):
        frames_from(str(bag), 8, 8, 1)
    with pytest.raises(ValueError, match="unknown image topic '/nowhere'"):
        frames_from(f"{bag}:/nowhere", 8, 8, 1)


def test_the_only_camera_of_a_bag(tmp_path):
    bag = make_bag(tmp_path / "in_mcap", one_camera)
    assert np.array_equal(frames_from(str(bag), 40, 56, 9), FRAMES)
    file = bag / "in_mcap.mcap"
    assert np.array_equal(frames_from(f"{file}:{CAMERA}", 40, 56, 9), FRAMES)
    with pytest.raises(FileNotFoundError, match="no such bag"):
        frames_from(str(tmp_path / "none.mcap"), 8, 8, 1)
    (tmp_path / "broken.mcap").write_text("x")
    with pytest.raises(CorruptFileError, match="cannot be read"):
        frames_from(str(tmp_path / "broken.mcap"), 8, 8, 1)


def test_pictures_that_give_no_frame_are_named(tmp_path):
    bag = make_bag(tmp_path / "in.bag", with_depth)
    with pytest.raises(CorruptFileError, match="topic /depth: unknown encoding '32FC1'"):
        frames_from(f"{bag}:{DEPTH}", 8, 8, 1)


@pytest.mark.parametrize("kind", SOURCES)
def test_pretraining_on_bags(tmp_path, kind):
    shades = [np.full((60, 80, 3), 2 * i, np.uint8) for i in range(128)]

    def content(maker: BagMaker) -> None:
        for i, frame in enumerate(shades):
            maker.compressed(WRIST, i, frame)

    def pool(source: str, every: int = 1) -> Any:
        return open_dataset(
            PretrainConfig(
                source=(source,),
                cache=tmp_path / "cache",
                frame_size=48,
                every=every,
                model=ModelConfig(img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=1),
            ),
            Console(quiet=True),
        )

    bag = make_bag(path_of(kind, tmp_path), content)
    frames = pool(f"{bag}:{WRIST}")
    assert len(frames) == 128
    assert frames[0].shape == (48, 64, 3)
    assert [int(frames[i].mean()) for i in range(128)] == [2 * i for i in range(128)]
    thinned = pool(f"{bag}:{WRIST}", every=2)
    assert [int(thinned[i].mean()) for i in range(64)] == [4 * i for i in range(64)]
    folders = {p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()}
    pool(f"{bag}:{WRIST}")
    assert {p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()} == folders
    os.utime(file_of(bag), ns=(1, 1))  # another version of the bag
    pool(f"{bag}:{WRIST}")
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == len(folders) + 1


def test_pretraining_on_bags_that_are_not_there(tmp_path):
    config = PretrainConfig(source=(str(tmp_path / "none.bag"),), cache=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="no such folder, video, bag"):
        open_dataset(config, Console(quiet=True))


def test_without_rosbags_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(S2RobotError, match=r"pip install 's2robot\[ros\]'"):
        importlib.reload(sys.modules["s2robot.data.rosbag"])


# ------------------------------------------------------------------------------------ the command
def test_the_command(tmp_path, capsys):
    bag = make_bag(tmp_path / "in_mcap", with_depth)
    words = ["encode-bag", str(bag), str(tmp_path / "out.mcap"), "--encoder", "random/vitt16-128"]
    words += ["--scales", "1", "--readout", "mean", "--end", "0.45"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "192 numbers a frame" in told
    assert "/depth: 3 of 5 messages left out" in told
    found = read_embeddings(tmp_path / "out.mcap", f"{CAMERA}/embedding")
    assert found.values.shape == (5, 192)
    assert found.encoder is not None
    same = FrameEncoder.from_name("random/vitt16-128", (1,), "mean", device="cpu")
    assert found.encoder == same.spec.to_dict()
    assert np.array_equal(found.values, same(FRAMES[:5]).numpy())
    assert cli.main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_takes_the_encoder_of_a_policy(tmp_path, monkeypatch):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    same = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
    header = SimpleNamespace(encoder=same.spec.to_dict())
    monkeypatch.setattr(encode_bag_command, "read_header", lambda path: header)
    words = ["encode-bag", str(bag), str(tmp_path / "out.bag"), "--policy", "p", "--end", "0.2"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    found = read_embeddings(tmp_path / "out.bag")
    assert found.encoder == header.encoder
    assert np.array_equal(found.values, same(FRAMES[:3]).numpy())
    header.encoder = {"backbone": "state"}
    assert cli.main([*words, "--force"]) == 2


def test_the_command_refuses_what_a_policy_has_decided(tmp_path, capsys):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    words = ["encode-bag", str(bag), str(tmp_path / "out.bag"), "--policy", "p.safetensors"]
    assert cli.main([*words, "--scales", "1"]) == 2
    assert "--scales: the policy has decided that already" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["encode-bag", "--help"])
    told = capsys.readouterr().out
    assert "s2robot encode-bag run.mcap run.embeddings.mcap" in told
    assert "read_embeddings" in told
