"""Bayer mosaics and YUV 4:2:2 to RGB, against the definitions written out pixel by pixel."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from s2robot.data.ros_messages.color_conversion import RED_AT, demosaic, yuv422_to_rgb
from s2robot.data.ros_messages.images import image_to_rgb

SIDES = (2, 3, 4, 5, 8, 9)
BLOCK_EDGES = (63, 64, 65, 66, 127, 128, 129, 130)
"""Heights about the rows that are converted at once."""


def demosaiced(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """The mean of the nearest pixels of each color, halves rounded up, borders mirrored."""
    height, width = mosaic.shape
    red_row, red_column = RED_AT[pattern]
    padded = np.pad(mosaic.astype(np.int64), 1, mode="reflect")
    rgb = np.empty((height, width, 3), mosaic.dtype)
    for row in range(height):
        for column in range(width):
            near = padded[row : row + 3, column : column + 3]
            rows = (np.arange(row - 1, row + 2) - red_row)[:, None] % 2
            columns = (np.arange(column - 1, column + 2) - red_column)[None] % 2
            kinds = rows + columns  # 0 red, 1 green, 2 blue
            for channel in range(3):
                if kinds[1, 1] == channel:
                    rgb[row, column, channel] = near[1, 1]
                    continue
                same = kinds == channel
                if channel == 1:  # of a cross, not of corners
                    same = same & np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
                count = int(same.sum())
                rgb[row, column, channel] = (2 * near[same].sum() + count) // (2 * count)
    return rgb


def bt601(rows: np.ndarray, luma_first: bool) -> np.ndarray:
    """Integer arithmetic over 2**20, by the numbers of the recommendation."""
    pairs = rows.reshape(len(rows), -1, 4).astype(np.int64)
    order = [0, 2, 1, 3] if luma_first else [1, 3, 0, 2]
    left, right, u, v = (pairs[..., i] for i in order)
    y = np.stack([left, right], -1).reshape(len(rows), -1) - 16
    u, v = (np.repeat(each, 2, axis=1) - 128 for each in (u, v))
    one = 1 << 20
    gain, red_of_v, blue_of_u = (
        round(f * one) for f in (255 / 219, 1.402 * 255 / 224, 1.772 * 255 / 224)
    )
    green_of_v = round(1.402 * 255 / 224 * 0.299 / 0.587 * one)
    green_of_u = round(1.772 * 255 / 224 * 0.114 / 0.587 * one)
    sums = (red_of_v * v, -green_of_u * u - green_of_v * v, blue_of_u * u)
    planes = [(gain * y + each + one // 2) >> 20 for each in sums]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


def random_or_extreme(rng: np.random.Generator, shape: tuple[int, int], kind: type) -> np.ndarray:
    """Noise, in half of the cases only of the least and the largest value."""
    most = np.iinfo(kind).max
    if rng.random() < 0.5:
        return rng.choice(np.array([0, most], kind), shape)
    return rng.integers(0, most, shape, kind, endpoint=True)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("pattern", list(RED_AT))
def test_mosaics_of_all_sizes(pattern: str, kind: type) -> None:
    rng = np.random.default_rng(0)
    shapes = [(h, w) for h in SIDES for w in SIDES] + [(h, 5) for h in BLOCK_EDGES]
    for shape in shapes:
        mosaic = random_or_extreme(rng, shape, kind)
        found = demosaic(mosaic, pattern)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, demosaiced(mosaic, pattern), str(shape))


@pytest.mark.parametrize("luma_first", [False, True])
def test_yuv_of_all_sizes(luma_first: bool) -> None:
    rng = np.random.default_rng(1)
    for height in (1, *SIDES, *BLOCK_EDGES):
        for width in (2, 4, 6, 10, 66):
            rows = random_or_extreme(rng, (height, 2 * width), np.uint8)
            kept = rows.copy()
            found = yuv422_to_rgb(rows, luma_first)
            np.testing.assert_array_equal(found, bt601(rows, luma_first), str((height, width)))
            np.testing.assert_array_equal(rows, kept)


@pytest.mark.parametrize("u", [0, 1, 127, 128, 255])
def test_yuv_of_all_values(u: int) -> None:
    """Every luma with every V, for some U."""
    y, v = np.meshgrid(np.arange(256), np.arange(256))
    rows = np.stack([y, np.full_like(y, u), 255 - y, v], -1).reshape(256, -1).astype(np.uint8)
    np.testing.assert_array_equal(yuv422_to_rgb(rows, True), bt601(rows, True))


@pytest.mark.parametrize("encoding", ["bayer_gbrg8", "bayer_rggb16", "uyvy", "yuyv"])
@pytest.mark.parametrize("padding", [1, 7])
def test_padded_rows(encoding: str, padding: int) -> None:
    """Rows that begin at odd addresses, as a driver may pad them."""
    rng = np.random.default_rng(2)
    height, width = 66, 10
    row_bytes = width * (1 if encoding == "bayer_gbrg8" else 2)
    plain = rng.integers(0, 256, (height, row_bytes), np.uint8)
    padded = np.pad(plain, ((0, 0), (0, padding)), constant_values=255)
    frames = [
        image_to_rgb(
            SimpleNamespace(
                height=height,
                width=width,
                encoding=encoding,
                is_bigendian=0,
                step=rows.shape[1],
                data=rows.tobytes(),
            )
        )
        for rows in (plain, padded)
    ]
    np.testing.assert_array_equal(frames[0], frames[1])
