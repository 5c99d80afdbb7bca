"""Coefficients of resizing: whole numbers small enough, and all of a band."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from s2robot.backbones import Preprocessing
from s2robot.preprocessing.resize_matrices import (
    Coefficients,
    blocks_of,
    coefficients_of,
    used_columns,
)


def weights_of(old: int, new: int, resampler: str = "uint8") -> Coefficients:
    weights = coefficients_of(old, new, Preprocessing(32, resampler=resampler))
    assert weights is not None
    return weights


def test_nothing_to_do() -> None:
    assert coefficients_of(64, 64, Preprocessing(32)) is None


def test_float32_loses_nothing_of_large_reductions() -> None:
    for resampler, old in itertools.product(("uint8", "pil"), (480, 1920, 4320)):
        weights = weights_of(old, 32, resampler)
        shift, matrices = weights.parts()
        whole = matrices[0] * 2**shift + (matrices[1] if len(matrices) == 2 else 0)
        assert np.array_equal(whole, weights.matrix)
        assert all(255 * np.abs(m).sum(axis=1).max() < 1 << 24 for m in matrices)


def test_what_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be reduced to 1 px"):
        Coefficients(np.full((1, 3000), 1 << 15), 22).parts()


@pytest.mark.parametrize("resampler", ["uint8", "pil", "float"])
def test_weights_of_a_pixel_add_up(resampler: str) -> None:
    weights = weights_of(100, 37, resampler)
    sums = weights.matrix.sum(axis=1) / 2.0**weights.bits
    np.testing.assert_allclose(sums, 1, atol=1e-4)


def test_blocks_hold_all_of_a_band() -> None:
    matrix = weights_of(640, 100).matrix
    covered = np.zeros_like(matrix)
    blocks = blocks_of(matrix)
    for first, last, start, stop in blocks:
        covered[first:last, start:stop] = matrix[first:last, start:stop]
    assert len(blocks) == 4
    assert np.array_equal(covered, matrix)


def test_used_columns() -> None:
    assert used_columns(np.array([[0, 0, 1, 0], [0, 0, 0, 2], [0, 0, 0, 0]])) == (2, 4)
    assert used_columns(np.zeros((2, 3))) == (0, 1)
