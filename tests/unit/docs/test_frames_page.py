"""Every row of docs/reference/frames.md, tried on files that are made for it."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import docs_site
import numpy as np
import pytest
from PIL import Image, ImageOps
from support.media_files import FFMPEG, quarter, ramp, write_png, write_video

from s2robot.data.ros_messages.images import ENCODINGS, ImageError, frame_of
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import PICTURES, PictureError, read_picture
from s2robot.preprocessing.video_files import VIDEOS, read_video

PAGE = (docs_site.DOCS / "reference" / "frames.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (?!file \||message \|)([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (20, 30, 4)).astype(np.uint16)
EXACT = ("-c:v", "ffv1", "-pix_fmt")
CHECKS: dict[tuple[str, str], Callable[[Path], None]] = {}


def row(file: str, content: str):
    """Register the check of a row by the row's first two cells."""

    def keep(check: Callable[[Path], None]) -> Callable[[Path], None]:
        assert (file, content) not in CHECKS
        CHECKS[file, content] = check
        return check

    return keep


def test_every_row_has_a_check_and_the_other_way_round() -> None:
    assert [(file, content) for file, content, _ in ROWS] == list(CHECKS)


@pytest.mark.process
@pytest.mark.parametrize("file, content, result", ROWS, ids=[" ".join(r[:2])[:60] for r in ROWS])
def test_the_row_is_true(tmp_path: Path, file: str, content: str, result: str) -> None:
    CHECKS[file, content](tmp_path)


def test_the_page_lists_the_endings() -> None:
    pictures, videos = (line for line in PAGE.splitlines() if line.startswith("Endings: "))
    assert tuple(re.findall(r"`(\.\w+)`", pictures)) == PICTURES
    assert tuple(re.findall(r"`(\.\w+)`", videos.partition(";")[0])) == VIDEOS


def same(found: np.ndarray, expected: np.ndarray, tolerance: float = 0) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).max() <= tolerance


def refused(read: Callable[[], object], words: str, kind: type[Exception] = PictureError) -> None:
    with pytest.raises(kind, match=words):
        read()


def pictures(folder: Path, image: Image.Image, *endings: str, **options) -> list[Path]:
    paths = [folder / f"a.{ending}" for ending in endings]
    for path in paths:
        image.save(path, **({"lossless": True} if path.suffix == ".webp" else {}), **options)
    return paths


def video(path: Path) -> np.ndarray:
    return np.stack([*read_video(path)])


