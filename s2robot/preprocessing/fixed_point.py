"""Resizing in whole numbers: the arithmetic of Pillow and of PyTorch's 8-bit kernel, anywhere.

A resize is two passes, along columns and along rows. Each adds up bytes times fixed-point
coefficients, and rounds the sums to bytes again. The sums fit into 32 bits, so every device has the
same pixels, and settings of floats (TF32, autocast, the default precision) change none of them.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
_PILLOW_BITS = 32 - 8 - 2
"""Binary places of Pillow's coefficients; the most that PyTorch's can have, too."""
_ROWS, _COLUMNS = -2, -1


def resized(
    images: Tensor,
    shape: tuple[int, int],
    resampler: str,
    interpolation: str,
    height_first: bool = False,
) -> Tensor:
    """Resize in whole numbers, on the images' device.

    Args:
        images: ``(B, C, H, W)`` uint8.
        shape: (height, width) wanted.
        resampler: "pil" (Pillow) or "uint8" (PyTorch's 8-bit kernel, antialiased).
        interpolation: "bilinear" or "bicubic".
        height_first: whether the height is resized before the width.

    Returns:
        ``(B, C, *shape)`` uint8.
    """
    for axis in (_ROWS, _COLUMNS) if height_first else (_COLUMNS, _ROWS):
        if images.shape[axis] != shape[axis]:
            images = _along(images, axis, shape[axis], resampler, interpolation)
    return images


def _along(images: Tensor, axis: int, new: int, resampler: str, interpolation: str) -> Tensor:
    """Resize one axis. Tap by tap, since few devices multiply matrices of whole numbers."""
    old, device = images.shape[axis], images.device
    indices, weights, bits = _taps(old, new, resampler, interpolation, device)
    if axis == _ROWS:
        weights = weights.unsqueeze(-1)
    sums = torch.zeros((), dtype=torch.int32, device=device)
    for index, weight in zip(indices, weights, strict=True):
        sums = sums + images.index_select(axis, index) * weight
    half = 1 << (bits - 1)  # added, so that the shift rounds
    return ((sums + half) >> bits).clamp(0, 255).to(torch.uint8)


@functools.cache  # never forgotten: a recorded CUDA graph may not copy, and reads it in place
def _taps(
    old: int, new: int, resampler: str, interpolation: str, device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """Return ``(indices, weights, bits)``: each new pixel's old ones, ``(K, new)`` int64 and int32.

    K is the largest number that a new pixel has; those with fewer get weights 0.
    """
    matrix, bits = coefficients(old, new, resampler, interpolation)
    used = matrix != 0
    first = used.argmax(axis=1)
    last = old - 1 - used[:, ::-1].argmax(axis=1)
    indices = first + np.arange((last - first).max() + 1)[:, None]  # (K, new)
    within = np.minimum(indices, old - 1)
    weights = np.where(indices < old, matrix[np.arange(new), within], 0).astype(np.int32)
    return torch.from_numpy(within).to(device), torch.from_numpy(weights).to(device), bits


@functools.lru_cache(maxsize=64)
def coefficients(old: int, new: int, resampler: str, interpolation: str) -> tuple[np.ndarray, int]:
    """Return a resampler's weights of ``old`` pixels in each of ``new`` ones.

    Pillow's have 22 binary places. PyTorch's have as many as 16 bits leave the largest weight, as
    in ATen's ``compute_index_ranges_int16_weights``.

    Args:
        old: pixels before.
        new: pixels after.
        resampler: "pil" or "uint8", see ``resized``.
        interpolation: "bilinear" or "bicubic".

    Returns:
        ``(new, old)`` float64 whole numbers, and their binary places.
    """
    weights = antialiased_weights(old, new, interpolation)
    bits = _PILLOW_BITS
    if resampler == "uint8":
        largest = float(weights.max())
        fits = (b for b in range(bits) if int(0.5 + largest * 2 ** (b + 1)) >= 1 << 15)
        bits = next(fits, bits)
    fixed = weights * (1 << bits)
    return np.trunc(fixed + np.where(fixed < 0, -0.5, 0.5)), bits  # halves away from zero


def antialiased_weights(old: int, new: int, interpolation: str) -> np.ndarray:
    """Return weights of ``old`` pixels in each of ``new`` ones, ``(new, old)``.

    Each row's sum is 1.

    Args:
        old: pixels before.
        new: pixels after.
        interpolation: "bilinear" or "bicubic".
    """
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
