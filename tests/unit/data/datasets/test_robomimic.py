"""robomimic's files with images: what is read, and what is refused."""

import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
from support.recorded_data import CAMERAS, recorded_arrays, write_robomimic

from s2robot.data.datasets.contract import turned_over
from s2robot.data.datasets.opening import open_dataset
from s2robot.errors import CorruptFileError


@pytest.fixture
def path(tmp_path):
    return write_robomimic(tmp_path / "reach.hdf5")


def _changed(path, change):
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize("compression", ["gzip", None])
def test_a_file_gives_what_was_written(tmp_path, compression):
    data = open_dataset(write_robomimic(tmp_path / "a.hdf5", compression=compression))
    written = list(recorded_arrays(4, 6))
    assert data.episode_ends.tolist() == [6, 12, 18, 24]
    assert np.allclose(data.actions, np.concatenate([actions for actions, _, _ in written]))
    assert np.allclose(data.low_dim("robot0_eef_pos"), np.concatenate([p for _, p, _ in written]))
    assert data.cameras == dict.fromkeys(CAMERAS, (32, 32))
    for number, (_, _, frames) in enumerate(written):
        assert np.array_equal(np.stack(list(data.frames(CAMERAS[0], number))), frames)
        turned = np.stack(list(data.frames(CAMERAS[1], number)))
        assert np.array_equal(turned, frames.swapaxes(1, 2))
    assert data.rate_hz == 20
    assert {key: value.tolist() for key, value in data.masks.items()} == {
        "train": [0, 1, 2],
        "valid": [3],
    }
    assert (data.action_names, data.task) == (("a0", "a1", "a2"), None)


def test_only_the_named_cameras_and_observations_are_there(path):
    data = open_dataset(path, cameras=["robot0_eye_in_hand"], low_dim=["robot0_eef_pos"])
    assert list(data.cameras) == [CAMERAS[1]]
    assert data.low_dim_names == {"robot0_eef_pos": ("robot0_eef_pos_0", "robot0_eef_pos_1")}


def test_episodes_are_in_the_order_of_their_numbers(tmp_path):
    data = open_dataset(write_robomimic(tmp_path / "a.hdf5", episodes=12, length=1))
    written = np.concatenate([actions for actions, _, _ in recorded_arrays(12, 1)])
    assert np.allclose(data.actions, written)


def test_a_file_without_masks_has_none(tmp_path):
    assert open_dataset(write_robomimic(tmp_path / "a.hdf5", valid=None)).masks == {}


def test_the_digest_is_that_of_the_content_whatever_is_chosen(path, tmp_path):
    copy = tmp_path / "elsewhere.hdf5"
    copy.write_bytes(path.read_bytes())
    digest = open_dataset(path).digest
    assert open_dataset(copy, cameras=[CAMERAS[0]]).digest == digest
    _changed(copy, lambda file: file["data/demo_0/obs/agentview_image"].write_direct(_black()))
    assert open_dataset(copy).digest != digest


def _black():
    return np.zeros((6, 32, 32, 3), np.uint8)


def test_pictures_are_reversed_only_where_the_file_says_that_they_are_bottom_up(path):
    upright = open_dataset(path)
    stored = next(upright.frames(CAMERAS[0], 0))
    assert turned_over(upright) is None
    upright.close()

    def change(file):
        file["data"].attrs["macros_image_convention"] = "opengl"
        told = {"language_instruction": "reach the\nred square"}
        file["data"].attrs["problem_info"] = json.dumps(told)

    data = open_dataset(_changed(path, change))
    assert np.array_equal(next(data.frames(CAMERAS[0], 0)), stored[::-1])
    assert data.task == "reach the red square"
    told = turned_over(data)
    assert told is not None
    assert "stores its frames upside down" in told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda f: f.__delitem__("data/demo_2/obs/agentview_image"),
            "demo_2/obs/agentview_image is missing; other episodes have it; .* by cameras=",
        ),
        (
            lambda f: f.__delitem__("data/demo_0/obs/agentview_image"),
            "demo_0/obs/agentview_image is missing; other episodes have it",
        ),
        (
            lambda f: f.__delitem__("data/demo_2/actions"),
            r"data/demo_2 has no actions \(1 of 4 episodes\); .*del file\['data/demo_2'\]",
        ),
        (
            lambda f: _replace(f, "data/demo_2/actions", np.zeros((0, 3))),
            "demo_2/actions has 0 rows; the attribute num_samples of data/demo_2 says 6; write",
        ),
        (
            lambda f: f.__delitem__("data/demo_2/obs/robot0_eef_pos"),
            "demo_2/obs/robot0_eef_pos is missing; other episodes have it; .* by low_dim=",
        ),
        (
            lambda f: _replace(f, "data/demo_1/actions", np.zeros((6, 2))),
            "demo_1/actions has 2 entries a row; the episodes before have 3; .*leave that episode",
        ),
        (
            lambda f: _replace(f, "data/demo_1/actions", np.full((6, 3), np.inf)),
            "demo_1/actions has NaN or infinities in 6 rows",
        ),
        (
            lambda f: _replace(f, "data/demo_1/obs/robot0_eef_pos", np.zeros((5, 2))),
            "robot0_eef_pos has 5 rows; the episode has 6 actions; .* by low_dim=",
        ),
        (
            lambda f: _replace(f, f"data/demo_3/obs/{CAMERAS[0]}", np.zeros((6, 8, 8, 3), "u1")),
            r"it must be uint8 \(6, 32, 32, 3\)",
        ),
        (
            lambda f: _replace(f, "mask/valid", np.array(["demo_9"], "S8")),
            "mask/valid names 'demo_9', which is no episode",
        ),
        (lambda f: f.move("data", "episodes"), "not robomimic's layout"),
        (lambda f: [f.__delitem__(f"data/demo_{i}/actions") for i in range(4)], "has no episodes"),
    ],
)
def test_content_that_does_not_fit_is_refused_by_name(path, change, why):
    with pytest.raises(CorruptFileError, match=why) as error:
        open_dataset(_changed(path, change))
    assert str(path) in str(error.value)
    assert "collect" not in str(error.value)  # it is somebody's data