# ---------------------------------------------------------------------------------------- pictures
@row("all but GIF and BMP", "orientation 1 to 8 in the metadata (EXIF)")
def _(folder: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        source = Image.fromarray(quarter())
        for path in pictures(folder, source, "png", "jpg", "webp", exif=exif):
            with Image.open(path) as image:
                same(read_picture(path), np.asarray(ImageOps.exif_transpose(image)))


@row("PNG, BMP, GIF", "gray of 1, 2, 4 or 8 bits")
def _(folder: Path) -> None:
    for bits in (1, 2, 4, 8):
        samples = NOISE[0, ..., :1] >> (8 - bits)
        expected = np.repeat(samples.astype(float) * 255 / (2**bits - 1), 3, axis=2)
        same(read_picture(write_png(folder / "b.png", samples, bits)), expected)
    for path in pictures(folder, Image.fromarray(NOISE[0, ..., 0]), "png", "bmp", "gif"):
        same(read_picture(path), np.repeat(NOISE[0, ..., :1], 3, axis=2))


@row("PNG, BMP, GIF", "palette")
def _(folder: Path) -> None:
    image = Image.fromarray(NOISE[0]).quantize(100)
    for path in pictures(folder, image, "png", "bmp", "gif"):
        same(read_picture(path), np.asarray(image.convert("RGB")))


@row("all", "RGB of 8 bits")
def _(folder: Path) -> None:
    for path in pictures(folder, Image.fromarray(NOISE[0]), "png", "bmp", "webp"):
        same(read_picture(path), NOISE[0])


@row("PNG", "RGB of 16 bits")
def _(folder: Path) -> None:
    path = write_png(folder / "a.png", DEEP[..., :3])
    same(read_picture(path), np.round(DEEP[..., :3] / 257))


@row("PNG", "gray of 16 bits")
def _(folder: Path) -> None:
    path = write_png(folder / "a.png", DEEP[..., :1])
    refused(lambda: read_picture(path), "depth")


def with_alpha(folder: Path, level: int) -> list[Path]:
    image = Image.fromarray(NOISE[0])
    image.putalpha(level)
    paths = pictures(folder, image, "png", "webp")
    index = 0 if level < 255 else 255  # of 40 colors, so no pixel has the last index
    colors = Image.fromarray(NOISE[0]).quantize(40)
    colors.putpixel((0, 0), 0)
    colors.save(folder / "a.gif", transparency=index)
    return [*paths, folder / "a.gif"]


@row("PNG, WebP, GIF", "alpha channel or transparent color, all pixels opaque")
def _(folder: Path) -> None:
    *exact, gif = with_alpha(folder, 255)
    for path in exact:
        same(read_picture(path), NOISE[0])
    assert read_picture(gif).shape == (20, 30, 3)


@row("PNG, WebP, GIF", "alpha channel or transparent color, some pixels not opaque")
def _(folder: Path) -> None:
    for path in with_alpha(folder, 200):
        refused(lambda path=path: read_picture(path), r"transparent.*Image\.alpha_composite")


@row("JPEG", "gray, YCbCr")
def _(folder: Path) -> None:
    for source in (NOISE[0], NOISE[0, ..., 0]):
        (path,) = pictures(folder, Image.fromarray(source), "jpg")
        with Image.open(path) as image:
            same(read_picture(path), np.asarray(image.convert("RGB")))


@row("JPEG", "CMYK, also with Adobe's inverted values")
def _(folder: Path) -> None:
    ink = Image.fromarray(quarter()).convert("CMYK")
    (path,) = pictures(folder, ink, "jpg", quality=100)
    same(read_picture(path), quarter(), 8)


@row("JPEG", "several pictures (MPO, from phones and stereo cameras)")
def _(folder: Path) -> None:
    other = [Image.new("RGB", (80, 40), "red")]
    image = Image.fromarray(quarter())
    image.save(folder / "a.jpg", "MPO", save_all=True, append_images=other, quality=100)
    same(read_picture(folder / "a.jpg"), quarter(), 8)


def animations(folder: Path) -> list[Path]:
    frames = [Image.fromarray(np.roll(quarter(), 7 * i, axis=1)) for i in range(6)]
    options = {"save_all": True, "append_images": frames[1:]}
    return pictures(folder, frames[0], "png", "webp", "gif", **options)


@row("PNG, WebP, GIF", "animated, in a folder of pictures")
def _(folder: Path) -> None:
    for path in animations(folder):
        refused(lambda path=path: read_picture(path), "animated")


@row("all", "truncated or of another format")
def _(folder: Path) -> None:
    for path in pictures(folder, Image.fromarray(NOISE[0]), *(e[1:] for e in PICTURES)):
        whole = path.read_bytes()
        for content in (whole[: len(whole) // 2], b"%!PS-Adobe-3.0", b""):
            path.write_bytes(content)
            refused(lambda path=path: read_picture(path), "cannot be read", CorruptFileError)


@row("others", "TIFF, HEIC, AVIF, JPEG 2000, ICO and the like, whatever their ending")
def _(folder: Path) -> None:
    image = Image.fromarray(NOISE[0])
    for kind in ("TIFF", "ICO", "PPM", "TGA"):
        for ending in ("png", "jpg"):
            path = folder / f"{kind}.{ending}"
            image.save(path, format=kind)
            refused(lambda path=path: read_picture(path), "cannot be read", CorruptFileError)


# ------------------------------------------------------------------------------------------ videos
@row("video", "constant or variable rate")
def _(folder: Path) -> None:
    for time in ("N", "if(lt(N,8),N,2*N)"):
        shown = ("-vf", f"settb=1/90000,setpts='{time}*9000'", "-fps_mode", "passthrough")
        options = (*shown, "-enc_time_base", "1:90000", "-c:v", "libx264", "-qp", "1")
        same(video(write_video(folder / "a.mkv", ramp(16), *options)), ramp(16), 4)


@row("video", "rotation in the metadata, as phones write it")
def _(folder: Path) -> None:
    frames = np.stack([quarter()] * 2)
    stored = write_video(folder / "a.mp4", frames, "-c:v", "libx264", "-qp", "1")
    for turns in (1, 2, 3):
        turned = folder / f"{turns}.mp4"
        rotation = ("-display_rotation", str(90 * turns), "-i", str(stored), "-c", "copy")
        subprocess.run([*FFMPEG, *rotation, str(turned)], check=True)
        same(video(turned), np.rot90(frames, turns, axes=(1, 2)), 30)


@row("video", "YUV, limited or full range, BT.601, BT.709 or BT.2020 as the file says")
def _(folder: Path) -> None:
    colors = np.broadcast_to(np.array([200, 30, 60], np.uint8), (2, 20, 30, 3)).copy()
    for span in ("tv", "pc"):
        for space in ("smpte170m", "bt709", "bt2020nc"):
            matrix = space.removesuffix("nc")
            scale = f"scale=out_color_matrix={matrix}:out_range={span}:flags=accurate_rnd"
            options = ("-vf", f"{scale},format=yuv444p", "-colorspace", space, *EXACT, "yuv444p")
            path = write_video(folder / "a.mkv", colors, "-color_range", span, *options)
            same(video(path), colors, 3)
    scale = "scale=out_color_matrix=smpte170m:out_range=tv:flags=accurate_rnd,format=yuv444p"
    silent = ("-vf", f"{scale},setparams=colorspace=unknown:range=unknown", *EXACT, "yuv444p")
    same(video(write_video(folder / "b.mkv", colors, *silent)), colors, 3)


@row("video", "10 or 12 bits")
def _(folder: Path) -> None:
    for pixels in ("yuv420p10le", "yuv444p12le", "gbrp10le", "rgb48le"):
        same(video(write_video(folder / "a.mkv", ramp(32), *EXACT, pixels)), ramp(32), 1)


@row("video", "gray of 8 bits")
def _(folder: Path) -> None:
    same(video(write_video(folder / "a.mkv", ramp(32), *EXACT, "gray")), ramp(32))


@row("video", "gray of more than 8 bits")
def _(folder: Path) -> None:
    for pixels in ("gray10le", "gray12le", "gray16le"):
        path = write_video(folder / "a.mkv", NOISE, *EXACT, pixels)
        refused(lambda path=path: video(path), "depth")


@row("video", "HDR (PQ, HLG)")
def _(folder: Path) -> None:
    for curve in ("smpte2084", "arib-std-b67"):
        named = f"format=yuv420p10le,setparams=color_trc={curve}:color_primaries=bt2020"
        options = ("-vf", named, "-color_trc", curve, *EXACT, "yuv420p10le")
        path = write_video(folder / "a.mkv", NOISE, *options)
        refused(lambda path=path: video(path), "HDR.*ffmpeg -i")


@row("video", "alpha channel, all pixels opaque")
def _(folder: Path) -> None:
    path = write_video(folder / "a.mov", NOISE, "-c:v", "qtrle", "-pix_fmt", "argb")
    same(video(path), NOISE)


@row("video", "alpha channel, some pixels not opaque, or in VP8 or VP9")
def _(folder: Path) -> None:
    holes = ("-vf", "format=argb,colorchannelmixer=aa=0.4", "-c:v", "qtrle", "-pix_fmt", "argb")
    path = write_video(folder / "a.mov", NOISE, *holes)
    refused(lambda: video(path), "transparent")
    for codec in ("libvpx", "libvpx-vp9"):
        options = ("-c:v", codec, "-auto-alt-ref", "0", "-pix_fmt", "yuva420p")
        path = write_video(folder / "a.webm", NOISE, *options)
        refused(lambda path=path: video(path), "alpha")


@row("video", "odd width or height")
def _(folder: Path) -> None:
    frames = np.ascontiguousarray(NOISE[:, :19, :29])
    same(video(write_video(folder / "a.mkv", frames, *EXACT, "bgr0")), frames)


@row("video", "pixels that are not square")
def _(folder: Path) -> None:
    same(video(write_video(folder / "a.mkv", NOISE, "-aspect", "3", *EXACT, "bgr0")), NOISE)


@row("video", "a cover picture beside the video")
def _(folder: Path) -> None:
    stored = write_video(folder / "a.mp4", ramp(4), "-c:v", "libx264", "-qp", "1")
    (cover,) = pictures(folder, Image.new("RGB", (500, 500), "red"), "png")
    both = ("-i", str(cover), "-i", str(stored), "-map", "0", "-map", "1", "-c", "copy")
    flag = ("-disposition:v:0", "attached_pic", str(folder / "b.mp4"))
    subprocess.run([*FFMPEG, *both, *flag], check=True)
    same(video(folder / "b.mp4"), ramp(4), 4)


@row("GIF, WebP, PNG", "animated")
def _(folder: Path) -> None:
    for path in animations(folder):
        if path.suffix != ".webp":
            same(video(path), np.stack([np.roll(quarter(), 7 * i, axis=1) for i in range(6)]))
        assert len(video(path)) == 6


@row("GIF", "animated, with parts that no frame fills")
def _(folder: Path) -> None:
    path = animations(folder)[2]
    data = path.read_bytes()
    path.write_bytes(data[:6] + bytes([200, 0]) + data[8:])  # a canvas wider than the frames
    refused(lambda: video(path), "leaves a part of the picture empty")


@row("all", "truncated or damaged")
def _(folder: Path) -> None:
    for ending in (*VIDEOS[:5], *(path.suffix for path in animations(folder))):
        path = folder / f"a{ending}"
        if ending in VIDEOS[:5]:
            write_video(path, NOISE, "-pix_fmt", "yuv420p")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
        refused(lambda path=path: video(path), "cannot be read", CorruptFileError)


# -------------------------------------------------------------------------------------------- bags
def raw(encoding: str, samples: np.ndarray, **changes) -> np.ndarray:
    """Return the frame of an image message; samples are ``(H, W, channels)``."""
    height, width = samples.shape[:2]
    fields = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": samples[0].nbytes,
        "data": samples.tobytes(),
    }
    return frame_of(SimpleNamespace(**{**fields, **changes}))


def listed(content: str) -> list[str]:
    """Return the encodings that a row names."""
    names = re.split(r", | and ", content.replace(" and all others", ""))
    return [e for n in names for e in (*ENCODINGS, n) if re.fullmatch(n.replace("*", r"\w+"), e)]


CHANNELS = "rgb8, bgr8, rgba8, bgra8, 8UC3, 8UC4"
GRAY, WIDE = "mono8, 8UC1", "rgb16, bgr16, rgba16, bgra16, mono16"
MOSAIC, YUV = "bayer_*8, bayer_*16", "yuv422, uyvy, yuv422_yuy2, yuyv"


def test_the_page_names_every_encoding() -> None:
    rows = (CHANNELS, GRAY, WIDE, MOSAIC, YUV)
    assert {name for content in rows for name in listed(content) if "*" not in name} == set(
        ENCODINGS
    )


@row("Image", CHANNELS)
def _(folder: Path) -> None:
    for encoding in listed(CHANNELS):
        count = 4 if encoding in ("rgba8", "bgra8", "8UC4") else 3
        samples = np.dstack([NOISE[0], NOISE[1]])[..., :count]  # any fourth channel
        rgb = NOISE[0] if encoding.startswith("rgb") else NOISE[0, ..., ::-1]
        same(raw(encoding, np.ascontiguousarray(samples)), rgb)


@row("Image", GRAY)
def _(folder: Path) -> None:
    for encoding in listed(GRAY):
        same(raw(encoding, NOISE[0, ..., :1].copy()), np.repeat(NOISE[0, ..., :1], 3, axis=2))


@row("Image", WIDE)
def _(folder: Path) -> None:
    rounded = np.round(DEEP / 257)
    for encoding in listed(WIDE):
        count = 1 if encoding == "mono16" else 4 if "a" in encoding else 3
        rgb = rounded[..., [0, 0, 0]] if count == 1 else rounded[..., :3]
        found = raw(encoding, np.ascontiguousarray(DEEP[..., :count].astype("<u2")))
        same(found, rgb[..., ::-1] if encoding.startswith("bgr") else rgb)


@row("Image", MOSAIC)
def _(folder: Path) -> None:
    for encoding in (name for name in listed(MOSAIC) if "*" not in name):
        deep = encoding.endswith("16")
        flat = np.full((8, 10, 1), 40000 if deep else 77, "<u2" if deep else np.uint8)
        same(raw(encoding, flat), np.full((8, 10, 3), round(40000 / 257) if deep else 77))


@row("Image", YUV)
def _(folder: Path) -> None:
    for encoding in listed(YUV):
        pair = [235, 128] if encoding in ("yuv422_yuy2", "yuyv") else [128, 235]
        same(raw(encoding, np.full((4, 6, 2), pair, np.uint8)), np.full((4, 6, 3), 255))


@row("Image", "16UC1, 32FC1 and all others")
def _(folder: Path) -> None:
    for encoding in ("16UC1", "32FC1", "nv12", ""):
        refused(lambda e=encoding: raw(e, DEEP[..., :2].copy()), "depth|unknown", ImageError)


def compressed(form: str, image: Image.Image, container: str, **options) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, container, **options)
    return frame_of(SimpleNamespace(format=form, data=buffer.getvalue()))


@row("CompressedImage", "JPEG, PNG")
def _(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    for container, tolerance in (("PNG", 0), ("JPEG", 30)):
        found = compressed("", Image.fromarray(quarter()), container, exif=exif)
        same(found, np.rot90(quarter(), -1), tolerance)


@row("CompressedImage", "PNG of 16-bit gray")
def _(folder: Path) -> None:
    image = Image.fromarray(DEEP[..., 0].copy())
    expected = np.round(DEEP[..., [0, 0, 0]] / 257)
    same(compressed("mono16; png compressed ", image, "PNG"), expected)
    refused(lambda: compressed("16UC1; png compressed ", image, "PNG"), "depth", ImageError)


@row("CompressedImage", "compressedDepth, bayer and all others")
def _(folder: Path) -> None:
    image = Image.fromarray(NOISE[0])
    for form in ("16UC1; compressedDepth png", "bayer_rggb8; png compressed bayer_rggb8"):
        refused(lambda form=form: compressed(form, image, "PNG"), "allowed", ImageError)
    refused(lambda: compressed("webp", image, "WEBP"), "neither JPEG nor PNG", ImageError)
