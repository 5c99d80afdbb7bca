"""Conversion of camera messages of ROS 1 and ROS 2 to RGB frames, by their attributes alone.

cv_bridge is not used: Debian's version ignores ``step``, so padded rows are decoded wrongly, and it
fails with NumPy 2. Where the layout allows it, a frame is a view of the message's memory, so the
message must not be changed while its frame is in use; no ROS client library changes it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from s2robot.data.ros_messages.color_conversion import RED_AT, demosaic, yuv422_to_rgb
from s2robot.data.ros_messages.message_error import MessageError
from s2robot.errors import CorruptFileError, unknown
from s2robot.preprocessing.picture_files import (
    DEEP_GRAY,
    PictureError,
    read_picture,
    to_8_bits,
)

ORDERS = ("bgr", "rgb")
_CONTAINERS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG"}


class ImageError(MessageError):
    """Camera message that cannot be decoded to a frame."""


@dataclass(frozen=True)
class _Layout:
    """Layout of an encoding's pixels in a row."""

    pixel_bytes: int
    convert: Callable[[np.ndarray, _Picture], np.ndarray]
    """Converts rows ``(H, W · pixel_bytes)`` uint8 to RGB."""
    least_side: int = 1
    even_width: bool = False


@dataclass(frozen=True)
class _Picture:
    """Attributes of the message that a conversion needs besides the rows."""

    height: int
    width: int
    bigendian: bool
    generic_order: str


def _channels(order: str, sample_bytes: int = 1) -> _Layout:
    """Return the layout of interleaved samples.

    ``order`` is "rgb", "bgra", ..., or "generic" for OpenCV's type names.
    """
    count = {"gray": 1, "generic": 3, "generica": 4}.get(order, len(order))

    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        samples = rows if sample_bytes == 1 else to_8_bits(_16_bits(rows, picture.bigendian))
        values = samples.reshape(picture.height, picture.width, count)
        if count == 1:
            return np.broadcast_to(values, (picture.height, picture.width, 3))
        named = picture.generic_order if order.startswith("generic") else order
        return values[..., 2::-1] if named.startswith("bgr") else values[..., :3]

    return _Layout(count * sample_bytes, convert)


def _16_bits(rows: np.ndarray, bigendian: bool) -> np.ndarray:
    """Return rows of bytes ``(H, 2 · N)`` as ``(H, N)`` uint16."""
    return np.ascontiguousarray(rows).view(">u2" if bigendian else "<u2").astype(np.uint16)


def _bayer(pattern: str, sample_bytes: int = 1) -> _Layout:
    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        if sample_bytes == 1:
            return demosaic(rows, pattern)
        return to_8_bits(demosaic(_16_bits(rows, picture.bigendian), pattern))

    return _Layout(sample_bytes, convert, least_side=2)


def _yuv(luma_first: bool) -> _Layout:
    def convert(rows: np.ndarray, picture: _Picture) -> np.ndarray:
        del picture
        return yuv422_to_rgb(rows, luma_first)

    return _Layout(2, convert, even_width=True)


_LAYOUTS = {
    **{order + "8": _channels(order) for order in ("rgb", "bgr", "rgba", "bgra")},
    **{order + "16": _channels(order, 2) for order in ("rgb", "bgr", "rgba", "bgra")},
    "mono8": _channels("gray"),
    "mono16": _channels("gray", 2),
    "8UC1": _channels("gray"),
    "8UC3": _channels("generic"),
    "8UC4": _channels("generica"),
    **{f"bayer_{pattern}8": _bayer(pattern) for pattern in RED_AT},
    **{f"bayer_{pattern}16": _bayer(pattern, 2) for pattern in RED_AT},
    "yuv422": _yuv(luma_first=False),
    "uyvy": _yuv(luma_first=False),
    "yuv422_yuy2": _yuv(luma_first=True),
    "yuyv": _yuv(luma_first=True),
}
ENCODINGS = tuple(_LAYOUTS)
"""Values of ``sensor_msgs/Image.encoding`` that ``image_to_rgb`` accepts."""


def frame_of(message: Any, generic_order: str = "bgr") -> np.ndarray:
    """Return the frame of an Image or a CompressedImage, which differ in their attributes.

    Args:
        message: see ``image_to_rgb`` and ``compressed_to_rgb``.
        generic_order: see ``image_to_rgb``.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ImageError: the message cannot be decoded.

    Examples:
        >>> from types import SimpleNamespace
        >>> message = SimpleNamespace(
        ...     height=1, width=2, encoding="bgr8", is_bigendian=0, step=6, data=bytes(range(6))
        ... )
        >>> frame_of(message).tolist()
        [[[2, 1, 0], [5, 4, 3]]]
    """
    try:
        if hasattr(message, "encoding"):
            return image_to_rgb(message, generic_order)
        if hasattr(message, "format"):
            return compressed_to_rgb(message)
    except (AttributeError, TypeError) as error:  # an attribute is missing or is not a number
        raise ImageError("malformed", f"{type(message).__name__}: {error}") from error
    raise ImageError(
        "malformed",
        f"{type(message).__name__} is neither sensor_msgs/Image (it has no attribute 'encoding') "
        "nor sensor_msgs/CompressedImage (no 'format'); check the topic's type",
    )


