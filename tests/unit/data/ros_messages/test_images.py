"""Image messages become frames; independent loops over pixels are the reference."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from s2robot.data.ros_messages.images import (
    ENCODINGS,
    ImageError,
    frame_of,
    image_to_rgb,
)

SIZES = ((1, 1), (2, 2), (3, 5), (7, 4), (6, 9), (12, 16))
CHANNELS = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "rgba8": (0, 1, 2),
    "bgra8": (2, 1, 0),
    "8UC3": (2, 1, 0),
    "8UC4": (2, 1, 0),
    "rgb16": (0, 1, 2),
    "bgr16": (2, 1, 0),
    "rgba16": (0, 1, 2),
    "bgra16": (2, 1, 0),
    "mono8": (0, 0, 0),
    "mono16": (0, 0, 0),
    "8UC1": (0, 0, 0),
}
"""Places of red, green and blue among a pixel's samples."""
COUNTS = {
    name: 1 if name.startswith(("mono", "8UC1")) else 4 if "a" in name or name == "8UC4" else 3
    for name in CHANNELS
}
BAYER = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}
YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUYV", "yuyv": "YUYV"}


def image(encoding: str, data: Any, height: int, width: int, step: int, big: int = 0) -> Any:
    return SimpleNamespace(
        header=None,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=big,
        step=step,
        data=data,
    )


def sample_bytes(encoding: str) -> int:
    return 2 if "16" in encoding else 1


def random_message(
    encoding: str, height: int, width: int, padding: int = 0, big: int = 0, seed: int = 0
) -> Any:
    count = 2 if encoding in YUV else COUNTS.get(encoding, 1)
    step = width * count * sample_bytes(encoding) + padding
    rng = np.random.default_rng(seed + height * 100 + width)
    data = rng.integers(0, 256, step * height, dtype=np.uint8).tobytes()
    return image(encoding, data, height, width, step, big)


def sample(message: Any, row: int, place: int) -> int:
    """Return a sample of a row by its number, read byte by byte."""
    size = sample_bytes(message.encoding)
    start = row * message.step + place * size
    order = "big" if message.is_bigendian else "little"
    return int.from_bytes(message.data[start : start + size], order)


def interleaved(message: Any) -> np.ndarray:
    count, where = COUNTS[message.encoding], CHANNELS[message.encoding]
    unit = 257 if sample_bytes(message.encoding) == 2 else 1
    out = np.zeros((message.height, message.width, 3), np.uint8)
    for i in range(message.height):
        for j in range(message.width):
            for k in range(3):
                out[i, j, k] = round(sample(message, i, j * count + where[k]) / unit)
    return out


def mirrored(index: int, length: int) -> int:
    return -index if index < 0 else 2 * (length - 1) - index if index >= length else index


def bilinear(message: Any, names: str) -> np.ndarray:
    """Return the mean of the nearest of the eight neighbors that have the color."""
    height, width = message.height, message.width
    unit = 257 if sample_bytes(message.encoding) == 2 else 1
    out = np.zeros((height, width, 3), np.uint8)
    for i in range(height):
        for j in range(width):
            for k, color in enumerate("RGB"):
                found: dict[int, list[int]] = {}
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if names[(i + di) % 2 * 2 + (j + dj) % 2] == color:
                            row, column = mirrored(i + di, height), mirrored(j + dj, width)
                            found.setdefault(di * di + dj * dj, []).append(
                                sample(message, row, column)
                            )
                nearest = found[min(found)]
                mean = (2 * sum(nearest) + len(nearest)) // (2 * len(nearest))  # halves up
                out[i, j, k] = round(mean / unit)
    return out


def bt601(y: int, u: int, v: int) -> list[float]:
    """Convert by ITU-R BT.601: analog Y' in [0, 1], Cb and Cr in [-0.5, 0.5], from 8-bit codes."""
    luma, cb, cr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red = luma + 1.402 * cr
    blue = luma + 1.772 * cb
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return [min(255.0, max(0.0, 255 * value)) for value in (red, green, blue)]


def yuv(message: Any, layout: str) -> np.ndarray:
    """Return float RGB ``(H, W, 3)``."""
    out = np.zeros((message.height, message.width, 3))
    for i in range(message.height):
        for pair in range(message.width // 2):
            four = [sample(message, i, 4 * pair + k) for k in range(4)]
            u, v = four[layout.index("U")], four[layout.index("V")]
            lumas = [value for value, name in zip(four, layout, strict=True) if name == "Y"]
            for k in (0, 1):
                out[i, 2 * pair + k] = bt601(lumas[k], u, v)
    return out


def test_references_cover_all_encodings() -> None:
    bayer = {f"bayer_{p}{bits}" for p in BAYER for bits in (8, 16)}
    assert set(ENCODINGS) == set(CHANNELS) | bayer | set(YUV)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize("encoding", CHANNELS)
def test_interleaved_channels(encoding: str, padding: int, big: int) -> None:
    for seed, (height, width) in enumerate(SIZES):
        message = random_message(encoding, height, width, padding, big, seed)
        frame = image_to_rgb(message)
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, interleaved(message))


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER)
def test_bayer(pattern: str, bits: int, padding: int, big: int) -> None:
    for seed, (height, width) in enumerate(SIZES[1:]):
        message = random_message(f"bayer_{pattern}{bits}", height, width, padding, big, seed)
        np.testing.assert_array_equal(image_to_rgb(message), bilinear(message, BAYER[pattern]))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv(encoding: str, padding: int) -> None:
    for seed, (height, width) in enumerate(((1, 2), (3, 6), (5, 10), (16, 32))):
        message = random_message(encoding, height, width, padding, seed=seed)
        frame = image_to_rgb(message).astype(float)
        assert np.abs(frame - yuv(message, YUV[encoding])).max() <= 0.5 + 1e-3


