"""Embeddings written to bags and read back; the message that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg
from support.bags import make_bag, two_cameras
from support.paths import ROOT
from support.small_encoders import encoder_of

from s2robot.data.rosbag import EMBEDDING, read_embeddings
from s2robot.data.rosbag.messages import EMBEDDING_STAMPED, typestore_of
from s2robot.data.rosbag.writing import writing_bag
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.plugins.ros.encode_bag import encode_bag


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return encoder_of(readout="spatial_softmax")


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
