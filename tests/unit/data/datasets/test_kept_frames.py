"""Frames that are kept once they were decoded, and what happens without room for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recorded_data import CAMERAS, write_robomimic

from s2robot.data.datasets.choice import DataChoice, cameras_to_take
from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.data.datasets.kept_frames import KeptFrames
from s2robot.data.datasets.opening import open_dataset


@pytest.fixture
def reader(tmp_path: Path) -> RecordedFrames:
    return RecordedFrames(open_dataset(write_robomimic(tmp_path / "a.hdf5")), CAMERAS[0])


@pytest.fixture
def asked(reader: RecordedFrames, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    whole = RecordedFrames.read

    def read(self: RecordedFrames, start: int, stop: int) -> np.ndarray:
        found.extend(range(start, stop))
        return whole(self, start, stop)

    monkeypatch.setattr(RecordedFrames, "read", read)
    return found


def test_a_frame_is_decoded_when_it_is_first_read_and_never_again(
    reader: RecordedFrames, asked: list[int], tmp_path: Path
) -> None:
    kept = KeptFrames(reader, tmp_path / "frames")
    first = kept.read(4, 9)
    np.testing.assert_array_equal(kept.read(2, 9)[2:], first)
    np.testing.assert_array_equal(kept.read(6, 7), first[2:3])
    assert asked == [4, 5, 6, 7, 8, 2, 3]
    np.testing.assert_array_equal(kept.read(0, 24), reader.read(0, 24))
    assert (kept.source, len(kept)) == (reader.source, 24)
    assert kept.read(3, 3).shape == (0, 32, 32, 3)
    with pytest.raises(ValueError, match="frames are 3 to 25; allowed: 0 to 24"):
        kept.read(3, 25)


def test_nothing_is_left_in_the_folder(reader: RecordedFrames, tmp_path: Path) -> None:
    kept = KeptFrames(reader, tmp_path / "frames")
    kept.read(0, 24)
    assert list((tmp_path / "frames").iterdir()) == []


@pytest.mark.parametrize("short", [False, True])
def test_without_room_frames_are_decoded_again_with_one_warning(
    short: bool,
    reader: RecordedFrames,
    asked: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def __init__(self, *_: Any, **__: Any) -> None:
            if not short:
                raise OSError(28, "No space left on device")

        def seek(self, *_: Any) -> int:
            return 0

        def write(self, content: bytes) -> int:
            return len(content) // 2

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    kept = KeptFrames(reader, tmp_path / "frames")
    with pytest.warns(UserWarning, match="has no room for decoded frames") as warned:
        first = kept.read(0, 3)
    assert len(warned) == 1
    np.testing.assert_array_equal(kept.read(0, 3), first)
    assert asked == [0, 1, 2, 0, 1, 2]


def test_a_choice_says_what_was_given_and_what_is_measured(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5")
    choice = DataChoice(cameras=("agentview",))
    data = choice.open(path)
    assert choice.given == ("cameras",)
    assert choice.measured(data) == ("robot0_eef_pos",)
    named = DataChoice(low_dim=("object",))
    assert named.measured(named.open(path)) == ("object",)
    assert cameras_to_take(data, choice, "the policy") == {CAMERAS[0]: "32x32"}


def test_data_without_a_camera_is_refused(tmp_path: Path) -> None:
    data = DataChoice().open(write_robomimic(tmp_path / "a.hdf5", images=False))
    with pytest.raises(ValueError, match="has no camera, so there is nothing to encode"):
        cameras_to_take(data, DataChoice(), "the policy")
