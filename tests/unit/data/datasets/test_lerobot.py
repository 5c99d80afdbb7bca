"""LeRobot v3 folders: what is read, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from support.lerobot_data import (
    FRONT,
    SMALL,
    WRIST,
    change_info,
    need_libraries,
    small_lerobot,
    small_source,
)

from s2robot.data.datasets.opening import open_dataset
from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.preprocessing.picture_files import PictureError

need_libraries()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return small_lerobot(tmp_path_factory.mktemp("lerobot"))


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "set")


def _frames(data, camera, episode):
    return np.stack(list(data.frames(camera, episode))).astype(int)


def _nearest(frames, originals):
    """Return for each frame the number of the original that is most like it."""
    return [int(np.abs(originals - frame).mean(axis=(1, 2, 3)).argmin()) for frame in frames]


@pytest.mark.parametrize("limits", [None, SMALL])
def test_numbers_are_exact_whether_episodes_share_files_or_not(tmp_path, limits):
    data = open_dataset(small_lerobot(tmp_path, limits=limits))
    source = small_source(tmp_path)
    assert data.episode_ends.tolist() == [6, 12, 18, 24]
    assert np.array_equal(data.actions, source.actions)
    assert np.array_equal(data.low_dim("observation.state"), source.low_dim("robot0_eef_pos"))
    assert np.array_equal(data.low_dim("observation.environment_state"), source.low_dim("object"))
    assert data.low_dim_names["observation.environment_state"][0] == "object_0"
    assert (data.action_names, data.rate_hz) == (("a0", "a1", "a2"), 20)
    assert data.cameras == {FRONT: (32, 32), WRIST: (32, 32)}
    assert data.masks["valid"].tolist() == [3]


@pytest.mark.parametrize("limits", [None, SMALL])
def test_every_frame_of_a_video_is_that_of_its_time(tmp_path, limits):
    data = open_dataset(small_lerobot(tmp_path, limits=limits))
    source = small_source(tmp_path)
    for key, original in ((FRONT, "agentview_image"), (WRIST, "robot0_eye_in_hand_image")):
        everything = np.concatenate([_frames(source, original, number) for number in range(4)])
        for episode in (2, 0, 3, 1):  # an episode begins in the middle of the file
            frames, own = _frames(data, key, episode), everything[6 * episode : 6 * episode + 6]
            assert np.abs(frames - own).mean() < 6
            for frame, wanted in zip(frames, own, strict=True):
                nearest = everything[_nearest([frame], everything)[0]]
                assert np.array_equal(nearest, wanted)


def test_images_in_tables_are_exact(tmp_path):
    data = open_dataset(small_lerobot(tmp_path, images=True, limits=SMALL))
    source = small_source(tmp_path)
    for episode in (3, 0, 2):
        original = _frames(source, "agentview_image", episode)
        assert np.array_equal(_frames(data, FRONT, episode), original)


def test_a_damaged_picture_and_one_of_unsure_meaning_are_named(tmp_path):
    folder = small_lerobot(tmp_path, images=True)
    table = next((folder / "data").rglob("*.parquet"))
    clear = io.BytesIO()
    Image.new("RGBA", (32, 32), (1, 2, 3, 4)).save(clear, "png")
    for content, kind, words in (
        (b"PNG", CorruptFileError, "row 0 is a damaged picture"),
        (clear.getvalue(), PictureError, "row 0.*transparen"),
    ):
        picture = {"bytes": content, "path": None}
        _rewrite(table, FRONT, lambda values, picture=picture: [picture, *values[1:]])
        with pytest.raises(kind, match=words):
            _frames(open_dataset(folder), FRONT, 0)


def test_a_video_with_frames_between_key_frames_and_reordering_is_read_exactly(folder):
    av = pytest.importorskip("av")
    path = next((folder / "videos" / FRONT).rglob("*.mp4"))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path), "w") as container:
        options = {"g": "12", "bf": "3", "crf": "1", "x264-params": "open-gop=1:b-adapt=0"}
        stream = container.add_stream("libx264", rate=20, options=options)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    data = open_dataset(folder)
    found = np.concatenate([_frames(data, FRONT, episode) for episode in range(4)])
    assert np.abs(found - np.stack(frames)).mean(axis=(1, 2, 3)).max() < 3


def test_keys_may_be_short_and_only_the_named_ones_are_there(folder):
    data = open_dataset(folder, cameras=["agentview"], low_dim=["state"])
    assert (list(data.cameras), list(data.low_dim_names)) == ([FRONT], ["observation.state"])


def test_the_digest_covers_the_content_and_not_the_place_or_the_choice(folder, written):
    digest = open_dataset(written).digest
    assert open_dataset(folder, cameras=["agentview"]).digest == digest
    video = next((folder / "videos" / FRONT).rglob("*.mp4"))
    video.write_bytes(video.read_bytes() + b"\0")
    assert open_dataset(folder, cameras=["robot0_eye_in_hand"]).digest != digest


def test_parts_of_info_are_masks_only_if_there_are_several(folder):
    (folder / "meta" / "s2robot.json").unlink()
    assert open_dataset(folder).masks == {}
    change_info(folder, splits={"train": "0:3", "val": "3:4"})
    assert {key: value.tolist() for key, value in open_dataset(folder).masks.items()} == {
        "train": [0, 1, 2],
        "val": [3],
    }


def test_the_tasks_are_read_as_a_sentence(folder):
    assert open_dataset(folder).task == "demonstration"
    (folder / "meta" / "tasks.parquet").unlink()
    assert open_dataset(folder).task is None


def test_a_missing_video_is_named_with_the_cameras_that_are_whole(folder):
    shutil.rmtree(folder / "videos" / WRIST)
    with pytest.raises(CorruptFileError, match=rf"file-000.mp4 is missing .*: {FRONT}$"):
        open_dataset(folder)
    assert len(_frames(open_dataset(folder, cameras=["agentview"]), FRONT, 0)) == 6


def test_a_truncated_video_is_named(folder):
    video = next((folder / "videos" / FRONT).rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:500])
    with pytest.raises(CorruptFileError, match=r"file-000.mp4 cannot be decoded"):
        _frames(open_dataset(folder), FRONT, 0)


def test_a_video_that_ends_too_early_is_named(tmp_path):
    folder = small_lerobot(tmp_path, limits=SMALL)
    videos = sorted((folder / "videos" / FRONT).rglob("*.mp4"))
    episodes = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    _rewrite(episodes, f"videos/{FRONT}/from_timestamp", lambda values: [0.2, *values[1:]])
    with pytest.raises(CorruptFileError, match=rf"{videos[0].name} ends before 0.300 s"):
        _frames(open_dataset(folder), FRONT, 0)


def test_a_frame_between_two_frames_of_the_video_is_refused(folder):
    episodes = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    _rewrite(episodes, f"videos/{FRONT}/from_timestamp", lambda values: [0.025, *values[1:]])
    with pytest.raises(CorruptFileError, match=r"has no frame at 0.025 s"):
        _frames(open_dataset(folder), FRONT, 0)


def test_a_folder_without_tables_is_named(folder):
    shutil.rmtree(folder / "meta" / "episodes")
    with pytest.raises(CorruptFileError, match="has no tables of its episodes; expected: meta/"):
        open_dataset(folder)


def test_a_missing_or_damaged_table_of_rows_is_named(folder):
    path = folder / "data" / "chunk-000" / "file-000.parquet"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CorruptFileError, match=r"file-000.parquet is truncated or damaged"):
        open_dataset(folder)
    path.unlink()
    with pytest.raises(CorruptFileError, match=r"file-000.parquet is missing"):
        open_dataset(folder)


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_an_older_layout_names_the_converter_of_lerobot(folder, version):
    change_info(folder, codebase_version=version)
    with pytest.raises(ValueError, match=f"{version}; read is v3. .*v21_to_v30 .*--root={folder} "):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"codebase_version": None}, "codebase_version is None; allowed: v3.0"),
        ({"features": None}, "has no 'features'"),
        ({"features": {"action": {"dtype": "float32"}}}, "it needs dtype and shape"),
        ({"fps": 0}, "fps is 0; it must be a number above 0"),
        ({"data_path": "../{chunk_index}.parquet"}, "outside the folder"),
        ({"data_path": "data/{chunk}.parquet"}, "data_path is 'data/{chunk}"),
    ],
)
def test_a_damaged_description_is_named(folder, entries, message):
    with pytest.raises((CorruptFileError, ValueError), match=message):
        open_dataset(change_info(folder, **entries))


def test_a_description_that_is_no_json_is_named(folder):
    (folder / "meta" / "info.json").write_text("{")
    with pytest.raises(CorruptFileError, match=r"info.json"):
        open_dataset(folder)


def test_a_data_set_without_actions_is_refused_with_its_features(folder):
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    features.pop("action")
    change_info(folder, features=features)
    with pytest.raises(CorruptFileError, match="has no feature 'action' .*observation.state"):
        open_dataset(folder)


def test_a_feature_that_is_no_camera_is_refused_as_one_and_told_where_it_is_left_out(folder):
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    features["observation.images.top"] = {"dtype": "float32", "shape": [3, 32, 32], "names": None}
    change_info(folder, features=features)
    seen = r"observation.images.top is float32 \(3, 32, 32\); a camera is of dtype video or image"
    with pytest.raises(ValueError, match=seen):
        open_dataset(folder, cameras=["top"])
    with pytest.warns(UserWarning, match=f"left out: .*{seen}"):
        data = open_dataset(folder)
    assert list(data.cameras) == [FRONT, WRIST]


def test_times_that_go_back_are_refused(folder):
    path = folder / "data" / "chunk-000" / "file-000.parquet"
    _rewrite(path, "timestamp", lambda values: [*values[:8], 0.0, *values[9:]])
    with pytest.raises(CorruptFileError, match="timestamp of episode 1 is 0 in row 2 and 0.05"):
        open_dataset(folder)


def test_fewer_episodes_than_described_are_refused(folder):
    change_info(folder, total_episodes=5)
    with pytest.raises(CorruptFileError, match="has 4 episodes; total_episodes .* is 5"):
        open_dataset(folder)


def test_an_unknown_camera_or_observation_is_named_with_those_there_are(folder):
    with pytest.raises(ValueError, match=f"unknown camera in .*set 'side'; available: {FRONT}"):
        open_dataset(folder, cameras=["side"])
    with pytest.raises(ValueError, match=r"unknown observation .* available: .*observation.state"):
        open_dataset(folder, low_dim=["states"])


def test_rows_that_are_not_those_of_the_episodes_are_refused(folder):
    path = folder / "data" / "chunk-000" / "file-000.parquet"
    _rewrite(path, "episode_index", lambda values: [1, *values[1:]])
    with pytest.raises(CorruptFileError, match=r"row 0 of data/ has index 0 and episode_index 1"):
        open_dataset(folder)


def test_actions_of_another_size_than_described_are_refused(folder):
    features = json.loads((folder / "meta" / "info.json").read_text())["features"]
    features["action"]["shape"] = [4]
    change_info(folder, features=features)
    with pytest.raises(CorruptFileError, match=r"action has 3 entries in row 0; info.json says 4"):
        open_dataset(folder)


def test_without_the_extra_the_error_has_the_line_that_installs_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setattr(
        "s2robot.data.datasets.lerobot_tables.install_command", lambda extra: f"pip {extra}"
    )
    with pytest.raises(S2RobotError, match="pyarrow is not installed: pip lerobot"):
        open_dataset(folder)


def _rewrite(path, column, change):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    values = pyarrow.array(
        change(table.column(column).to_pylist()), table.schema.field(column).type
    )
    index = table.column_names.index(column)
    pyarrow.parquet.write_table(table.set_column(index, column, values), path)
