"""Frames of pictures, folders, videos and animated pictures, by the one reader of each."""

from __future__ import annotations

import warnings
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from support.media_files import quarter, ramp, write_png, write_video

from s2robot.data.frame_sources import frame_stream, frames_from, pictures_in
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import PictureError

RNG = np.random.default_rng(0)


def save(path, level=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 40), (level, level, level)).save(path)
    return path


def test_pictures_in_a_folder_are_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(quarter()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(frames_from(str(tmp_path), 80, 40, 9)[0], np.rot90(quarter(), -1))


def test_a_gray_gif_gives_frames_of_three_channels(tmp_path):
    frames = RNG.integers(0, 256, (4, 192, 256), dtype=np.uint8)
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    found = frames_from(str(tmp_path / "a.gif"), 192, 256, 9)
    assert np.array_equal(found, np.stack([frames] * 3, axis=-1))


@pytest.mark.process
def test_frames_of_a_variable_rate_are_read_once_each(tmp_path):
    times = ("-vf", "settb=1/90000,setpts='if(lt(N,8),N,2*N)*9000'", "-fps_mode", "passthrough")
    options = (*times, "-enc_time_base", "1:90000", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    path = write_video(tmp_path / "v.mkv", ramp(16), *options)
    assert np.array_equal(frames_from(str(path), 48, 64, 99), ramp(16))


@pytest.mark.process
def test_no_more_of_a_video_is_read_than_wanted(tmp_path):
    path = write_video(tmp_path / "v.mkv", ramp(32))
    path.write_bytes(path.read_bytes()[:-2])
    assert np.array_equal(frames_from(str(path), 48, 64, 5), ramp(5))
    with pytest.raises(CorruptFileError, match=r"v\.mkv cannot be read as a video"):
        frames_from(str(path), 48, 64, 99)


def test_a_stream_gives_frames_in_their_own_sizes(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, shape in enumerate([(8, 9, 3), (5, 4, 3)]):
        write_png(folder / f"{number}.png", np.full(shape, 257 * number, np.uint16))
    frames = list(frame_stream(str(folder)))
    assert [(frame.shape, frame.max()) for frame in frames] == [((8, 9, 3), 0), ((5, 4, 3), 1)]


def test_a_stream_offers_only_sources_that_it_has():
    with pytest.raises(FileNotFoundError, match="without any, use pick-cube$"):
        next(frame_stream("noise"))
    with pytest.raises(FileNotFoundError, match="use pick-cube or noise$"):
        frames_from("absent", 8, 9, 5)


@pytest.mark.render
def test_a_stream_of_drawn_frames_has_their_size():
    frames = frame_stream("pick-cube/easy", 48, 64)
    first, second = islice(frames, 2)
    assert first.shape == second.shape == (48, 64, 3)
    assert not np.array_equal(first, second)


def test_one_picture_is_a_source_of_one_frame(tmp_path):
    samples = RNG.integers(0, 65536, (8, 9, 3)).astype(np.uint16)
    path = write_png(tmp_path / "a.png", samples)
    expected = np.round(samples / 257).astype(np.uint8)
    assert np.array_equal(frames_from(str(path), 8, 9, 5), expected[None])
    assert np.array_equal(frames_from(str(tmp_path), 8, 9, 5), expected[None])


def test_a_depth_map_in_a_folder_is_refused_by_name(tmp_path):
    save(tmp_path / "a.png")
    write_png(tmp_path / "b.png", np.full((8, 9, 1), 900))
    with pytest.raises(PictureError, match=r"b\.png: .*depth maps"):
        frames_from(str(tmp_path), 8, 9, 5)


def test_folders_are_read_to_their_bottom_without_hidden_files(tmp_path):
    shown = [save(tmp_path / name) for name in ("a.JPG", "b/c.png", "d.gif")]
    for name in ("._a.jpg", ".trash/x.png", "b/.x.png"):
        save(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert pictures_in(tmp_path) == shown


def test_numbers_that_do_not_follow_the_names_are_told(tmp_path):
    for number in (1, 9, 10):
        save(tmp_path / f"frame_{number}.png", 20 * number)
    with pytest.warns(UserWarning, match=r"so frame_10\.png comes before frame_9\.png.*\(009"):
        frames = frames_from(str(tmp_path), 40, 80, 9)
    assert frames[:, 0, 0, 0].tolist() == [20, 200, 180]


@pytest.mark.parametrize("names", ["001 009 010", "a b c", "run02/1 run02/3 run10/2", "a1 b0"])
def test_names_in_the_order_of_their_numbers_are_not_warned_about(tmp_path, names):
    for name in names.split():
        save(tmp_path / f"{name}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames_from(str(tmp_path), 40, 80, 9)


def test_linked_folders_are_read(tmp_path):
    save(tmp_path / "away" / "1.png")
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "session").symlink_to(tmp_path / "away")
    assert pictures_in(frames) == [frames / "session" / "1.png"]
