"""Videos of every kind and animated pictures: each stored frame once, right in RGB, or refused."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from PIL import Image
from support.media_files import FFMPEG, quarter, ramp, write_png, write_video

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.preprocessing import video_files
from s2robot.preprocessing.picture_files import PictureError
from s2robot.preprocessing.video_files import read_video

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
EXACT = ("-c:v", "ffv1", "-pix_fmt")


def frames_of(path):
    return np.stack([*read_video(path)])


def off_by(path, expected):
    found = frames_of(path)
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


def with_times(path, times, *options):
    """Write frames of a ramp, each at its time in tenths of a second."""
    shown = "+".join(f"eq(N,{i})*{time}" for i, time in enumerate(times))
    timing = ("-vf", f"settb=1/90000,setpts='({shown})*9000'", "-fps_mode", "passthrough")
    return write_video(path, ramp(len(times)), *timing, "-enc_time_base", "1:90000", *options)


# ------------------------------------------------------------------------------------------ videos
pytestmark = pytest.mark.process


@pytest.mark.parametrize("ending", [".mkv", ".avi", ".mov"])
def test_frames_come_as_they_were_stored(tmp_path, ending):
    assert off_by(write_video(tmp_path / f"a{ending}", NOISE, *EXACT, "bgr0"), NOISE) == 0


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".webm", ".avi"])
def test_frames_of_common_codecs_come_once_each(tmp_path, ending):
    assert (
        off_by(write_video(tmp_path / f"a{ending}", ramp(16), "-pix_fmt", "yuv420p"), ramp(16)) <= 4
    )


def test_a_variable_rate_repeats_and_drops_nothing(tmp_path):
    times = [0, 1, 2, 3, 4, 5, 6, 7, 16, 18, 20, 22, 24, 26, 28, 30]
    assert off_by(with_times(tmp_path / "a.mkv", times, "-c:v", "libx264"), ramp(16)) <= 4


def test_frames_close_in_time_are_all_read(tmp_path):
    times = [0, 0.001, 1, 1.001, 2, 2.001, 90, 90.001]
    assert off_by(with_times(tmp_path / "a.mkv", times, *EXACT, "bgr0"), ramp(8)) == 0


@pytest.mark.parametrize("angle, turn", [(90, 1), (180, 2), (270, 3), (-90, 3)])
def test_the_rotation_of_a_phones_video_is_applied(tmp_path, angle, turn):
    frames = np.stack([quarter()] * 3)
    stored = write_video(tmp_path / "a.mp4", frames, "-c:v", "libx264", "-qp", "1")
    rotated = ("-display_rotation", str(angle), "-i", str(stored), "-c", "copy")
    subprocess.run([*FFMPEG, *rotated, str(tmp_path / "b.mp4")], check=True)
    assert off_by(tmp_path / "b.mp4", np.rot90(frames, turn, axes=(1, 2))) < 30


@pytest.mark.parametrize(
    "pixels, tolerance",
    [
        ("yuv420p", 2),
        ("yuvj420p", 1),
        ("yuv422p", 2),
        ("yuv444p", 2),
        ("yuv420p10le", 1),
        ("yuv444p12le", 1),
        ("gray", 0),
        ("gbrp", 0),
        ("gbrp10le", 1),
        ("bgr0", 0),
        ("rgb48le", 1),
    ],
)
def test_gray_levels_are_right_in_every_pixel_format(tmp_path, pixels, tolerance):
    frames = ramp(32)
    assert off_by(write_video(tmp_path / "a.mkv", frames, *EXACT, pixels), frames) <= tolerance


@pytest.mark.parametrize("space", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("span", ["tv", "pc"])
def test_colors_are_right_in_every_color_space_that_the_file_names(tmp_path, space, span):
    colors = np.array([[200, 30, 60], [20, 180, 90], [40, 70, 220], [128, 128, 0]], np.uint8)
    frames = np.broadcast_to(colors[:, None, None], (4, 20, 30, 3)).copy()
    matrix = (
        f"scale=out_color_matrix={space.removesuffix('nc')}:out_range={span}:flags=accurate_rnd"
    )
    tags = ("-colorspace", space, "-color_range", span)
    path = tmp_path / "a.mkv"
    write_video(path, frames, "-vf", f"{matrix},format=yuv444p", *tags, *EXACT, "yuv444p")
    assert off_by(path, frames) <= 3


@pytest.mark.parametrize("height, width", [(1, 1), (47, 65), (20, 31), (21, 30)])
def test_odd_sizes_are_whole(tmp_path, height, width):
    frames = RNG.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    assert off_by(write_video(tmp_path / "a.mkv", frames, *EXACT, "bgr0"), frames) == 0


def test_opaque_videos_with_an_alpha_channel_lose_it(tmp_path):
    assert (
        off_by(write_video(tmp_path / "a.mov", NOISE, "-c:v", "qtrle", "-pix_fmt", "argb"), NOISE)
        == 0
    )


def test_transparent_videos_are_refused(tmp_path):
    options = ("-vf", "format=argb,colorchannelmixer=aa=0.4", "-c:v", "qtrle", "-pix_fmt", "argb")
    with pytest.raises(PictureError, match=r"a\.mov: the picture is transparent in 100\.0%"):
        frames_of(write_video(tmp_path / "a.mov", NOISE, *options))


def test_an_alpha_channel_that_is_not_decoded_is_refused(tmp_path):
    options = ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p")
    with pytest.raises(PictureError, match=r"a\.webm has an alpha channel"):
        frames_of(write_video(tmp_path / "a.webm", NOISE, *options))


@pytest.mark.parametrize("pixels", ["gray10le", "gray12le", "gray16le"])
def test_gray_of_more_than_8_bits_is_refused_as_possible_depth(tmp_path, pixels):
    with pytest.raises(PictureError, match=rf"a\.mkv: .*depth maps.*{pixels}"):
        frames_of(write_video(tmp_path / "a.mkv", NOISE, *EXACT, pixels))


@pytest.mark.parametrize("curve", ["smpte2084", "arib-std-b67"])
def test_hdr_is_refused_with_a_command_that_converts_it(tmp_path, curve):
    tags = ("-color_trc", curve, "-color_primaries", "bt2020", "-colorspace", "bt2020nc")
    named = f"setparams=color_trc={curve}:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    path = tmp_path / "a.mkv"
    write_video(path, ramp(3), "-vf", f"format=yuv420p10le,{named}", *tags, *EXACT, "yuv420p10le")
    with pytest.raises(PictureError, match=rf"a\.mkv is HDR \({curve}\).*ffmpeg -i IN") as caught:
        frames_of(path)
    advice = str(caught.value).partition("ffmpeg ")[2]
    words = advice.replace("IN", str(path)).replace("OUT.mp4", str(tmp_path / "b.mp4")).split()
    subprocess.run([*FFMPEG, *words], check=True)
    assert frames_of(tmp_path / "b.mp4").shape == (3, 48, 64, 3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi", ".mov"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_videos_are_an_error_that_names_the_file(tmp_path, ending, part):
    frames = RNG.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    options = ("-movflags", "faststart") if ending == ".mp4" else ()
    path = write_video(tmp_path / f"a{ending}", frames, "-pix_fmt", "yuv420p", *options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CorruptFileError, match=rf"a\{ending} cannot be read as a video \(ffmpeg: "):
        frames_of(path)


def test_damage_in_the_middle_is_an_error(tmp_path):
    sums = ("-level", "3", "-slicecrc", "1", *EXACT, "bgr0")
    path = write_video(tmp_path / "a.mkv", np.concatenate([NOISE] * 4), *sums)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"a\.mkv cannot be read"):
        frames_of(path)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"#EXTM3U\nhttp://x/y.ts\n"])
def test_other_files_are_refused_whatever_their_ending(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"a\.mp4 cannot be read as a video"):
        frames_of(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("TIFF", "tiff_pipe"),
        ("JPEG", "jpeg_pipe"),
        ("ICO", "ico"),
        ("TGA", "image2"),
        ("PPM", "ppm"),
    ],
)
def test_pictures_of_other_formats_and_endings_are_refused_as_pictures(tmp_path, form, kind):
    path = tmp_path / f"a.{form.lower() if form != 'JPEG' else 'mp4'}"
    Image.fromarray(NOISE[0]).save(path, format=form)
    with pytest.raises(PictureError, match=rf"a\.\w+ holds a picture \({kind}.*save it as one"):
        frames_of(path)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_pictures_in_a_container_of_videos_are_refused(tmp_path, brand):
    data = write_video(tmp_path / "a.mp4", NOISE[:1], "-c:v", "mpeg4").read_bytes()
    (tmp_path / "a.heic").write_bytes(data.replace(b"ftypisom", b"ftyp" + brand, 1))
    with pytest.raises(PictureError, match=rf"holds a picture \({brand.decode()}\)"):
        frames_of(tmp_path / "a.heic")


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"is a folder; give the path of one video"):
        frames_of(tmp_path)


def test_a_file_with_sound_alone_is_refused(tmp_path):
    sound = ("-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "a.mp4"))
    subprocess.run([*FFMPEG, *sound], check=True)
    with pytest.raises(CorruptFileError, match=r"a\.mp4 cannot be read .*it holds no video"):
        frames_of(tmp_path / "a.mp4")


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no video .*none\.mp4"):
        frames_of(tmp_path / "none.mp4")


def test_other_processors_give_the_same_pixels(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", NOISE, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    found = frames_of(path)
    monkeypatch.setattr(video_files, "_LOCAL", (*video_files._LOCAL, "-cpuflags", "0"))
    assert off_by(path, found) == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libaom-av1", "mpeg4"])
def test_frames_of_every_codec_of_cameras_and_data_sets_come_once_each(tmp_path, codec):
    fast = ("-cpu-used", "8") if codec == "libaom-av1" else ()
    path = write_video(tmp_path / "a.mkv", ramp(16), "-c:v", codec, *fast, "-pix_fmt", "yuv420p")
    assert off_by(path, ramp(16)) <= 6


def test_an_ffmpeg_that_is_too_old_is_named(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mkv", NOISE)
    unknown = ("-fps_mode_of_later", "passthrough")
    monkeypatch.setattr(video_files, "_OUTPUT", (*unknown, *video_files._OUTPUT))
    with pytest.raises(S2RobotError, match=r"ffmpeg .* does not know an option.*imageio-ffmpeg"):
        frames_of(path)


@pytest.mark.parametrize("name", ["-i.mkv", "a b%03d.mkv", "http:x.mkv"])
def test_odd_names_are_names_of_files(tmp_path, monkeypatch, name):
    write_video(tmp_path / "plain.mkv", NOISE)
    (tmp_path / "plain.mkv").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert off_by(name, NOISE) == 0


def test_ffmpeg_ends_when_the_rest_of_a_video_is_not_wanted(tmp_path, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    path = write_video(tmp_path / "a.mkv", np.zeros((20, 400, 400, 3), np.uint8))
    monkeypatch.setattr(video_files.subprocess, "Popen", Recorded)
    frames = read_video(path)
    next(frames)
    running = started[-1].poll()
    del frames  # closes the generator
    assert running is None
    assert started[-1].returncode is not None


# ------------------------------------------------------------------------------ animated pictures
def animated(path, frames, **options):
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def moving():
    """Return a white square that moves over black, in pure colors that GIF keeps exactly."""
    return np.stack([np.roll(quarter(), 7 * i, axis=1) for i in range(5)])


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png", ".apng"])
def test_animated_pictures_give_each_frame(tmp_path, ending):
    options = {"lossless": True} if ending == ".webp" else {}
    options |= {"format": "PNG"} if ending == ".apng" else {}
    assert off_by(animated(tmp_path / f"a{ending}", moving(), **options), moving()) == 0


def test_a_gray_gif_has_three_channels(tmp_path):
    frames = RNG.integers(0, 256, (4, 192, 256), dtype=np.uint8)
    assert off_by(animated(tmp_path / "a.gif", frames), np.stack([frames] * 3, axis=-1)) == 0


@pytest.mark.parametrize("disposal", [0, 1, 2, [1, 3, 3, 1, 3]])
def test_partial_frames_are_composed_as_ffmpeg_composes_them(tmp_path, disposal):
    options = {"disposal": disposal, "optimize": True, "duration": [50, 90, 10, 700, 20]}
    path = animated(tmp_path / "a.gif", moving(), **options)
    unchanged = ("-fps_mode", "passthrough", *EXACT, "bgr0", str(tmp_path / "b.mkv"))
    subprocess.run([*FFMPEG, "-i", str(path), *unchanged], check=True)
    assert off_by(path, frames_of(tmp_path / "b.mkv")) == 0


def test_a_gif_whose_first_frame_leaves_a_part_empty_is_refused(tmp_path):
    path = animated(tmp_path / "a.gif", moving())
    data = bytearray(path.read_bytes())
    data[6:8] = (200).to_bytes(2, "little")  # the canvas is wider than all frames
    path.write_bytes(data)
    with pytest.raises(PictureError, match=r"a\.gif: frame 0 .* leaves a part .* empty"):
        frames_of(path)


@pytest.mark.parametrize("disposal", [2, 3])
def test_a_gif_whose_second_frame_leaves_a_cleared_part_empty_is_refused(tmp_path, disposal):
    path = animated(tmp_path / "a.gif", moving(), disposal=[1, 1, 1, 1, 1])
    data = path.read_bytes().replace(b"\x21\xf9\x04\x04", bytes([0x21, 0xF9, 4, 4 * disposal]), 1)
    assert data != path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(PictureError, match=r"a\.gif: frame 1 .* leaves a part .* empty"):
        frames_of(path)


def test_a_gif_with_holes_is_refused(tmp_path):
    image = Image.fromarray(quarter()).convert("P", colors=4)
    image.save(tmp_path / "a.gif", transparency=image.getpixel((0, 0)))
    with pytest.raises(PictureError, match=r"a\.gif: the picture is transparent in 25\.0%"):
        frames_of(tmp_path / "a.gif")


def test_a_still_shown_in_place_of_the_animation_is_left_out(tmp_path):
    images = [Image.fromarray(frame) for frame in moving()]
    cover = Image.new("RGB", images[0].size, "red")
    cover.save(tmp_path / "a.apng", "PNG", save_all=True, default_image=True, append_images=images)
    assert off_by(tmp_path / "a.apng", moving()) == 0


def test_the_orientation_holds_for_every_frame(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    path = animated(tmp_path / "a.webp", moving(), exif=exif, lossless=True)
    upright = [
        np.asarray(Image.fromarray(f).transpose(Image.Transpose.ROTATE_270)) for f in moving()
    ]
    assert off_by(path, np.stack(upright)) == 0


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_animations_are_an_error_that_names_the_file(tmp_path, ending, part):
    frames = RNG.integers(0, 256, (6, 30, 40, 3), dtype=np.uint8)
    path = animated(tmp_path / f"a{ending}", frames)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(CorruptFileError, match=rf"a\{ending} cannot be read"):
        frames_of(path)


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    write_png(tmp_path / "a.png", NOISE[0].astype(np.uint16) * 257)
    assert off_by(tmp_path / "a.png", NOISE[:1]) == 0
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(quarter()).save(tmp_path / "b.png", exif=exif)
    assert off_by(tmp_path / "b.png", np.rot90(quarter(), -1)[None]) == 0
