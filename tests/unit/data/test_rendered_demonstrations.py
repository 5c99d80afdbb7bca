"""Demonstrations of this package as a recorded data set."""

from __future__ import annotations

import numpy as np
import pytest
from support.recorded_data import write_robomimic

from s2robot.data.config import CameraConfig
from s2robot.data.rendered_demonstrations import open_source
from s2robot.data.rendered_frames import RenderedFrames

pytestmark = [pytest.mark.render]


def test_frames_and_numbers_are_those_of_the_demonstrations(demos, tmp_path):
    data = open_source(demos.path, ["front", "wrist"], ["ee_pos"], 32, tmp_path)
    assert data.cameras == {"front": (32, 32), "wrist": (32, 32)}
    drawn = RenderedFrames(demos, CameraConfig("wrist", 32), tmp_path)
    end = int(demos.episode_ends[0])
    second = np.stack(list(data.frames("wrist", 1)))
    assert np.array_equal(second, drawn.read(end, int(demos.episode_ends[1])))
    assert np.array_equal(data.low_dim("ee_pos"), demos.low_dim("ee_pos"))
    assert data.action_names == ("dx", "dy", "dz", "gripper")
    assert data.rate_hz == 5


def test_a_recording_keeps_its_frames_and_takes_no_size(tmp_path):
    path = write_robomimic(tmp_path / "reach.hdf5")
    with pytest.raises(ValueError, match=r"has frames of its own, .* leave --size out"):
        open_source(path, None, None, 32, tmp_path)
    assert open_source(path, None, None, None, tmp_path).cameras["agentview_image"] == (32, 32)


def test_an_unknown_camera_is_named_with_those_there_are(demos, tmp_path):
    with pytest.raises(ValueError, match="unknown camera .*'side'; available: far, front, wrist"):
        open_source(demos.path, ["side"], None, 32, tmp_path)
