"""Frames as cameras send them: RGB, a Bayer mosaic, or YUV 4:2:2."""

from __future__ import annotations

from typing import Any

import numpy as np

ENCODINGS = ("rgb8", "bayer_rggb8", "yuv422_yuy2")


def image_fields(frame: np.ndarray, encoding: str = "rgb8") -> dict[str, Any]:
    """Return the fields of a ``sensor_msgs/Image`` but the header.

    Args:
        frame: (H, W, 3) uint8 RGB; of YUV, W is even.
        encoding: one of ``ENCODINGS``.
    """
    height, width, _ = frame.shape
    rows = _ROWS[encoding](frame)
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": 0,
        "step": rows.size // height,
        "data": rows.tobytes(),
    }


def _mosaic(frame: np.ndarray) -> np.ndarray:
    """Red, green, green, blue: each pixel keeps one of its colors."""
    mosaic = frame[..., 1].copy()
    mosaic[0::2, 0::2] = frame[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = frame[1::2, 1::2, 2]
    return mosaic


def _yuy2(frame: np.ndarray) -> np.ndarray:
    """Y U Y V, by BT.601 in its limited range; a pair has the chroma of its first pixel."""
    red, green, blue = np.moveaxis(frame.astype(float), -1, 0)
    y = 16 + 219 / 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
    luma = (y - 16) * 255 / 219
    rows = np.empty((*frame.shape[:2], 2), np.uint8)
    rows[..., 0] = y.round()
    rows[:, 0::2, 1] = (128 + 224 / 255 * (blue - luma) / 1.772).round()[:, 0::2]
    rows[:, 1::2, 1] = (128 + 224 / 255 * (red - luma) / 1.402).round()[:, 0::2]
    return rows


_ROWS = {"rgb8": lambda frame: frame, "bayer_rggb8": _mosaic, "yuv422_yuy2": _yuy2}
