"""Resizing of frames by the arithmetic that each backbone was published with.

Kernels that go by one name differ: Pillow rounds to 8 bits between its two passes, PyTorch's
8-bit kernel has coarser coefficients, and floats are not rounded at all. On fine textures that is
a difference of up to some twenty levels, and a difference in the features.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from s2robot.backbones import Preprocessing

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
PRECISION = 32 - 8 - 2
"""Bits of Pillow's fixed-point coefficients."""


def resize(images: Tensor, shape: tuple[int, int], pixels: Preprocessing) -> Tensor:
    """Resize ``(B, 3, H, W)`` uint8 to ``shape`` (height, width) by the rules of ``pixels``.

    Returns:
        ``(B, 3, *shape)`` in 0-255; float32 for the resampler "float", else uint8.
    """
    if tuple(images.shape[-2:]) == shape:
        return images
    if pixels.resampler == "pil":
        return pillow(images, shape, pixels.interpolation)
    options = {"size": shape, "mode": pixels.interpolation, "antialias": pixels.antialias}
    if pixels.resampler == "uint8" and pixels.antialias and images.device.type == "cpu":
        return F.interpolate(images, **options)  # several times faster than in floats
    resized = F.interpolate(images.float(), **options)
    return resized if pixels.resampler == "float" else to_bytes(resized)


def to_bytes(images: Tensor) -> Tensor:
    """Round floats in 0-255 to uint8."""
    return images.round().clamp(0, 255).to(torch.uint8)


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
        return pillow_arithmetic(images, shape, interpolation, first)
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
    by_width = pillow_arithmetic(images, new, interpolation, False)
    return not torch.equal(pillow(images, new, interpolation), by_width)


def pillow_arithmetic(
    images: Tensor, shape: tuple[int, int], interpolation: str, height_first: bool
) -> Tensor:
    """Pillow's two passes, each a product with fixed-point coefficients that is then rounded.

    The sums stay below 2⁵³, so float64 holds them exactly.

    Args:
        images: ``(B, C, H, W)`` uint8.
        shape: (height, width) wanted.
        interpolation: "bilinear" or "bicubic".
        height_first: order of the passes, see ``height_comes_first``.
    """
    passes = [_across, _down]
    for resize_side in reversed(passes) if height_first else passes:
        images = resize_side(images, shape, interpolation)
    return images


def _across(images: Tensor, shape: tuple[int, int], interpolation: str) -> Tensor:
    width = images.shape[-1]
    if width == shape[1]:
        return images
    return _from_fixed(images.double() @ _matrix(width, shape[1], interpolation, images.device).T)


def _down(images: Tensor, shape: tuple[int, int], interpolation: str) -> Tensor:
    height = images.shape[-2]
    if height == shape[0]:
        return images
    return _from_fixed(_matrix(height, shape[0], interpolation, images.device) @ images.double())


@functools.lru_cache(maxsize=64)
def _matrix(old: int, new: int, interpolation: str, device: torch.device) -> Tensor:
    """``coefficients`` on a device, copied there once: a recorded graph may not copy."""
    return torch.from_numpy(coefficients(old, new, interpolation)).to(device)


def _from_fixed(sums: Tensor) -> Tensor:
    rounded = torch.floor((sums + (1 << (PRECISION - 1))) / (1 << PRECISION))
    return rounded.clamp(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def coefficients(old: int, new: int, interpolation: str) -> np.ndarray:
    """Pillow's weights of ``old`` pixels in each of ``new`` ones, ``(new, old)`` whole numbers."""
    return fixed_point(antialiased_weights(old, new, interpolation), PRECISION)


def fixed_point(weights: np.ndarray, bits: int) -> np.ndarray:
    """Weights as whole numbers of 2^-bits, halves rounded away from zero."""
    fixed = weights * (1 << bits)
    return np.trunc(fixed + np.where(fixed < 0, -0.5, 0.5))


def antialiased_weights(old: int, new: int, interpolation: str) -> np.ndarray:
    """Weights of ``old`` pixels in each of ``new`` ones ``(new, old)``, each row's sum being 1."""
    scale = old / new
    stretch = max(scale, 1.0)
    support = _SUPPORT[interpolation] * stretch
    matrix = np.zeros((new, old))
    for i in range(new):
        center = (i + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), old)
        weights = _kernel((np.arange(first, last) - center + 0.5) / stretch, interpolation)
        matrix[i, first:last] = weights / weights.sum()
    return matrix


def _kernel(x: np.ndarray, interpolation: str) -> np.ndarray:
    """Triangle, or the cubic convolution with a = -1/2 (Keys 1981)."""
    x = np.abs(x)
    if interpolation == "bilinear":
        return np.maximum(1 - x, 0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))
