"""Sources of pre-training: pictures of any sizes, videos, demonstrations; what cannot be used."""

from __future__ import annotations

import dataclasses
import io

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from support.media_files import ramp, write_video
from support.other_pictures import OTHER_PICTURES

from s2robot.data.collection import CollectConfig, collect
from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.preprocessing.picture_files import PictureError
from s2robot.pretraining import frame_sources
from s2robot.pretraining.config import ModelConfig, PretrainConfig
from s2robot.pretraining.frame_sources import common_shape, fit, open_dataset

TINY = ModelConfig(32, 16, 24, 2, 2, 16, 1, 2)


def save(path, width, height, level=100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (level, level, level)).save(path, **options)


@pytest.fixture
def prepare(tmp_path):
    """Opens the pool of some sources; returns it with what was told."""

    def run(*sources, **changes):
        text = io.StringIO()
        defaults = {"cache": tmp_path / "cache", "frame_size": 48, "model": TINY}
        config = PretrainConfig(source=tuple(map(str, sources)), **defaults)
        config = dataclasses.replace(config, **changes)
        return open_dataset(config, Console(file=text, width=500)), text.getvalue()

    return run


@pytest.fixture
def folder(tmp_path):
    for i in range(64):
        save(tmp_path / "pictures" / f"{i:02d}.png", 80, 60, i)
    return tmp_path / "pictures"


def test_pictures_are_scaled_to_the_short_side(prepare, folder):
    pool, told = prepare(folder)
    assert len(pool) == 64
    assert pool[7].shape == (48, 64, 3)
    assert [int(pool[i].mean()) for i in (0, 7, 63)] == [0, 7, 63]
    assert "64 frames from" in told


def test_folders_are_searched_to_their_bottom(prepare, folder):
    save(folder / "more" / "deep" / "x.JPG", 80, 60)
    assert len(prepare(folder)[0]) == 65


def test_mixed_sizes_are_told_and_cut_to_what_they_share(prepare, folder):
    save(folder / "wide.png", 160, 60)
    save(folder / "tall.png", 60, 66)
    pool, told = prepare(folder)
    assert pool[0].shape == (48, 48, 3)
    assert "images of 3 sizes: 80x60 (64)" in told


def test_the_common_shape_is_within_every_scaled_picture():
    assert common_shape([(480, 640), (720, 1280)], 384) == (384, 512)
    assert common_shape([(480, 640), (640, 480)], 384) == (384, 384)


def test_fitting_keeps_the_middle():
    picture = np.zeros((10, 30, 3), dtype=np.uint8)
    picture[:, 10:20] = 200
    assert (fit(Image.fromarray(picture), (10, 10), 10) == 200).all()


def test_pictures_lying_on_their_side_are_turned(prepare, folder):
    half = np.zeros((60, 80, 3), dtype=np.uint8)
    half[:, :40] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise to be seen upright
    Image.fromarray(half).save(folder / "zz.png", exif=exif)
    pool, _ = prepare(folder)
    assert pool[64].shape == (48, 48, 3)
    assert pool[64][:20].mean() > 240  # what was on the left is above
    assert pool[64][-20:].mean() < 10


