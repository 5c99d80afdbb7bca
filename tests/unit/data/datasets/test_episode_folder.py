"""Folders of episodes: what is read, and what is refused."""

import json

import imageio.v2 as imageio
import numpy as np
import pytest
from support.recorded_data import recorded_arrays, write_folder

from s2robot.data.datasets.opening import open_dataset
from s2robot.errors import CorruptFileError

pytestmark = pytest.mark.process  # videos are read by ffmpeg


@pytest.fixture
def path(tmp_path):
    return write_folder(tmp_path / "reach")


@pytest.mark.parametrize("table", ["csv", "jsonl", "npz"])
def test_a_folder_gives_what_was_written(tmp_path, table):
    data = open_dataset(write_folder(tmp_path / "reach", table=table))
    written = list(recorded_arrays(3, 5))
    assert data.episode_ends.tolist() == [5, 10, 15]
    assert np.allclose(data.actions, np.concatenate([actions for actions, _, _ in written]))
    assert np.allclose(data.low_dim("gripper"), np.concatenate([p for _, p, _ in written]))
    assert data.cameras == {"front": (32, 32), "side": (32, 32)}
    for number, (_, _, frames) in enumerate(written):
        assert np.array_equal(np.stack(list(data.frames("front", number))), frames)
        video = np.stack(list(data.frames("side", number))).astype(int)
        assert video.shape == frames.shape
        assert np.abs(video - frames).mean() < 12  # colors of a video are coarser
    assert data.rate_hz == pytest.approx(10)
    assert list(data.low_dim_names) == ["gripper"]


def test_names_of_columns_are_names_of_entries(path):
    data = open_dataset(path, cameras=["front"])
    assert data.action_names == ("dx", "dy", "close")
    assert data.low_dim_names == {"gripper": ("x", "y")}


def test_the_description_gives_rate_task_names_and_masks(path):
    told = {
        "rate_hz": 25,
        "task": "reach the square",
        "action_names": ["mm_x", "mm_y", "grip"],
        "masks": {"valid": ["episode_2"]},
    }
    (path / "dataset.json").write_text(json.dumps(told))
    data = open_dataset(path)
    assert (data.rate_hz, data.task) == (25, "reach the square")
    assert data.action_names == ("mm_x", "mm_y", "grip")
    assert {key: mask.tolist() for key, mask in data.masks.items()} == {"valid": [2]}


def test_frames_and_episodes_are_in_the_order_of_their_numbers(tmp_path):
    data = open_dataset(write_folder(tmp_path / "reach", episodes=11, length=12))
    written = list(recorded_arrays(11, 12))
    assert np.allclose(data.actions, np.concatenate([actions for actions, _, _ in written]))
    assert np.array_equal(np.stack(list(data.frames("front", 10))), written[10][2])


def test_the_digest_follows_content_and_not_place(path, tmp_path):
    digest = open_dataset(path).digest
    moved = path.rename(tmp_path / "moved")
    assert open_dataset(moved, cameras=["front"]).digest == digest
    picture = moved / "episode_1" / "front" / "0.png"
    picture.write_bytes((moved / "episode_1" / "front" / "4.png").read_bytes())
    assert open_dataset(moved).digest != digest


