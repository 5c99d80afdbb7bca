"""Resizing of one frame size as constant matrices: each resampler's arithmetic, whatever runs it.

A resize is two products, along columns and along rows. Where a resampler works in fixed point its
coefficients are whole numbers, and float32 holds whole numbers below 2²⁴ exactly: sums that could
grow beyond are computed in two parts, so that any runtime in float32 gives the same pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from s2robot.backbones import Preprocessing
from s2robot.preprocessing.fixed_point import coefficients
from s2robot.preprocessing.resize import height_comes_first

EXACT = 1 << 24
"""float32 holds every whole number up to here."""


@dataclass(frozen=True)
class Coefficients:
    """Weights of old pixels in each new one."""

    matrix: np.ndarray
    """``(new, old)`` float64; whole numbers where ``bits``."""
    bits: int = 0
    """Binary places of the fixed point, rounded to 8 bits after the pass; 0: floats, unrounded."""

    def cut(self, first: int, last: int, start: int, stop: int) -> Coefficients:
        """Of old pixels ``start`` to ``stop - 1`` in new ones ``first`` to ``last - 1``."""
        return Coefficients(self.matrix[first:last, start:stop], self.bits)

    def parts(self) -> tuple[int, list[np.ndarray]]:
        """Split the matrix into whole numbers whose products with bytes are exact in float32.

        Returns:
            ``(shift, [matrix])`` if one will do or nothing is rounded; else ``(shift, [coarse,
            fine])`` with ``matrix = coarse · 2^shift + fine``.

        Raises:
            ValueError: not even two parts are small enough; the frame is reduced too far.
        """
        if not self.bits or self._largest(self.matrix, self.bits) < EXACT:
            return 0, [self.matrix]
        shift = 8
        coarse = np.floor(self.matrix / (1 << shift) + 0.5)
        fine = self.matrix - coarse * (1 << shift)
        if max(self._largest(coarse, 0), self._largest(fine, self.bits)) >= EXACT:
            new, old = self.matrix.shape
            raise ValueError(
                f"{old} px cannot be reduced to {new} px in float32 without rounding; "
                "reduce the frames first"
            )
        return shift, [coarse, fine]

    @staticmethod
    def _largest(matrix: np.ndarray, bits: int) -> float:
        half = (1 << bits) / 2
        return 255 * float(np.abs(matrix).sum(axis=1).max()) + half


def coefficients_of(old: int, new: int, pixels: Preprocessing) -> Coefficients | None:
    """Coefficients by which ``resize`` brings ``old`` pixels to ``new``.

    None where there is nothing to be done.
    """
    if old == new:
        return None
    if pixels.resampler == "pil" or (pixels.resampler == "uint8" and pixels.antialias):
        return Coefficients(*coefficients(old, new, pixels.resampler, pixels.interpolation))
    return float_coefficients(old, new, pixels.interpolation, pixels.antialias)


def rows_come_first(old: tuple[int, int], new: tuple[int, int], pixels: Preprocessing) -> bool:
    """Return whether ``resize`` brings the height from ``old[0]`` to ``new[0]`` before the width.

    Only Pillow ever does, from version 13 on where that is less work; the version that is
    installed is asked, by means of an image of noise.
    """
    if pixels.resampler != "pil":
        return False
    return height_comes_first(old, new, pixels.interpolation)


def float_coefficients(old: int, new: int, interpolation: str, antialias: bool) -> Coefficients:
    """Those of ``torch.nn.functional.interpolate`` in float32: what it makes of single pixels."""
    units = torch.eye(old)[None, None]
    size = (new, old)
    resized = F.interpolate(units, size=size, mode=interpolation, antialias=antialias)
    return Coefficients(resized[0, 0].double().numpy())


def blocks_of(matrix: np.ndarray, most: int = 32) -> list[tuple[int, int, int, int]]:
    """Cut a banded matrix into blocks of at most ``most`` rows.

    Returns:
        ``(first row, last row, first column, last column)`` of each, the last ones excluded:
        outside of them there are only zeros.
    """
    count = math.ceil(len(matrix) / most)
    edges = [round(i * len(matrix) / count) for i in range(count + 1)]
    blocks = []
    for first, last in zip(edges, edges[1:], strict=False):
        blocks.append((first, last, *used_columns(matrix[first:last])))
    return blocks


def used_columns(matrix: np.ndarray) -> tuple[int, int]:
    """Return the first and one past the last column with numbers other than 0; else (0, 1)."""
    used = np.flatnonzero(np.any(matrix != 0, axis=0))
    return (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