def _replace(file, name, value):
    del file[name]
    file[name] = value


def test_an_unknown_camera_is_refused_with_those_that_are_there(path):
    with pytest.raises(ValueError, match=r"unknown camera .*'side'; available: agentview_image"):
        open_dataset(path, cameras=["side"])


@pytest.mark.parametrize("layout", ["float32", "channels first"])
def test_images_of_another_type_or_layout_are_no_unknown_camera(path, layout):
    frames = np.zeros((6, 32, 32, 3), np.float32)
    frames = frames if layout == "float32" else np.moveaxis(frames, -1, 1).astype(np.uint8)
    seen = re.escape(f"obs/agentview_image is {frames.dtype} {frames.shape}")

    def change(file):
        for number in range(4):
            _replace(file, f"data/demo_{number}/obs/agentview_image", frames)

    _changed(path, change)
    with pytest.raises(ValueError, match=rf"{seen}; a camera is uint8 \(T, H, W, 3\), RGB. Write"):
        open_dataset(path, cameras=["agentview"])
    with pytest.warns(UserWarning, match=f"left out: .*{seen}"):
        data = open_dataset(path)
    assert list(data.cameras) == [CAMERAS[1]]


def test_a_camera_named_twice_is_no_damage(path):
    with pytest.raises(ValueError, match=r"^camera .* names one of them twice; name each once"):
        open_dataset(path, cameras=["agentview", "agentview_image"])


def test_a_depth_map_is_left_out_without_a_word(path, recwarn):
    open_dataset(path)
    assert not recwarn.list


def test_episodes_without_actions_are_taken_where_none_are_needed(path):
    _changed(path, lambda file: file.__delitem__("data/demo_2/actions"))
    with pytest.warns(UserWarning, match="demo_2 has no actions, so those of the other"):
        data = open_dataset(path, need_actions=False)
    assert data.episode_ends.tolist() == [6, 12, 18, 24]
    assert data.actions.shape == (24, 0)


def test_an_observation_that_is_no_rgb_video_is_refused_as_a_camera(path):
    with pytest.raises(ValueError, match=r"obs/depth is float32 .* a camera is uint8"):
        open_dataset(path, cameras=["depth"])


@pytest.mark.parametrize("keep", [100, 3000])
def test_a_truncated_file_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match="cannot be read as HDF5"):
        open_dataset(path)


@pytest.mark.process
def test_a_file_that_another_program_writes_is_refused(path):
    script = (
        f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(CorruptFileError, match="open for writing elsewhere"):
            open_dataset(path)
        writer.communicate()


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    path = tmp_path / "lift.hdf5"
    path.write_text("not HDF5")
    with pytest.raises(CorruptFileError, match="another kind of file"):
        open_dataset(path)


def test_a_damaged_picture_is_refused_when_it_is_read(path):
    with h5py.File(path, "r") as file:
        place = file["data/demo_0/obs/agentview_image"].id.get_chunk_info(2).byte_offset
    data = bytearray(path.read_bytes())
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    opened = open_dataset(path)
    with pytest.raises(CorruptFileError, match="damaged"):
        list(opened.frames("agentview_image", 0))
