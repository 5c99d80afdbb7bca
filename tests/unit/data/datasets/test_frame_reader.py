"""Frames of a recorded camera, as the feature store reads them."""

from typing import Any

import numpy as np
import pytest

from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.errors import CorruptFileError


class _Data:
    """Three episodes of 3, 1 and 4 frames; each frame holds its number."""

    source, digest = "lift.hdf5", "abc"
    cameras = {"front": (2, 2)}
    episode_ends = np.array([3, 4, 8])

    def __init__(self, missing=0, further=0):
        self.decoded = 0
        self.starts = [0, 3, 4]
        self._change = further - missing

    def frames(self, camera, episode):
        start = self.starts[episode]
        for number in range(start, self.episode_ends[episode] + self._change):
            self.decoded += 1
            yield np.full((2, 2, 3), number, np.uint8)


def _reader(data: Any, camera: str) -> RecordedFrames:
    return RecordedFrames(data, camera)


@pytest.mark.parametrize("cuts", [(0, 8), (0, 2, 5, 8), (0, 1, 2, 3, 4, 5, 6, 7, 8)])
def test_reading_on_decodes_each_frame_once(cuts):
    data = _Data()
    reader = _reader(data, "front")
    parts = [reader.read(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    assert np.concatenate(parts)[:, 0, 0, 0].tolist() == list(range(8))
    assert data.decoded == 8


@pytest.mark.parametrize("order", [(7, 0), (2, 1), (5, 5), (0, 6, 4)])
def test_any_frame_can_be_read_in_any_order(order):
    reader = _reader(_Data(), "front")
    assert [int(reader.read(n, n + 1)[0, 0, 0, 0]) for n in order] == list(order)


def test_samples_are_first_frames_of_spread_episodes_and_not_decoded_again():
    data = _Data()
    reader = _reader(data, "front")
    assert reader.sample(3)[:, 0, 0, 0].tolist() == [0, 3, 4]
    assert reader.sample(2)[:, 0, 0, 0].tolist() == [0, 4]
    assert data.decoded == 3
    parts = [reader.read(a, b) for a, b in ((0, 2), (2, 8))]
    assert np.concatenate(parts)[:, 0, 0, 0].tolist() == list(range(8))
    assert data.decoded == 8


def test_few_episodes_give_several_samples_each():
    data = _Data()
    data.episode_ends = np.array([25, 26, 60])
    data.starts = [0, 25, 26]
    reader = _reader(data, "front")
    assert reader.sample(8)[:, 0, 0, 0].tolist() == [0, 10, 20, 25, 26, 36, 46]
    assert reader.read(0, 60)[:, 0, 0, 0].tolist() == list(range(60))
    assert data.decoded == 60


def test_a_sample_between_two_reads_changes_neither():
    reader = _reader(_Data(), "front")
    assert reader.read(0, 2)[:, 0, 0, 0].tolist() == [0, 1]
    assert reader.sample(1)[:, 0, 0, 0].tolist() == [0]
    assert reader.read(2, 6)[:, 0, 0, 0].tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("change, word", [({"missing": 1}, "fewer"), ({"further": 1}, "more")])
def test_samples_leave_the_check_of_an_episodes_length(change, word):
    reader = _reader(_Data(**change), "front")
    with pytest.raises(CorruptFileError, match=f"{word} frames than actions"):
        reader.sample(2)
        reader.read(0, 8)


def test_too_few_frames_are_an_error_that_names_the_episode():
    with pytest.raises(CorruptFileError, match="fewer frames than actions in episode 0"):
        _reader(_Data(missing=1), "front").read(0, 8)


def test_too_many_frames_are_an_error():
    with pytest.raises(CorruptFileError, match="more frames than actions"):
        _reader(_Data(further=1), "front").read(0, 8)


def test_frames_out_of_range_are_refused():
    with pytest.raises(ValueError, match="allowed: 0 to 8"):
        _reader(_Data(), "front").read(4, 9)


def test_the_camera_is_part_of_the_frames_identity():
    data = _Data()
    data.cameras = {"front": (2, 2), "wrist": (2, 2)}
    first, second = (_reader(data, camera) for camera in data.cameras)
    assert first.digest != second.digest
    assert first.source != second.source
