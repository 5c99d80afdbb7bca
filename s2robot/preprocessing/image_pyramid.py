"""From camera frames to the images that a backbone sees: resized and cropped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2robot.backbones import Preprocessing
from s2robot.errors import unknown
from s2robot.multiscale.resizing import enlarge
from s2robot.preprocessing import GEOMETRIES
from s2robot.preprocessing.padding import pad
from s2robot.preprocessing.resize import resize

_RESIZED_PIXELS = 1 << 18
"""Pixels of frames that are resized at once on a processor, so that they stay in its caches."""


def image_of(
    frames: Tensor,
    pixels: Preprocessing,
    size: int | tuple[int, int],
    geometry: str = "published",
) -> Tensor:
    """Return the image of frames that a backbone gets at one scale.

    Args:
        frames: ``(B, 3, H, W)`` uint8.
        pixels: the backbone's rules, given for ``pixels.image_size``; at another size the same
            field of view is shown in more or fewer pixels.
        size: side of a square image, or (height, width) [px]; square unless the geometry is "full".
        geometry: "published" cuts what the authors' rule cuts; "full" keeps the whole frame and
            brings it to that size; "padded" keeps it whole and its aspect ratio too, on a square
            of the mean color, see ``s2robot.preprocessing.padding``.

    Returns:
        ``(B, 3, height, width)`` in 0-255, uint8 or float32 as the rules say.

    Raises:
        ValueError: unknown geometry.
    """
    if geometry not in GEOMETRIES:
        raise unknown("geometry", geometry, GEOMETRIES)
    shape = (size, size) if isinstance(size, int) else size
    few = max(1, _RESIZED_PIXELS // (shape[0] * shape[1]))
    resizes = tuple(frames.shape[-2:]) != shape  # others are returned without a copy
    if resizes and frames.device.type == "cpu" and len(frames) > few:
        return torch.cat([_image_of(part, pixels, shape, geometry) for part in frames.split(few)])
    return _image_of(frames, pixels, shape, geometry)


def _image_of(
    frames: Tensor, pixels: Preprocessing, shape: tuple[int, int], geometry: str
) -> Tensor:
    height, width = frames.shape[-2:]
    if geometry == "full" or taken_whole(pixels, height, width):
        return resize(frames, shape, pixels)
    image_size = shape[0]
    if geometry == "padded":
        return pad(frames, image_size, pixels)
    length = round(pixels.resize * image_size / pixels.image_size)
    resized = resize(frames, resized_shape(pixels, height, width, length), pixels)
    return center_crop(resized, image_size, pixels.floors_crop)


def pyramid(
    frames: Tensor,
    shapes: Sequence[tuple[int, int]],
    pixels: Preprocessing,
    input_mode: str = "native",
    geometry: str = "published",
) -> list[Tensor]:
    """Return the images of all scales.

    Args:
        frames: ``(B, 3, H, W)`` uint8.
        shapes: (height, width) of each image [px].
        pixels: the backbone's rules.
        input_mode: "native": each from the frames; "interpolate": from the base image.
        geometry: as for ``image_of``.

    Returns:
        ``(B, 3, *shape)`` in 0-255 for each shape.
    """
    if input_mode == "native":
        return [image_of(frames, pixels, shape, geometry) for shape in shapes]
    square = (pixels.image_size, pixels.image_size)
    base = image_of(frames, pixels, square, geometry)
    # PyTorch's bicubic kernel takes half the time, for the same bits, where channels come first.
    floats = base.float().contiguous()
    return [base if shape == square else enlarge(floats, shape) for shape in shapes]


def taken_whole(pixels: Preprocessing, height: int, width: int) -> bool:
    """Return whether frames of that shape are not cropped.

    Args:
        pixels: the backbone's rules.
        height: of the frames [px].
        width: of the frames [px].
    """
    return pixels.keeps_base_size and height == width == pixels.image_size


def resized_shape(pixels: Preprocessing, height: int, width: int, length: int) -> tuple[int, int]:
    """(height, width) after resizing to ``length`` [px]; the longer side is cut to whole pixels."""
    if pixels.fit == "both":
        return length, length
    if height <= width:
        return length, int(length * width / height)
    return int(length * height / width), length


def center_crop(images: Tensor, size: int, floors: bool = False) -> Tensor:
    """Return the center square of ``(B, C, H, W)`` as a view; ``floors`` rounds its corner down."""
    rest = [length - size for length in images.shape[-2:]]
    top, left = (pixels // 2 if floors else round(pixels / 2) for pixels in rest)
    return images[..., top : top + size, left : left + size]
