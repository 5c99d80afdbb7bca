"""LeRobot folders that are written: layout, statistics, and reading by LeRobot itself."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest
from support.lerobot_data import FRONT, SMALL, need_libraries, small_lerobot, small_source

from s2robot.data.dataset_writers.lerobot import write_lerobot
from s2robot.data.datasets.opening import open_dataset
from s2robot.errors import CorruptFileError

need_libraries()
PYTHON = "S2ROBOT_LEROBOT_PYTHON"
_READ_BY_LEROBOT = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

folder, expected = sys.argv[1], np.load(sys.argv[2])
data = LeRobotDataset("own/set", root=folder, video_backend="pyav")
assert len(data) == len(expected["actions"]), len(data)
for number in range(len(data)):
    item = data[number]
    assert np.array_equal(item["action"].numpy(), expected["actions"][number]), number
    assert np.array_equal(item["observation.state"].numpy(), expected["state"][number]), number
    assert item["task"] == "demonstration", item["task"]
    assert int(item["episode_index"]) == number // 6
    frame = (item["observation.images.agentview"].permute(1, 2, 0).numpy() * 255).round()
    error = np.abs(frame - expected["frames"][number]).mean()
    assert error <= float(sys.argv[3]), (number, error)
print("read", len(data))
"""


def test_the_layout_is_that_of_version_3(tmp_path):
    folder = small_lerobot(tmp_path, limits=SMALL)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    places = [f"chunk-00{chunk}/file-00{file}" for chunk in (0, 1) for file in (0, 1)]
    assert found >= {f"data/{place}.parquet" for place in places}
    assert found >= {f"videos/{FRONT}/{place}.mp4" for place in places}
    meta = {"info.json", "stats.json", "tasks.parquet", "episodes/chunk-000/file-000.parquet"}
    assert found >= {f"meta/{name}" for name in meta}


def test_the_key_frames_of_a_video_are_close_together(tmp_path):
    av = pytest.importorskip("av")
    folder = small_lerobot(tmp_path)
    with av.open(str(next((folder / "videos" / FRONT).rglob("*.mp4")))) as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert keys == [True, False] * 12


def test_the_statistics_name_every_feature(tmp_path):
    folder = small_lerobot(tmp_path)
    stats = json.loads((folder / "meta" / "stats.json").read_text())
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    assert set(stats) == set(features)
    assert np.shape(stats[FRONT]["mean"]) == (3, 1, 1)
    assert stats["action"]["count"] == [24]
    actions = open_dataset(folder).actions
    assert np.allclose(stats["action"]["mean"], actions.mean(axis=0))
    assert np.allclose(stats["action"]["std"], actions.std(axis=0))


def test_quantiles_are_those_of_all_frames_of_the_data_set(tmp_path):
    """Not the mean of those of the episodes, which LeRobot's own recorder writes."""
    folder, data = small_lerobot(tmp_path, images=True), small_source(tmp_path)
    stats = json.loads((folder / "meta" / "stats.json").read_text())
    frames = [list(data.frames("agentview_image", number)) for number in range(4)]
    pixels = np.concatenate(frames).reshape(-1, 3) / 255
    for name, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        assert np.allclose(stats["action"][name], np.quantile(data.actions, share, axis=0))
        assert np.allclose(np.ravel(stats[FRONT][name]), np.quantile(pixels, share, axis=0))
    ends = [0, *data.episode_ends]
    parts = [data.actions[a:b] for a, b in zip(ends, ends[1:], strict=False)]
    averaged = np.mean([np.quantile(part, 0.99, axis=0) for part in parts], axis=0)
    assert not np.allclose(stats["action"]["q99"], averaged)


def test_rows_of_tasks_are_indexed_by_their_text(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(small_lerobot(tmp_path) / "meta" / "tasks.parquet")
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert table.to_pylist() == [{"task_index": 0, "task": "demonstration"}]


def test_odd_sizes_are_refused_for_videos_with_what_to_do(tmp_path):
    source = small_source(tmp_path, size=33)
    with pytest.raises(ValueError, match=r"frames of 33 × 33 px; a video needs even numbers"):
        write_lerobot(source, tmp_path / "set")
    write_lerobot(source, tmp_path / "set", images=True)
    assert open_dataset(tmp_path / "set").cameras[FRONT] == (33, 33)


def test_a_folder_that_exists_is_kept(tmp_path):
    folder = small_lerobot(tmp_path)
    with pytest.raises(FileExistsError, match=r"set exists; delete it, or give another name"):
        write_lerobot(open_dataset(folder), folder)


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    source = small_source(tmp_path)

    def damaged(camera, episode):
        yield np.zeros((32, 32, 3), np.uint8)
        raise CorruptFileError("the second frame is damaged")

    monkeypatch.setattr(source, "frames", damaged)
    with pytest.raises(CorruptFileError, match="the second frame is damaged"):
        write_lerobot(source, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.hdf5"]


@pytest.mark.parity
@pytest.mark.process
@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no Python with lerobot")
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("limits", [None, SMALL])
def test_lerobot_reads_back_every_row_and_frame(tmp_path, images, limits):
    folder = small_lerobot(tmp_path, images=images, limits=limits)
    data, source = open_dataset(folder), small_source(tmp_path)
    expected = tmp_path / "expected.npz"
    frames = [frame for number in range(4) for frame in source.frames("agentview_image", number)]
    state = data.low_dim("observation.state")
    np.savez(expected, actions=data.actions, state=state, frames=np.stack(frames))
    script = tmp_path / "read.py"
    script.write_text(_READ_BY_LEROBOT)
    words = [os.environ[PYTHON], str(script), str(folder), str(expected), "0" if images else "6"]
    hidden = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "PATH": os.environ["PATH"]}
    done = subprocess.run(words, capture_output=True, text=True, env=hidden, check=False)
    assert (done.returncode, done.stdout.split()[-2:]) == (0, ["read", "24"]), done.stderr[-2000:]