def test_unreadable_pictures_stop_it_by_name(prepare, folder):
    whole = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(whole[: len(whole) // 2])
    (folder / "04.png").write_text("no picture")
    with pytest.raises(CorruptFileError, match=r"2 of 64 images.*03\.png.*skip_unreadable=true"):
        prepare(folder)


def test_unreadable_pictures_are_left_out_where_asked_and_counted(prepare, folder):
    save(folder / "64.png", 80, 60)
    (folder / "04.png").write_text("no picture")
    pool, told = prepare(folder, skip_unreadable=True)
    assert len(pool) == 64
    assert "skipped 1 of 65 images: 04.png" in told


def test_pictures_smaller_than_the_model_takes_are_refused(prepare, folder):
    save(folder / "icon.png", 30, 60)
    with pytest.raises(
        CorruptFileError, match=r"cannot be used: icon\.png: 30x60 px; the model needs 32 px"
    ):
        prepare(folder)


def test_too_few_pictures_are_refused(prepare, folder):
    (folder / "00.png").unlink()
    with pytest.raises(S2RobotError, match="holds 63 frames"):
        prepare(folder)


def test_folders_without_pictures_are_refused(prepare, tmp_path):
    with pytest.raises(ValueError, match="holds no pictures"):
        prepare(tmp_path)


def test_changed_pictures_are_prepared_anew(prepare, folder):
    prepare(folder)
    save(folder / "00.png", 80, 60, 250)
    assert int(prepare(folder)[0][0].mean()) == 250


@pytest.mark.process
def test_videos_are_thinned(prepare, tmp_path):
    frames = np.stack([np.full((64, 96, 3), 2 * i, dtype=np.uint8) for i in range(128)])
    iio.imwrite(tmp_path / "v.mp4", frames, fps=30)
    pool, _ = prepare(tmp_path / "v.mp4", every=2)
    assert len(pool) == 64
    assert pool[0].shape == (48, 72, 3)
    assert int(pool[20].mean()) == pytest.approx(80, abs=4)


@pytest.mark.process
def test_several_sources_are_joined(prepare, folder, tmp_path):
    frames = np.stack([np.full((64, 96, 3), i, dtype=np.uint8) for i in range(70)])
    iio.imwrite(tmp_path / "v.mp4", frames, fps=30)
    pool, _ = prepare(folder, tmp_path / "v.mp4")
    assert len(pool) == 134
    assert {pool[0].shape, pool[100].shape} == {(48, 64, 3), (48, 72, 3)}


@pytest.mark.render
def test_demonstrations_are_rendered_by_their_levels_camera(prepare, tmp_path):
    demos = collect(CollectConfig(level="easy", episodes=5, out=tmp_path / "demos.hdf5"))
    pool, _ = prepare(tmp_path / "demos.hdf5")
    assert len(pool) == demos.num_frames
    assert pool[0].shape == (48, 48, 3)
    assert pool[0].std() > 10


@pytest.mark.render
@pytest.mark.parametrize("change", OTHER_PICTURES)
def test_demonstrations_of_another_renderer_are_rendered_again(
    prepare, tmp_path, monkeypatch, change
):
    collect(CollectConfig(level="easy", episodes=5, out=tmp_path / "demos.hdf5"))
    prepare(tmp_path / "demos.hdf5")
    kept = {path.parent for path in tmp_path.rglob("frames.json")}
    monkeypatch.setattr(*change)
    prepare(tmp_path / "demos.hdf5")
    assert kept < {path.parent for path in tmp_path.rglob("frames.json")}


@pytest.mark.process
@pytest.mark.parametrize(
    "source, error, message",
    [
        ("nowhere", FileNotFoundError, "nowhere: no such folder"),
        ("notes.txt", ValueError, r"unknown kind of source '\.txt'"),
        ("broken.mp4", CorruptFileError, "cannot be read as a video"),
        ("broken.hdf5", CorruptFileError, "broken.hdf5"),
    ],
)
def test_wrong_sources_are_named(prepare, tmp_path, monkeypatch, source, error, message):
    monkeypatch.chdir(tmp_path)
    if source != "nowhere":
        (tmp_path / source).write_text("nothing of the kind")
    with pytest.raises(error, match=message):
        prepare(source)


# ------------------------------------------------------------- the reader of pictures and videos
def animated(path, frames, **options):
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_gray_gif_gives_frames_of_three_channels(prepare, tmp_path):
    frames = noise(64, 48, 64)
    pool, _ = prepare(animated(tmp_path / "gray.gif", frames))
    assert np.array_equal(pool[63], np.dstack([frames[63]] * 3))


@pytest.mark.process
def test_frames_of_a_variable_rate_are_read_once_each(prepare, tmp_path):
    times = ("-vf", "settb=1/90000,setpts='if(lt(N,32),N,3*N)*9000'", "-fps_mode", "passthrough")
    frames = np.concatenate([ramp(32), ramp(32)])
    options = (*times, "-enc_time_base", "1:90000", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    pool, _ = prepare(write_video(tmp_path / "v.mkv", frames, *options))
    assert [int(pool[i].mean()) for i in range(len(pool))] == [8 * (i % 32) for i in range(64)]


def test_what_is_in_a_folder_but_cannot_be_used_is_named(prepare, folder):
    Image.fromarray(noise(60, 80).astype(np.uint16) * 9).save(folder / "depth.png")
    animated(folder / "moving.gif", noise(3, 60, 80))
    Image.new("RGBA", (80, 60), (9, 9, 9, 0)).save(folder / "holes.webp")
    with pytest.raises(CorruptFileError) as caught:
        prepare(folder)
    assert "3 of 67 images" in str(caught.value)
    for words in ("depth.png: the picture is gray", "moving.gif: the picture is animated"):
        assert words in str(caught.value)
    assert len(prepare(folder, skip_unreadable=True)[0]) == 64


def test_hidden_files_are_no_pictures(prepare, folder):
    (folder / "._00.jpg").write_bytes(b"\0\5\x16\7 what macOS keeps beside a file")
    save(folder / ".thumbnails" / "00.png", 80, 60)
    assert len(prepare(folder)[0]) == 64


@pytest.mark.process
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_video_leaves_no_shard_and_is_named(prepare, tmp_path, part):
    path = write_video(tmp_path / "v.mkv", noise(600, 16, 16, 3))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CorruptFileError, match=r"v\.mkv cannot be read as a video"):
        prepare(path)
    assert not [*(tmp_path / "cache").rglob("*.npy")]


def test_refused_frames_in_the_middle_leave_no_shard_and_are_named(prepare, tmp_path):
    images = [Image.fromarray(frame).convert("RGBA") for frame in noise(300, 16, 16, 3)]
    images[280].putalpha(7)
    path = tmp_path / "a.webp"
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True, method=0)
    with pytest.raises(PictureError, match=r"a\.webp: the picture is transparent"):
        prepare(path)
    assert not [*(tmp_path / "cache").rglob("*.npy")]


def test_frames_of_another_reader_are_prepared_anew(prepare, folder, tmp_path, monkeypatch):
    prepare(folder)
    prepare(folder)
    assert len([*(tmp_path / "cache").glob("frames-*")]) == 1
    monkeypatch.setattr(frame_sources, "READER_VERSION", 10**6)
    prepare(folder)
    assert len([*(tmp_path / "cache").glob("frames-*")]) == 2