def _times(path, times_s):
    header, *rows = path.read_text().splitlines()
    rows = [f"{t},{row.partition(',')[2]}" for t, row in zip(times_s, rows, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def _write(path, text):
    path.write_text(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: (p / "episode_1/front/4.png").unlink(), "has 4 frames, but the table .* 5 rows"),
        (lambda p: (p / "episode_1/side.mp4").unlink(), "episode_1 has no camera 'side'"),
        (lambda p: (p / "episode_0/side.mp4").unlink(), "episode_0 has no camera 'side'"),
        (
            lambda p: (p / "episode_1/table.csv").unlink(),
            r"episode_1 has no table \(it holds front, side.mp4\); an episode needs table.csv",
        ),
        (lambda p: (p / "episode_7").mkdir(), r"episode_7 has no table \(it holds nothing\)"),
        (
            lambda p: _times(p / "episode_1/table.csv", [0.0, 0.1, 0.2, 0.3, 0.0]),
            "episode_1: time_s of its table is 0 in row 4 and 0.3 in the row before .*rate_hz in",
        ),
        (
            lambda p: _times(p / "episode_1/table.csv", [0.0, 0.1, float("nan"), 0.3, 0.4]),
            "episode_1: time_s of its table is nan in row 2",
        ),
        (
            lambda p: (p / "episode_1/side.mkv").write_bytes(b""),
            "two of the camera 'side': side.mkv and side.mp4",
        ),
        (lambda p: _write(p / "episode_1/table.jsonl", "{}"), "has table.csv and table.jsonl"),
        (lambda p: _write(p / "episode_1/table.csv", ""), "is empty"),
        (lambda p: _write(p / "episode_1/table.csv", "x\n1\n"), "has no action: it has x"),
        (lambda p: _write(p / "episode_1/table.csv", "action.x,b\n1\n"), "line 2, has 1 columns"),
        (lambda p: _write(p / "episode_1/table.csv", "action.x\none\n"), "action.x is 'one'"),
        (lambda p: _write(p / "episode_1/table.csv", "action.x\n"), "has no rows"),
        (
            lambda p: _write(
                p / "episode_1/table.csv",
                "time_s,action.dx,action.dy,gripper.x,gripper.y\n0,0,0,0,0\n",
            ),
            "action has the entries dx, dy instead of dx, dy, close",
        ),
        (lambda p: _write(p / "dataset.json", '{"rate_hz": -1}'), "rate_hz is -1"),
        (
            lambda p: _write(p / "dataset.json", '{"masks": {"valid": ["nine"]}}'),
            "mask valid in dataset.json names 'nine'",
        ),
        (
            lambda p: _write(p / "dataset.json", '{"action_names": ["x"]}'),
            "names 1 entries of an action, the tables have 3",
        ),
    ],
)
def test_content_that_does_not_fit_is_refused_by_name(path, change, why):
    change(path)
    with pytest.raises(CorruptFileError, match=why):
        open_dataset(path)


def test_a_column_that_an_episode_lacks_is_refused_unless_others_are_named(path):
    for number in range(3):
        table = path / f"episode_{number}" / "table.csv"
        header, *rows = table.read_text().splitlines()
        more = [f"{header},force", *(f"{row},0" for row in rows)]
        if number:
            table.write_text("\n".join(more) + "\n")
    with pytest.raises(CorruptFileError, match="episode_0: its table has no force.* by low_dim="):
        open_dataset(path)
    assert list(open_dataset(path, low_dim=["gripper"]).low_dim_names) == ["gripper"]


def test_other_folders_are_no_episodes(path):
    (path / "notes").mkdir()
    (path / "notes" / "setup.txt").write_text("bolted to the table")
    assert len(open_dataset(path).episode_ends) == 3


def test_episodes_without_actions_are_taken_where_none_are_needed(path):
    table = path / "episode_1" / "table.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([row[0], *row[4:]]) for row in rows) + "\n")
    with pytest.raises(CorruptFileError, match="episode_1/table.csv has no action"):
        open_dataset(path)
    with pytest.warns(UserWarning, match=r"episode_1 has no action \(1 of 3 episodes\)"):
        data = open_dataset(path, need_actions=False)
    assert data.actions.shape == (15, 0)


def test_lines_with_other_entries_are_refused(tmp_path):
    path = write_folder(tmp_path / "reach", table="jsonl")
    _write(path / "episode_0/table.jsonl", '{"action": [1, 2]}\n{"action": [1]}\n')
    with pytest.raises(CorruptFileError, match="line 2: action has the entries a0, in line 1"):
        open_dataset(path)


def test_a_video_of_another_length_is_refused_when_it_is_read(path):
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    imageio.mimwrite(path / "episode_1" / "side.mp4", list(frames), fps=10, macro_block_size=1)
    data = open_dataset(path)
    with pytest.raises(CorruptFileError, match=r"side.mp4 has 3 frames, but the table .* 5 rows"):
        list(data.frames("side", 1))


def test_frames_of_another_size_are_refused_when_they_are_read(path):
    frames = np.zeros((5, 48, 32, 3), np.uint8)
    imageio.mimwrite(path / "episode_1" / "side.mp4", list(frames), fps=10, macro_block_size=1)
    data = open_dataset(path)
    with pytest.raises(CorruptFileError, match="48 x 32 px, those of the first episode"):
        list(data.frames("side", 1))


def test_an_unknown_camera_is_refused_with_those_that_are_there(path):
    with pytest.raises(ValueError, match=r"unknown camera .*'wrist'; available: front, side"):
        open_dataset(path, cameras=["wrist"])
