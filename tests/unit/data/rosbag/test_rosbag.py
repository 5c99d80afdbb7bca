"""Bags as sources of frames."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import numpy as np
import pytest
from support.bags import (
    CAMERA,
    DEPTH,
    FRAMES,
    SOURCES,
    WRIST,
    WRIST_FRAMES,
    make_bag,
    one_camera,
    path_of,
    two_cameras,
    with_depth,
)

from s2robot.data.frame_sources import frames_from
from s2robot.errors import CorruptFileError, S2RobotError


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


def test_without_rosbags_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(S2RobotError, match=r"pip install 'rosbags>="):
        importlib.reload(sys.modules["s2robot.data.rosbag"])
