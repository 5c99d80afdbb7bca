"""Resizing of frames by the arithmetic that each backbone was published with.

Kernels that go by one name differ: Pillow rounds to 8 bits between its two passes, PyTorch's
8-bit kernel has coarser coefficients, and floats are not rounded at all. On fine textures that is
a difference of up to some twenty levels, and a difference in the features.

Pillow's and PyTorch's 8-bit arithmetic give the same pixels on every device. Floats differ by up to
0.05 levels between devices and processors; rounded to 8 bits, up to one pixel in a hundred differs,
by one level.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2robot.backbones import Preprocessing
from s2robot.preprocessing.fixed_point import resized

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(images: Tensor, shape: tuple[int, int], pixels: Preprocessing) -> Tensor:
    """Resize ``(B, 3, H, W)`` uint8 to ``shape`` (height, width) by the rules of ``pixels``.

    Returns:
        ``(B, 3, *shape)`` in 0-255; float32 for the resampler "float", else uint8. Images that
        have the shape are returned as they are.
    """
    if tuple(images.shape[-2:]) == shape:
        return images
    if pixels.resampler == "pil":
        return pillow(images, shape, pixels.interpolation)
    if pixels.resampler == "uint8" and pixels.antialias:
        return pytorch(images, shape, pixels.interpolation)
    if shape[1] == 1:  # PyTorch's antialiasing needs it there: findings/torch_one_column.sh
        images = images.contiguous(memory_format=torch.channels_last)
    floats = images.float()
    if not pixels.antialias:  # PyTorch takes half the time, for the same bits, in this order
        floats = floats.contiguous()
    floats = F.interpolate(
        floats, size=shape, mode=pixels.interpolation, antialias=pixels.antialias
    )
    return floats if pixels.resampler == "float" else to_bytes(floats)


def to_bytes(images: Tensor) -> Tensor:
    """Round floats in 0-255 to uint8."""
    return images.round().clamp(0, 255).to(torch.uint8)


def pytorch(images: Tensor, shape: tuple[int, int], interpolation: str) -> Tensor:
    """Resize as PyTorch's antialiased 8-bit kernel does, bit for bit.

    That kernel is for processors alone; elsewhere the same integer arithmetic is done. Where a side
    is one pixel it mistakes the order of the image in memory: it stops with AVX2, and has wrong
    pixels without (``findings/torch_one_column.sh``).

    Args:
        images: ``(B, C, H, W)`` uint8.
        shape: (height, width) wanted.
        interpolation: "bilinear" or "bicubic".

    Returns:
        ``(B, C, *shape)`` uint8.
    """
    if images.device.type != "cpu" or 1 in shape:
        return resized(images, shape, "uint8", interpolation)
    return F.interpolate(images, size=shape, mode=interpolation, antialias=True)


def pillow(images: Tensor, shape: tuple[int, int], interpolation: str) -> Tensor:
    """Resize as Pillow does, bit for bit; on a GPU by the same integer arithmetic.

    Args:
        images: ``(B, C, H, W)`` uint8.
        shape: (height, width) wanted.
        interpolation: "bilinear" or "bicubic".

    Returns:
        ``(B, C, *shape)`` uint8.
    """
    if images.device.type != "cpu":
        height, width = images.shape[-2:]
        first = height_comes_first((height, width), shape, interpolation)
        return resized(images, shape, "pil", interpolation, first)
    size = (shape[1], shape[0])
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    pictures = [Image.fromarray(a).resize(size, _PILLOW[interpolation]) for a in arrays]
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def height_comes_first(old: tuple[int, int], new: tuple[int, int], interpolation: str) -> bool:
    """Return whether the installed Pillow resizes the height before the width.

    Args:
        old: (height, width) before.
        new: (height, width) after.
        interpolation: "bilinear" or "bicubic".

    Versions up to 12 never do; later ones do where that is less work. A test on noise finds out.
    """
    if old[0] == new[0] or old[1] == new[1]:
        return False
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, *old), dtype=np.uint8)
    images = torch.from_numpy(noise)
    by_width = resized(images, new, "pil", interpolation)
    return not torch.equal(pillow(images, new, interpolation), by_width)
