"""JPEG and PNG messages become the frames that other decoders give."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.media_files import write_png

from s2robot.data.ros_messages.images import (
    ImageError,
    compressed_to_rgb,
    frame_of,
)


# -------------------------------------------------------------------- compressed
def smooth(height: int = 24, width: int = 31) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 9, columns * 7, 255 - rows * 5], axis=-1).astype(np.uint8)


def compressed(form: str, pixels: np.ndarray | Image.Image, container: str, **options: Any) -> Any:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, container, **options)
    return SimpleNamespace(header=None, format=form, data=buffer.getvalue())


@pytest.mark.parametrize(
    "form", ["png", "PNG", "", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8"]
)
def test_png_is_exact(form: str) -> None:
    frame = frame_of(compressed(form, smooth(), "PNG"))
    np.testing.assert_array_equal(frame, smooth())


@pytest.mark.parametrize(
    "form", ["jpeg", "jpg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"]
)
def test_jpeg_as_pillow_decodes_it(form: str) -> None:
    message = compressed(form, smooth(), "JPEG", quality=95)
    with Image.open(io.BytesIO(message.data)) as picture:
        expected = np.asarray(picture)
    np.testing.assert_array_equal(compressed_to_rgb(message), expected)
    assert np.abs(expected.astype(int) - smooth()).mean() < 5  # and it is the picture


def test_red_and_blue_of_rgb_that_was_compressed_as_bgr() -> None:
    message = compressed("rgb8; png compressed rgb8", smooth()[..., ::-1], "PNG")
    np.testing.assert_array_equal(compressed_to_rgb(message), smooth())


def test_other_modes() -> None:
    gray = smooth()[..., 0]
    three = np.stack([gray] * 3, axis=-1)
    for container in ("PNG", "JPEG"):
        found = compressed_to_rgb(compressed("mono8; x compressed mono8", gray, container))
        assert np.abs(found.astype(int) - three).max() <= (0 if container == "PNG" else 12)
    alpha = np.concatenate([smooth(), np.full((24, 31, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(compressed_to_rgb(compressed("png", alpha, "PNG")), smooth())
    palette = Image.fromarray(three).quantize(256)
    found = compressed_to_rgb(compressed("png", palette, "PNG"))
    np.testing.assert_array_equal(found, np.asarray(palette.convert("RGB")))


def test_16_bit_gray_is_an_intensity_only_where_the_format_names_it() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (24, 31)).astype(np.uint16)
    found = compressed_to_rgb(compressed("mono16; png compressed ", deep, "PNG"))
    np.testing.assert_array_equal(found, np.dstack([np.round(deep / 257)] * 3))
    for form in ("png", "16UC1; png compressed "):
        with pytest.raises(ImageError, match="depth maps") as caught:
            compressed_to_rgb(compressed(form, deep, "PNG"))
        assert caught.value.kind == "encoding"


def test_16_bit_color_is_rounded_exactly(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (24, 31, 3)).astype(np.uint16)
    data = write_png(tmp_path / "a.png", deep).read_bytes()
    message = SimpleNamespace(header=None, format="bgr16; png compressed bgr16", data=data)
    np.testing.assert_array_equal(compressed_to_rgb(message), np.round(deep / 257))


@pytest.mark.parametrize("container", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_as_in_files(container: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    message = compressed("", smooth(), container, exif=exif)
    with Image.open(io.BytesIO(message.data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(compressed_to_rgb(message), expected)


def test_transparent_and_animated_pictures_are_refused() -> None:
    holes = Image.fromarray(np.dstack([smooth(), np.full((24, 31), 7, np.uint8)]))
    moving = {"save_all": True, "append_images": [Image.fromarray(smooth()[::-1].copy())]}
    for picture, options, words in ((holes, {}, "transparent"), (smooth(), moving, "animated")):
        with pytest.raises(ImageError, match=words) as caught:
            compressed_to_rgb(compressed("png", picture, "PNG", **options))
        assert caught.value.kind == "encoding"


@pytest.mark.parametrize("container", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files(container: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    message = compressed(container.lower(), noise, container)
    message.data = message.data[: int(len(message.data) * share)]
    with pytest.raises(ImageError, match=f"of {container} cannot be decoded") as caught:
        frame_of(message)
    assert caught.value.kind in ("truncated", "malformed")


@pytest.mark.parametrize(
    "kind, form, data, words",
    [
        ("encoding", "16UC1; compressedDepth png", b"\0" * 40, "allowed: JPEG and PNG"),
        ("encoding", "16UC1; compressedDepth", b"\0" * 40, "compressedDepth"),
        ("encoding", "bayer_rggb8; png compressed bayer_rggb8", b"\x89PNG", "bayer_rggb8"),
        ("encoding", "bayer_rggb8; jpeg compressed ", b"\xff\xd8\xff", "a raw Bayer mosaic"),
        ("encoding", "bayer_gbrg8; png compressed", b"\x89PNG", "a raw Bayer mosaic"),
        ("encoding", "h264", b"\0\0\0\1abc", "begins with 00 00 00 01"),
        ("truncated", "jpeg", b"", "without any data"),
        ("malformed", "jpeg", None, "data is NoneType"),
        ("malformed", "jpeg", b"\xff\xd8\xff" + b"x" * 50, "cannot be decoded"),
    ],
)
def test_bad_compressed_images(kind: str, form: str, data: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        frame_of(SimpleNamespace(format=form, data=data))
    assert caught.value.kind == kind
