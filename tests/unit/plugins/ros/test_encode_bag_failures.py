"""Memory, refusals and interruptions of the encoding of bags: a new bag is complete or absent."""

from __future__ import annotations

import os
import signal
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.bags import (
    CAMERA,
    DEPTH,
    SOURCES,
    BagMaker,
    file_of,
    make_bag,
    one_camera,
    path_of,
    stamps,
    with_depth,
)
from support.small_encoders import encoder_of, picture
from torch import Tensor

from s2robot.data.rosbag import bag_frames, read_embeddings
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.plugins.ros.encode_bag import BagSettings, encode_bag


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return encoder_of(readout="spatial_softmax")


class StandIn:
    """Encoder that returns zeros, records the sizes of its batches and may kill its process."""

    output_shape = (2,)
    runtime = SimpleNamespace(name="eager")
    inference = "eager"

    def __init__(self, dies_at: int = 0) -> None:
        self.spec = encoder_of().spec
        self.batches: list[int] = []
        self.dies_at = dies_at

    def for_batches_of(self, _frames: int) -> StandIn:
        return self

    def __call__(self, frames: np.ndarray) -> Tensor:
        self.batches.append(len(frames))
        if len(self.batches) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(len(frames), 2)


def as_encoder(stand_in: StandIn) -> FrameEncoder:
    encoder: Any = stand_in
    return encoder


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


def test_images_of_unknown_encodings_are_counted_by_their_kind(tmp_path, encoder):
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


def test_bags_without_images_list_their_topics(tmp_path, encoder):
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
        ("folder", "out.bag", ValueError, "is not a bag; a bag is"),
        ("in.bag", "out.mp4", ValueError, "the name decides the format"),
        ("in.bag", "in.bag", ValueError, "exists already"),
        ("in.bag", "folder", ValueError, "is a folder that is not a bag"),
    ):
        with pytest.raises(error, match=message):
            encode_bag(tmp_path / source, tmp_path / out, encoder)
    with pytest.raises(ValueError, match="is the bag to read"):
        encode_bag(bag, bag, encoder, force=True)
    assert len([*bag_frames(bag)]) == 7


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


@pytest.mark.process
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