def image_to_rgb(message: Any, generic_order: str = "bgr") -> np.ndarray:
    """Return the frame of a ``sensor_msgs/Image``.

    Rows may be padded (``step``). 16-bit samples are divided by 257 and rounded, as cv_bridge does.
    16UC1 is refused, as it is most often depth in millimeters. YUV is BT.601 in its limited range.
    The fourth channel of cameras is not used: many leave 0 in it, which is not transparency.

    Args:
        message: object with height, width, encoding, is_bigendian, step, and data of bytes.
        generic_order: order of the channels of 8UC3 and 8UC4, whose names do not define it: "bgr",
            as in OpenCV, or "rgb".

    Returns:
        ``(H, W, 3)`` uint8 RGB; for 8-bit channels and gray a read-only or strided view.

    Raises:
        ImageError: the message is not a valid image; the kinds are "encoding", "zero_size", "size",
            "step", "truncated" and "malformed".
        ValueError: ``generic_order`` has another value.

    Examples:
        >>> from types import SimpleNamespace
        >>> message = SimpleNamespace(
        ...     height=1, width=2, encoding="mono8", is_bigendian=0, step=2, data=bytes([7, 9])
        ... )
        >>> image_to_rgb(message).tolist()
        [[[7, 7, 7], [9, 9, 9]]]
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
    if encoding == "16UC1":
        raise ImageError("encoding", f"the image is {DEEP_GRAY}, or publish it as mono16 (16UC1)")
    raise ImageError("encoding", str(unknown("encoding", encoding, ENCODINGS)))


def _size(message: Any, layout: _Layout) -> tuple[int, int]:
    height, width = int(message.height), int(message.width)
    found = f"{message.encoding} image of {width} x {height} pixels"
    if height < 1 or width < 1:
        raise ImageError("zero_size", f"{found}; width and height must be at least 1")
    if min(height, width) < layout.least_side:
        raise ImageError(
            "size", f"{found}; a Bayer mosaic needs sides of at least {layout.least_side}"
        )
    if layout.even_width and width % 2:
        raise ImageError(
            "size", f"{found}; the width must be even, as pairs of pixels share chroma"
        )
    return height, width


def _rows(message: Any, height: int, row_bytes: int) -> np.ndarray:
    """Return the rows without their padding, ``(H, row_bytes)`` uint8, as a view if possible."""
    step, data = int(message.step), _bytes_of(message.data)
    found = f"{message.encoding} image of {int(message.width)} x {height} pixels"
    if step < row_bytes:
        raise ImageError(
            "step", f"{found}: step is {step} bytes, but a row has {row_bytes}; fix the driver"
        )
    if len(data) < step * height:
        raise ImageError(
            "truncated",
            f"{found} with step {step} needs {step * height} bytes, but the message has "
            f"{len(data)}",
        )
    return data[: step * height].reshape(height, step)[:, :row_bytes]


def _bytes_of(data: Any) -> np.ndarray:
    """Return a buffer as uint8 ``(N,)``, without a copy if it is contiguous."""
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
    """Return the frame of a ``sensor_msgs/CompressedImage``: JPEG or PNG, in color or gray.

    ``format`` is as image_transport writes it ("jpeg", "bgr8; jpeg compressed bgr8", ...). The
    first bytes of the data identify the container. If ``format`` ends in an rgb encoding, the
    sender compressed RGB as if it were BGR, so red and blue are exchanged. If it begins with a
    Bayer encoding and names none that it was converted to ("bayer_rggb8; jpeg compressed "), the
    picture is the mosaic itself, which looks like a gray picture. The picture is read as
    one from a file (``read_picture``): an orientation in its metadata is applied, transparency is
    refused. 16-bit gray is accepted only where ``format`` begins with mono16.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        ImageError: the message cannot be decoded; the kinds are "encoding" (depth, transparency, a
            raw mosaic, another container), "truncated" and "malformed".
    """
    form = str(message.format)
    target = form.partition("compressed")[2].strip()
    if target.startswith(("Depth", "bayer")) or (form.startswith("bayer") and not target):
        what = "of depth" if target.startswith("Depth") else "of a raw Bayer mosaic"
        raise ImageError(
            "encoding",
            f"CompressedImage of format {form!r}, {what}; allowed: JPEG and PNG of color or gray, "
            "such as those of a topic in color; the mosaic itself is read from sensor_msgs/Image",
        )
    data = bytes(_bytes_of(message.data))
    container = next((name for head, name in _CONTAINERS.items() if data.startswith(head)), None)
    if not data:
        raise ImageError("truncated", f"CompressedImage of format {form!r} without any data")
    if container is None:
        raise ImageError(
            "encoding",
            f"CompressedImage of format {form!r}: its data begins with {data[:4].hex(' ')}, which "
            "is neither JPEG nor PNG; only these two are allowed",
        )
    frame = _decoded(data, container, form)
    return frame[..., ::-1] if target.startswith("rgb") else frame


def _decoded(data: bytes, container: str, form: str) -> np.ndarray:
    try:
        if form.startswith("mono16") and container == "PNG":
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                if picture.mode.startswith("I"):
                    gray = to_8_bits(np.asarray(picture).astype(np.uint16))
                    return np.broadcast_to(gray[..., None], (*gray.shape, 3))
        return read_picture(data)
    except PictureError as error:
        raise ImageError("encoding", f"CompressedImage of format {form!r}: {error}") from None
    except (CorruptFileError, OSError, SyntaxError, ValueError) as error:
        kind = "truncated" if "truncated" in str(error).lower() else "malformed"
        raise ImageError(
            kind,
            f"CompressedImage of format {form!r}: {len(data)} bytes of {container} cannot be "
            f"decoded ({error})",
        ) from error
