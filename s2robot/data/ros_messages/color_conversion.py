"""Bayer mosaics and YUV 4:2:2 to RGB in NumPy."""

from __future__ import annotations

import numpy as np

RED_AT = {"rggb": (0, 0), "grbg": (0, 1), "gbrg": (1, 0), "bggr": (1, 1)}
"""(row, column) of the first red pixel of each Bayer pattern, named by its first two rows."""

_BESIDE = ((0, -1), (0, 1))
_ABOVE = ((-1, 0), (1, 0))
_CROSS = (*_BESIDE, *_ABOVE)
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))

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
    red_row, red_column = RED_AT[pattern]
    wide = np.uint16 if mosaic.dtype == np.uint8 else np.uint32  # takes the sum of four
    padded = np.pad(mosaic, 1, mode="reflect").astype(wide)
    rgb = np.empty((*mosaic.shape, 3), mosaic.dtype)
    for row in (0, 1):
        for column in (0, 1):
            lattice = _Lattice(padded, mosaic.shape, row, column)
            colors = lattice.colors(row == red_row, column == red_column)
            for channel, values in enumerate(colors):
                rgb[row::2, column::2, channel] = values
    return rgb


class _Lattice:
    """Every second pixel of every second row: pixels of one color, with access to neighbors."""

    def __init__(self, padded: np.ndarray, shape: tuple[int, ...], row: int, column: int) -> None:
        self._padded, self._shape, self._start = padded, shape, (1 + row, 1 + column)

    def _mean(self, offsets: tuple[tuple[int, int], ...]) -> np.ndarray:
        """Return the mean of two or four neighbors."""
        total = self._shifted(*offsets[0]) + self._shifted(*offsets[1])
        for offset in offsets[2:]:
            total += self._shifted(*offset)
        total += len(offsets) // 2
        total >>= len(offsets) // 2
        return total

    def _shifted(self, rows: int, columns: int) -> np.ndarray:
        (first, left), (height, width) = self._start, self._shape
        down = slice(first + rows, 1 + height + rows, 2)
        return self._padded[down, left + columns : 1 + width + columns : 2]

    def colors(self, in_red_row: bool, in_red_column: bool) -> tuple[np.ndarray, ...]:
        """Return red, green and blue ``(h, w)`` of these pixels.

        Args:
            in_red_row: whether the pixels lie in rows with red pixels.
            in_red_column: whether the pixels lie in columns with red pixels.
        """
        own = self._shifted(0, 0)
        if in_red_row != in_red_column:  # a green pixel, red beside it or above it
            beside, above = self._mean(_BESIDE), self._mean(_ABOVE)
            red, blue = (beside, above) if in_red_row else (above, beside)
            return red, own, blue
        other = self._mean(_CORNERS)
        red, blue = (own, other) if in_red_row else (other, own)
        return red, self._mean(_CROSS), blue


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
    pairs = rows.reshape(height, width // 2, 4)
    y, chroma = (0, 1) if luma_first else (1, 0)
    u = pairs[..., chroma].astype(np.int32) - 128  # (H, W / 2)
    v = pairs[..., chroma + 2].astype(np.int32) - 128
    offsets = (
        _scaled(_RED_OF_V) * v,
        -_scaled(_GREEN_OF_U) * u - _scaled(_GREEN_OF_V) * v,
        _scaled(_BLUE_OF_U) * u,
    )
    rgb = np.empty((height, width, 3), np.uint8)
    for place in (0, 1):
        luma = _scaled(_Y_GAIN) * (pairs[..., y + 2 * place].astype(np.int32) - 16)
        luma += 1 << (_SHIFT - 1)
        for channel, offset in enumerate(offsets):
            values = luma + offset
            values >>= _SHIFT
            rgb[:, place::2, channel] = np.clip(values, 0, 255, out=values)
    return rgb


def _scaled(factor: float) -> int:
    return round(factor * (1 << _SHIFT))
