"""Pictures of any mode, bit depth and orientation to RGB: converted rightly, or refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from s2robot.errors import CorruptFileError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
"""Endings of the files that ``read_picture`` reads."""

READER_VERSION = 2
"""Raised when files give other pixels; part of the keys under which frames are kept."""

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")  # no others: files come from outside
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ORIENTATION = 0x0112
_STEPS = {"L;2": 85, "L;4": 17}  # Pillow scales gray of 2 and 4 bits, but not its transparent value
DEEP_GRAY = (
    "gray of more than 8 bits, as depth maps are; which of its values are black and white is not "
    "known. Scale the range that matters to 0-255 and save it with 8 bits"
)


class PictureError(ValueError):
    """A picture that is whole, but has no certain meaning in RGB."""


def as_rgb(image: Image.Image) -> np.ndarray:
    """Return a picture upright and in RGB.

    The orientation in the metadata (EXIF) is applied. A picture with transparent pixels is refused,
    because their colors depend on the background. Gray of more than 8 bits is refused, because it
    is more often a depth map than a photograph. Color profiles are not applied. A picture with 16
    bits a channel that Pillow opened has lost the lower byte, so its values are up to one level
    below those of ``read_picture``.

    Args:
        image: picture of any mode; of an animated one, the current frame. It is not changed.

    Returns:
        ``(H, W, 3)`` uint8 RGB, a new array.

    Raises:
        PictureError: the picture is transparent, or its mode has no known range of values.

    Examples:
        >>> as_rgb(Image.new("L", (2, 1), 7)).tolist()
        [[[7, 7, 7], [7, 7, 7]]]
    """
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):
        raise PictureError(f"the picture is {DEEP_GRAY} (mode {image.mode})")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        require_opaque(np.asarray(_converted(image, "RGBA"))[..., 3])
    return _upright(np.array(_converted(image, "RGB")), _orientation(image))


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the metadata; 1 if there is none, or none that can be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of many kinds, for metadata that viewers ignore
        return 1
    return found if found in range(2, 9) else 1


def _upright(frame: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a frame; the picture's other metadata is left out, as odd entries stop Pillow."""
    if orientation == 1:
        return frame
    picture = Image.fromarray(frame)
    picture.getexif()[_ORIENTATION] = orientation
    return np.array(ImageOps.exif_transpose(picture))


def _converted(image: Image.Image, mode: str) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)  # from premultiplied
    return image.convert(straight).convert(mode)


