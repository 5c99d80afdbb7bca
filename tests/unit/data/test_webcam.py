"""Frames of a camera of this machine; FFmpeg's test picture stands for the camera."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from s2robot.data.webcam import webcam_frames
from s2robot.errors import S2RobotError

pytestmark = pytest.mark.process


def test_frames_come_in_rgb_until_the_camera_ends() -> None:
    red = "color=red:size=64x48:rate=10:duration=0.5"
    frames = list(webcam_frames(red, source_format="lavfi"))
    assert len(frames) == 5
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert all(np.abs(frame.astype(int) - [255, 0, 0]).max() < 8 for frame in frames)


def test_frames_can_be_taken_one_by_one() -> None:
    frames = webcam_frames("testsrc=size=32x16:rate=10", source_format="lavfi")
    first, second = islice(frames, 2)
    frames.close()
    assert not np.array_equal(first, second)


def test_a_camera_that_is_not_there_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="/dev/video977: no such camera; cameras of this"):
        next(webcam_frames("/dev/video977"))


def test_a_camera_that_cannot_be_read_is_named() -> None:
    with pytest.raises(S2RobotError, match="nonsense cannot be read: .*Does another program"):
        next(webcam_frames("nonsense", source_format="lavfi"))
