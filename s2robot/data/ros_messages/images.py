"""Camera messages of ROS 1 and ROS 2 to RGB frames, by their attributes alone.

cv_bridge is not used: Debian's ignores ``step``, so that padded rows come out wrong, and breaks
with NumPy 2. Frames are views of the message's own memory where its layout allows, so a message
must not be changed while its frame is in use; no ROS client library does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from s2robot.data.ros_messages.color_conversion import RED_AT, demosaic, yuv422_to_rgb
from s2robot.errors import unknown

ORDERS = ("bgr", "rgb")
_CONTAINERS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG"}


class ImageError(ValueError):
    """A camera message that gives no frame; ``kind`` is one word to count it under."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class _Layout:
    """How the pixels of an encoding lie in a row."""

    pixel_bytes: int
    convert: Callable[[np.ndarray, _Picture], np.ndarray]
    """Rows ``(H, W · pixel_bytes)`` uint8 to RGB."""
    least_side: int = 1
    even_width: bool = False


@dataclass(frozen=True)
class _Picture:
    """What else a conversion has to know of the message."""

    height: int
    width: int
    bigendian: bool
    generic_order: str


def _channels(order: str, sample_bytes: int = 1) -> _Layout:
    """Interleaved samples; ``order`` is "rgb", "bgra", ..., or "generic" for OpenCV's type names.

    Of 16-bit samples the upper byte is taken.
    """
    count = {"grey": 1, "generic": 3, "generica": 4}.get(order, len(order))

    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        samples = rows.reshape(picture.height, picture.width, count, sample_bytes)
        values = samples[..., 0 if picture.bigendian else sample_bytes - 1]  # (H, W, count)
        if count == 1:
            return np.broadcast_to(values, (picture.height, picture.width, 3))
        named = picture.generic_order if order.startswith("generic") else order
        return values[..., 2::-1] if named.startswith("bgr") else values[..., :3]

    return _Layout(count * sample_bytes, convert)


def _bayer(pattern: str, sample_bytes: int = 1) -> _Layout:
    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        if sample_bytes == 1:
            return demosaic(rows, pattern)
        samples = np.ascontiguousarray(rows).view(">u2" if picture.bigendian else "<u2")
        return (demosaic(samples.astype(np.uint16), pattern) >> 8).astype(np.uint8)

    return _Layout(sample_bytes, convert, least_side=2)


def _yuv(luma_first: bool) -> _Layout:
    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        del picture
        return yuv422_to_rgb(np.ascontiguousarray(rows), luma_first)

    return _Layout(2, convert, even_width=True)


_LAYOUTS = {
    **{order + "8": _channels(order) for order in ("rgb", "bgr", "rgba", "bgra")},
    **{order + "16": _channels(order, 2) for order in ("rgb", "bgr", "rgba", "bgra")},
    "mono8": _channels("grey"),
    "mono16": _channels("grey", 2),
    "8UC1": _channels("grey"),
    "8UC3": _channels("generic"),
    "8UC4": _channels("generica"),
    "16UC1": _channels("grey", 2),
    **{f"bayer_{pattern}8": _bayer(pattern) for pattern in RED_AT},
    **{f"bayer_{pattern}16": _bayer(pattern, 2) for pattern in RED_AT},
    "yuv422": _yuv(luma_first=False),
    "uyvy": _yuv(luma_first=False),
    "yuv422_yuy2": _yuv(luma_first=True),
    "yuyv": _yuv(luma_first=True),
}
ENCODINGS = tuple(_LAYOUTS)
"""Values of ``sensor_msgs/Image.encoding`` that ``image_to_rgb`` takes."""


def frame_of(message: Any, generic_order: str = "bgr") -> np.ndarray:
    """The frame of an Image or a CompressedImage, told apart by their attributes.

    See ``image_to_rgb`` and ``compressed_to_rgb``.

    Raises:
        ImageError: there is no frame to be had from it.
    """
    try:
        if hasattr(message, "encoding"):
            return image_to_rgb(message, generic_order)
        if hasattr(message, "format"):
            return compressed_to_rgb(message)
    except (AttributeError, TypeError) as error:  # an attribute is missing or is no number
        raise ImageError("malformed", f"{type(message).__name__}: {error}") from error
    raise ImageError(
        "malformed",
        f"{type(message).__name__} is neither sensor_msgs/Image (it has no attribute 'encoding') "
        "nor sensor_msgs/CompressedImage (no 'format'); check the topic's type",
    )


