"""Bayer mosaics and YUV 4:2:2 to RGB in NumPy."""

from __future__ import annotations

import numpy as np

RED_AT = {"rggb": (0, 0), "grbg": (0, 1), "gbrg": (1, 0), "bggr": (1, 1)}
"""(row, column) of the first red pixel of each Bayer pattern, named by its first two rows."""

_BLOCK_ROWS = 64
"""Rows that are converted at once, an even number: what they need stays in the cache."""

# BT.601, Y in 16-235 and U, V in 16-240, as integers over 2**20.
_RED, _BLUE = 0.299, 0.114
_SHIFT = 20
_Y_GAIN = 255 / 219
_RED_OF_V = 2 * (1 - _RED) * 255 / 224
_BLUE_OF_U = 2 * (1 - _BLUE) * 255 / 224
_GREEN_OF_V = _RED_OF_V * _RED / (1 - _RED - _BLUE)
_GREEN_OF_U = _BLUE_OF_U * _BLUE / (1 - _RED - _BLUE)


def demosaic(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Convert a Bayer mosaic to RGB by bilinear interpolation.

    A color that a pixel lacks is the mean of the nearest pixels that have it, rounded with halves
    up. Borders are mirrored, which keeps the pattern.

    Args:
        mosaic: ``(H, W)`` uint8 or uint16, both sides at least 2.
        pattern: "rggb", "bggr", "gbrg" or "grbg".

    Returns:
        ``(H, W, 3)`` RGB of the same data type.
    """
    wide = np.uint16 if mosaic.dtype == np.uint8 else np.uint32  # takes the sum of four
    height, width = mosaic.shape
    rgb = np.empty((height, width, 3), mosaic.dtype)
    framed = np.empty((_BLOCK_ROWS + 2, width + 2), wide)
    for top in range(0, height, _BLOCK_ROWS):
        rows = rgb[top : top + _BLOCK_ROWS]
        block = framed[: len(rows) + 2]
        _frame(mosaic, top, block)
        _interpolate(block, RED_AT[pattern], rows)
    return rgb


def _frame(mosaic: np.ndarray, top: int, block: np.ndarray) -> None:
    """Fill ``block`` with rows from ``top`` on and the pixels around them, mirrored at borders."""
    height, end = len(mosaic), top + len(block) - 2
    first, last = max(top - 1, 0), min(end + 1, height)
    block[first - top + 1 : last - top + 1, 1:-1] = mosaic[first:last]
    if top == 0:
        block[0, 1:-1] = mosaic[1]
    if end == height:
        block[-1, 1:-1] = mosaic[height - 2]
    block[:, 0], block[:, -1] = block[:, 2], block[:, -3]


def _interpolate(block: np.ndarray, red_at: tuple[int, int], rgb: np.ndarray) -> None:
    """Convert a framed block ``(h + 2, w + 2)`` whose first row is an even one of the mosaic.

    All means are taken of all pixels, which is faster than of every second one.
    """
    own = block[1:-1, 1:-1]
    pairs = block[:, :-2] + block[:, 2:]
    corners = _mean(pairs[:-2] + pairs[2:], 4)
    beside, above = pairs[1:-1], block[:-2, 1:-1] + block[2:, 1:-1]
    cross = _mean(beside + above, 4)
    beside, above = _mean(beside, 2), _mean(above, 2)
    for row in (0, 1):
        for column in (0, 1):
            in_red_row, in_red_column = row == red_at[0], column == red_at[1]
            if in_red_row != in_red_column:  # a green pixel, red beside it or above it
                colors = (beside, own, above) if in_red_row else (above, own, beside)
            else:
                colors = (own, cross, corners) if in_red_row else (corners, cross, own)
            for channel, values in enumerate(colors):
                rgb[row::2, column::2, channel] = values[row::2, column::2]


def _mean(total: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of two or four values by their sum, which is overwritten."""
    total += count // 2
    total >>= count // 2
    return total


def yuv422_to_rgb(rows: np.ndarray, luma_first: bool) -> np.ndarray:
    """Convert YUV 4:2:2 to RGB by BT.601, with Y in 16-235 and U, V in 16-240 about 128.

    Two neighboring pixels share their chroma. Values differ from cv_bridge's by one level at most.

    Args:
        rows: ``(H, 2 · W)`` uint8 with W even: U Y V Y for each pair of pixels, or Y U Y V.
        luma_first: whether the order is Y U Y V.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    height, width = rows.shape[0], rows.shape[1] // 2
    rgb = np.empty((height, width, 3), np.uint8)
    y, chroma = (0, 1) if luma_first else (1, 0)
    for top in range(0, height, _BLOCK_ROWS):
        part = rows[top : top + _BLOCK_ROWS]
        planes = [part[:, start::4].astype(np.int32) for start in (y, y + 2, chroma, chroma + 2)]
        _convert_yuv(planes, rgb[top : top + _BLOCK_ROWS])
    return rgb


def _convert_yuv(planes: list[np.ndarray], rgb: np.ndarray) -> None:
    """Convert left and right luma, U and V, each ``(h, W / 2)`` int32; they are overwritten."""
    left, right, u, v = planes
    half = (1 << (_SHIFT - 1)) - 16 * _scaled(_Y_GAIN)  # of rounding, and 16 is black
    u -= 128
    v -= 128
    red = _scaled(_RED_OF_V) * v + half
    blue = _scaled(_BLUE_OF_U) * u + half
    u *= -_scaled(_GREEN_OF_U)
    v *= _scaled(_GREEN_OF_V)
    u -= v
    u += half
    values, darkest, brightest = (np.full_like(u, level) for level in (0, 0, 255))
    for place, luma in enumerate((left, right)):
        luma *= _scaled(_Y_GAIN)
        for channel, offset in enumerate((red, u, blue)):
            np.add(luma, offset, out=values)
            np.right_shift(values, _SHIFT, out=values)
            # Arrays of limits, as NumPy has no fast loop for one limit.
            np.maximum(values, darkest, out=values)
            np.minimum(values, brightest, out=values)
            rgb[:, place::2, channel] = values


def _scaled(factor: float) -> int:
    return round(factor * (1 << _SHIFT))