def test_yuv_of_white_black_and_red() -> None:
    data = bytes([128, 235, 128, 16, 90, 81, 240, 81])  # U Y V Y: white and black, then red twice
    frame = image_to_rgb(image("yuv422", data, 1, 4, 8)).astype(int)
    expected = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [255, 0, 0]]
    assert np.abs(frame[0] - expected).max() <= 1  # 81, 90, 240 are themselves rounded


@pytest.mark.parametrize(
    "form",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array("B", data),
        lambda data: np.frombuffer(data, np.uint8),
        lambda data: np.frombuffer(data, np.uint8).reshape(4, -1),
        lambda data: np.repeat(np.frombuffer(data, np.uint8), 2)[::2],
    ],
)
def test_forms_of_data(form: Any) -> None:
    message = random_message("bgr8", 4, 5, 1)
    expected = interleaved(message)
    message.data = form(message.data)
    np.testing.assert_array_equal(image_to_rgb(message), expected)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "mono8"])
def test_views_of_the_message(encoding: str) -> None:
    message = random_message(encoding, 4, 6, 8)
    data = np.frombuffer(bytearray(message.data), np.uint8)
    message.data = data
    assert np.shares_memory(image_to_rgb(message), data)


def test_generic_order() -> None:
    message = random_message("8UC3", 3, 4)
    blue_first, red_first = image_to_rgb(message), image_to_rgb(message, "rgb")
    np.testing.assert_array_equal(blue_first, red_first[..., ::-1])
    with pytest.raises(ValueError, match="generic_order is 'grb'; allowed: bgr, rgb"):
        image_to_rgb(message, "grb")


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgra16", "bayer_rggb16"])
def test_16_bits_are_rounded_as_cv_bridge_does(encoding: str, big: int) -> None:
    values = np.arange(65536, dtype=np.uint16)
    if encoding.startswith("bayer"):
        values = np.repeat(values[::256], 256)  # rows of one value
    count = COUNTS.get(encoding, 1)
    samples = np.repeat(values, count).astype(">u2" if big else "<u2")
    frame = image_to_rgb(image(encoding, samples.tobytes(), 256, 256, 512 * count, big))
    cv_bridge = np.rint(values / 257).reshape(256, 256)
    if encoding.startswith("bayer"):
        assert np.array_equal(frame[::2, ::2, 0], cv_bridge[::2, ::2])  # the red pixels
    else:
        assert np.array_equal(frame, np.dstack([cv_bridge] * 3))


def test_16uc1_is_refused_as_a_possible_depth_map() -> None:
    with pytest.raises(ImageError, match=r"depth maps.*mono16") as caught:
        frame_of(image("16UC1", bytes(12), 2, 3, 6))
    assert caught.value.kind == "encoding"


def test_more_data_than_needed() -> None:
    message = random_message("rgb8", 2, 2)
    expected = interleaved(message)
    message.data += b"more"
    np.testing.assert_array_equal(image_to_rgb(message), expected)


@pytest.mark.parametrize(
    "kind, changes, words",
    [
        ("encoding", {"encoding": "rgb9"}, r"unknown encoding 'rgb9'.*mean 'rgb8'.*mono16.*yuyv"),
        ("encoding", {"encoding": ""}, "available: 8UC1, 8UC3"),
        ("encoding", {"encoding": "32FC1"}, "unknown encoding '32FC1'"),
        ("truncated", {"data": bytes(17)}, "with step 6 needs 18 bytes, but the message has 17"),
        ("truncated", {"data": b""}, "18 bytes, but the message has 0"),
        ("zero_size", {"width": 0}, "0 x 3 pixels"),
        ("zero_size", {"height": 0, "data": b""}, "2 x 0 pixels"),
        ("step", {"step": 5}, "step is 5 bytes, but a row has 6"),
        ("step", {"step": 0}, "step is 0"),
        ("size", {"encoding": "bayer_rggb8", "width": 1}, "Bayer mosaic needs sides of at least 2"),
        ("size", {"encoding": "yuv422", "width": 3}, "the width must be even"),
        ("malformed", {"data": "text" * 9}, "data is str"),
        ("malformed", {"data": [1] * 18}, "data is list"),
        ("malformed", {"data": None}, "data is NoneType"),
    ],
)
def test_bad_images(kind: str, changes: dict[str, Any], words: str) -> None:
    message = image("rgb8", bytes(18), 3, 2, 6)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=words) as caught:
        frame_of(message)
    assert caught.value.kind == kind


def test_neither_kind_of_message() -> None:
    with pytest.raises(ImageError, match="SimpleNamespace is neither"):
        frame_of(SimpleNamespace(ranges=[1.0]))


def test_an_encoder_accepts_the_frames() -> None:
    """Decoded frames may be strided, read-only or mirrored views; ``as_frames`` accepts them."""
    from s2robot.preprocessing.frame_input import as_frames

    for encoding in ("rgb8", "bgr8", "mono16", "bayer_grbg8", "yuv422"):
        frame = image_to_rgb(random_message(encoding, 4, 6, 2))
        np.testing.assert_array_equal(as_frames(frame)[0].numpy(), frame)