def image_to_rgb(message: Any, generic_order: str = "bgr") -> np.ndarray:
    """The frame of a ``sensor_msgs/Image``.

    Rows may be padded (``step``). Of 16-bit samples the upper byte is kept (``>> 8``); cv_bridge
    rounds ``value / 257`` instead, a level higher at most. 16UC1 is most often depth in
    millimetres: it is taken, as grey, but no encoder was trained on that. YUV is BT.601 in its
    limited range. Alpha is dropped.

    Args:
        message: with height, width, encoding, is_bigendian, step, and data of bytes.
        generic_order: "bgr", as OpenCV lays colours, or "rgb": of 8UC3 and 8UC4, which do not say.

    Returns:
        ``(H, W, 3)`` uint8 RGB. For interleaved channels and grey a read-only or strided view.

    Raises:
        ImageError: the message cannot be one; kinds "encoding", "zero_size", "size", "step",
            "truncated", "malformed".
        ValueError: ``generic_order`` is neither.
    """
    if generic_order not in ORDERS:
        raise ValueError(f"generic_order is {generic_order!r}; allowed: {', '.join(ORDERS)}")
    layout = _layout(message.encoding)
    height, width = _size(message, layout)
    rows = _rows(message, height, width * layout.pixel_bytes)
    picture = _Picture(height, width, bool(message.is_bigendian), generic_order)
    return layout.convert(rows, picture)


def _layout(encoding: str) -> _Layout:
    if encoding in _LAYOUTS:
        return _LAYOUTS[encoding]
    raise ImageError("encoding", str(unknown("encoding", encoding, ENCODINGS)))


def _size(message: Any, layout: _Layout) -> tuple[int, int]:
    height, width = int(message.height), int(message.width)
    found = f"{message.encoding} image of {width} x {height} pixels"
    if height < 1 or width < 1:
        raise ImageError("zero_size", f"{found}; width and height must be 1 or more")
    if min(height, width) < layout.least_side:
        raise ImageError("size", f"{found}; a Bayer mosaic has {layout.least_side} a side at least")
    if layout.even_width and width % 2:
        raise ImageError("size", f"{found}; pixels share chroma in pairs: the width must be even")
    return height, width


def _rows(message: Any, height: int, row_bytes: int) -> np.ndarray:
    """The rows without their padding, ``(H, row_bytes)`` uint8, as a view where possible."""
    step, data = int(message.step), _bytes_of(message.data)
    found = f"{message.encoding} image of {int(message.width)} x {height} pixels"
    if step < row_bytes:
        raise ImageError(
            "step", f"{found}: step is {step} bytes, but a row has {row_bytes}; mend the driver"
        )
    if len(data) < step * height:
        raise ImageError(
            "truncated",
            f"{found} with step {step} has {step * height} bytes, but the message {len(data)}",
        )
    return data[: step * height].reshape(height, step)[:, :row_bytes]


def _bytes_of(data: Any) -> np.ndarray:
    """Any buffer as uint8 ``(N,)``, without a copy where it lies in one piece."""
    try:
        if isinstance(data, np.ndarray):
            return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        return np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
    except (TypeError, ValueError) as error:
        raise ImageError(
            "malformed",
            f"data is {type(data).__name__}, not bytes, bytearray, memoryview, array or ndarray "
            f"({error})",
        ) from None


def compressed_to_rgb(message: Any) -> np.ndarray:
    """The frame of a ``sensor_msgs/CompressedImage``: JPEG or PNG, colours or grey.

    ``format`` is as image_transport writes it ("jpeg", "bgr8; jpeg compressed bgr8", ...). The
    container is told by the data's first bytes. Where ``format`` ends in an rgb encoding, the
    sender has compressed RGB as if it were BGR, and red and blue change places.

    Returns:
        ``(H, W, 3)`` uint8 RGB. Of 16-bit grey the upper byte.

    Raises:
        ImageError: kinds "encoding" (depth, a raw mosaic, another container), "truncated",
            "malformed".
    """
    form = str(message.format)
    target = form.partition("compressed")[2].strip()
    if target.startswith(("Depth", "bayer")):
        raise ImageError(
            "encoding",
            f"CompressedImage of format {form!r}; allowed: JPEG and PNG of colours, grey",
        )
    data = bytes(_bytes_of(message.data))
    container = next((name for head, name in _CONTAINERS.items() if data.startswith(head)), None)
    if not data:
        raise ImageError("truncated", f"CompressedImage of format {form!r} without any data")
    if container is None:
        raise ImageError(
            "encoding",
            f"CompressedImage of format {form!r}: its data begins with {data[:4].hex(' ')}, which "
            "is neither JPEG nor PNG; allowed: those two",
        )
    frame = _decoded(data, container, form)
    return frame[..., ::-1] if target.startswith("rgb") else frame


def _decoded(data: bytes, container: str, form: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=(container,)) as picture:
            if picture.mode.startswith("I"):  # 16-bit grey; convert("RGB") would clip it
                gray = (np.asarray(picture) >> 8).astype(np.uint8)
                return np.broadcast_to(gray[..., None], (*gray.shape, 3))
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        kind = "truncated" if "truncated" in str(error).lower() else "malformed"
        raise ImageError(
            kind,
            f"CompressedImage of format {form!r}: {len(data)} bytes of {container} cannot be "
            f"decoded ({error})",
        ) from error