def require_opaque(alpha: np.ndarray) -> None:
    """Raise an error unless all values of an alpha channel are 255.

    Args:
        alpha: values of any shape, uint8.

    Raises:
        PictureError: some pixels are transparent.
    """
    if alpha.min() < 255:
        raise PictureError(
            f"the picture is transparent in {np.mean(alpha < 255):.1%} of its pixels, and their "
            "colors depend on the background. Draw it on one first, for example with Pillow: "
            "Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image.convert('RGBA'))"
        )


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Return 16-bit intensities as 8-bit ones: ``value / 257``, rounded.

    Args:
        values: uint16 of any shape; 65535 is the brightest.

    Returns:
        uint8 of the same shape.

    Examples:
        >>> to_8_bits(np.array([0, 128, 129, 65535], dtype=np.uint16)).tolist()
        [0, 0, 1, 255]
    """
    return ((values.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)


def read_picture(path: str | Path | bytes) -> np.ndarray:
    """Return the picture in a file, or in a file's content, upright and in RGB; see ``as_rgb``.

    16 bits a channel become 8 by ``to_8_bits``. Of the pictures in an MPO file, which phones and
    stereo cameras write, the first is returned.

    Args:
        path: a PNG, JPEG, BMP, WebP or GIF file, or its bytes; the content decides, not the
            ending.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        CorruptFileError: the file is truncated or not a picture.
        PictureError: the picture is animated, or ``as_rgb`` refuses it.
    """
    with _opened(path) as image:
        count = _frames_in(image)
        if count > 1:
            raise PictureError(
                f"the picture is animated ({count} frames); read it as a video, or save the frame "
                "that you need"
            )
        return _still(image, path)


def read_animation(path: str | Path) -> Iterator[np.ndarray]:
    """Yield the frames of a GIF, WebP or PNG file as a viewer shows them, or its only picture.

    Args:
        path: the file.

    Yields:
        ``(H, W, 3)`` uint8 RGB, each stored frame once; how long it is shown is ignored.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        CorruptFileError: the file is truncated or not a picture.
        PictureError: ``as_rgb`` refuses a frame.
    """
    with _opened(path) as image:
        count = _frames_in(image)
        if count > 1 and _has_16_bits(image):
            raise PictureError("the picture is animated and has 16 bits a channel; save it with 8")
        first = int(getattr(image, "default_image", False))  # of APNG: for viewers without motion
        cleared = None
        for number in range(first, count):
            image.seek(number)
            _require_whole(image, cleared)
            cleared = _cleared_after(image)
            yield as_rgb(image) if count > 1 else _still(image, path)


def _still(image: ImageFile.ImageFile, path: str | Path | bytes) -> np.ndarray:
    return as_rgb(_rounded(image, path) if _has_16_bits(image) else image)


@contextmanager
def _opened(path: str | Path | bytes) -> Iterator[ImageFile.ImageFile]:
    """Open a picture, not decoded yet; errors of the block name the file."""
    name = f"a file of {len(path)} bytes" if isinstance(path, bytes) else str(path)
    if not isinstance(path, bytes) and not Path(path).exists():
        raise FileNotFoundError(f"there is no picture {path}")
    if not isinstance(path, bytes) and Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of one picture")
    try:
        with _file(path) as file, Image.open(file, formats=_FORMATS) as image:
            _check_header(image, file)
            yield image
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from None
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise CorruptFileError(
            f"{name} cannot be read as a picture ({error}); it must be a whole file of "
            f"{', '.join(_FORMATS)}"
        ) from None


def _file(path: str | Path | bytes) -> IO[bytes]:
    return io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb")


def _check_header(image: ImageFile.ImageFile, file: IO[bytes]) -> None:
    """Refuse or mend what Pillow decodes wrongly without an error."""
    if image.format == "GIF":
        place = file.tell()
        file.seek(-min(file.seek(0, os.SEEK_END), 64), os.SEEK_END)
        if not file.read().rstrip(b"\0").endswith(b";"):
            raise OSError("the mark of its end is missing")
        file.seek(place)
        _require_whole(image, (0, 0, *image.size))
    key = image.info.get("transparency")
    if image.format == "PNG" and isinstance(key, int):
        image.info["transparency"] = key * _STEPS.get(_raw(image), 1)


def _require_whole(image: Any, empty: tuple[int, ...] | None) -> None:
    """Refuse a frame of a GIF that leaves a part of an empty rectangle as it is.

    Pillow fills it with the color of an index; viewers show what is behind the picture.
    """
    if empty is None:
        return
    left, top, right, bottom = image.dispose_extent
    if left > empty[0] or top > empty[1] or right < empty[2] or bottom < empty[3]:
        raise PictureError(
            f"frame {image.tell()} (counted from 0) leaves a part of the picture empty, and what "
            "it shows depends on the background; save whole frames"
        )


def _cleared_after(image: Any) -> tuple[int, ...] | None:
    """Return the rectangle that is empty when the next frame of a GIF is drawn, or None."""
    method = getattr(image, "disposal_method", 0)
    emptied = method == 2 or (method == 3 and image.tell() == 0)  # 3: as before this frame
    return image.dispose_extent if emptied else None


def _frames_in(image: ImageFile.ImageFile) -> int:
    """Return the number of frames; of formats without motion, 1."""
    return getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP", "GIF") else 1


def _has_16_bits(image: ImageFile.ImageFile) -> bool:
    """Return whether a picture that is not decoded yet has color of 16 bits a channel."""
    return image.format == "PNG" and image.mode in ("RGB", "RGBA") and _raw(image).endswith("16B")


def _raw(image: ImageFile.ImageFile) -> str:
    """Return how the file stores its samples, or "" if the picture is decoded already."""
    return str(image.tile[0][3]) if image.tile else ""


def _rounded(image: ImageFile.ImageFile, path: str | Path | bytes) -> Image.Image:
    """Return a picture of 16 bits a channel with 8; Pillow itself drops the lower byte."""
    if _raw(image).startswith("LA"):
        raise PictureError(f"the picture is {DEEP_GRAY} (with transparency)")
    values = _byte(path, "16B").astype(np.uint16) << 8 | _byte(path, "16L")
    key = image.info.get("transparency")
    rounded = to_8_bits(values)
    if key is not None:
        alpha = np.where((values == np.uint16(key)).all(axis=-1), 0, 255).astype(np.uint8)
        rounded = np.dstack([rounded, alpha])
    result = Image.fromarray(rounded)
    result.getexif()[_ORIENTATION] = _orientation(image)
    return result


def _byte(path: str | Path | bytes, order: str) -> np.ndarray:
    """Return the byte of each sample that Pillow takes for the upper one if told this order."""
    with _file(path) as file, Image.open(file, formats=_FORMATS) as image:
        tiles: list[Any] = [(*tile[:3], str(tile[3]).replace("16B", order)) for tile in image.tile]
        image.tile = tiles
        return np.array(image)
