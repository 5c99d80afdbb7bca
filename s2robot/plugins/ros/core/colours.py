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
    """Bilinear demosaicing: a colour missing at a pixel is the mean of its nearest neighbours.

    Borders continue by mirroring, which keeps the pattern. Means are rounded, halves up.

    Args:
        mosaic: ``(H, W)`` uint8 or uint16, both sides 2 or more.
        pattern: "rggb", "bggr", "gbrg" or "grbg".

    Returns:
        ``(H, W, 3)`` RGB of the same type.
    """
    red_row, red_column = RED_AT[pattern]
    padded = np.pad(mosaic, 1, mode="reflect").astype(np.uint32)
    rgb = np.empty((*mosaic.shape, 3), mosaic.dtype)
    for row in (0, 1):
        for column in (0, 1):
            lattice = _Lattice(padded, mosaic.shape, row, column)
            at_red = (row == red_row, column == red_column)
            rgb[row::2, column::2] = lattice.colours(*at_red)
    return rgb


class _Lattice:
    """Every second pixel of every second row: all of one colour, with its neighbours."""

    def __init__(self, padded: np.ndarray, shape: tuple[int, ...], row: int, column: int) -> None:
        self._padded, self._shape, self._start = padded, shape, (1 + row, 1 + column)

    def _mean(self, offsets: tuple[tuple[int, int], ...]) -> np.ndarray:
        total = np.sum([self._shifted(*offset) for offset in offsets], axis=0)
        return (total + len(offsets) // 2) // len(offsets)

    def _shifted(self, rows: int, columns: int) -> np.ndarray:
        (first, left), (height, width) = self._start, self._shape
        down = slice(first + rows, 1 + height + rows, 2)
        return self._padded[down, left + columns : 1 + width + columns : 2]

    def colours(self, in_red_row: bool, in_red_column: bool) -> np.ndarray:
        """RGB ``(h, w, 3)`` of these pixels, given how they lie to the red ones."""
        own = self._shifted(0, 0)
        if in_red_row != in_red_column:  # a green pixel, red beside it or above it
            beside, above = self._mean(_BESIDE), self._mean(_ABOVE)
            red, blue = (beside, above) if in_red_row else (above, beside)
            return np.stack([red, own, blue], axis=-1)
        other = self._mean(_CORNERS)
        red, blue = (own, other) if in_red_row else (other, own)
        return np.stack([red, self._mean(_CROSS), blue], axis=-1)


def yuv422_to_rgb(rows: np.ndarray, luma_first: bool) -> np.ndarray:
    """YUV 4:2:2 to RGB by BT.601, Y in 16-235 and U, V in 16-240 about 128.

    A pair of pixels shares its chroma. The numbers are cv_bridge's to a level.

    Args:
        rows: ``(H, 2 · W)`` uint8, W even: U Y V Y a pair of pixels, or Y U Y V.
        luma_first: whether it is Y U Y V.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    height, width = rows.shape[0], rows.shape[1] // 2
    pairs = rows.reshape(height, width // 2, 4).astype(np.int32)
    y, chroma = (0, 1) if luma_first else (1, 0)
    u, v = pairs[..., chroma] - 128, pairs[..., chroma + 2] - 128
    offsets = np.stack(
        [
            _scaled(_RED_OF_V) * v,
            -_scaled(_GREEN_OF_U) * u - _scaled(_GREEN_OF_V) * v,
            _scaled(_BLUE_OF_U) * u,
        ],
        axis=-1,
    )  # (H, W / 2, 3)
    offsets += 1 << (_SHIFT - 1)
    luma = _scaled(_Y_GAIN) * (pairs[..., y::2] - 16)  # (H, W / 2, 2)
    rgb = luma[..., None] + offsets[:, :, None]  # (H, W / 2, 2, 3)
    rgb >>= _SHIFT
    return rgb.clip(0, 255).astype(np.uint8).reshape(height, width, 3)


def _scaled(factor: float) -> int:
    return round(factor * (1 << _SHIFT))
