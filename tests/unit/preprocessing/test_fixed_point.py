"""Resizing in whole numbers: what runs on a GPU, here against the kernels of processors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from s2robot.preprocessing.fixed_point import coefficients, resized
from s2robot.preprocessing.resize import height_comes_first, pillow

OLD = (48, 64)
SHAPES = [(24, 32), (50, 64), (96, 128), (48, 20), (20, 64), (47, 65), (3, 5), (300, 2), (1, 9)]
KINDS = ("noise", "black and white", "white")


def pictures(kind: str) -> torch.Tensor:
    """Frames ``(2, 3, 48, 64)`` uint8: bicubic weights overshoot where black meets white."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, *OLD), dtype=np.uint8)
    if kind == "black and white":
        frames = np.where(frames > 127, 255, 0).astype(np.uint8)
    return torch.from_numpy(np.full_like(frames, 255) if kind == "white" else frames)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pytorchs_8_bit_kernel_is_met_bit_for_bit(
    shape: tuple[int, int], interpolation: str, kind: str
) -> None:
    frames = pictures(kind)
    expected = F.interpolate(frames, size=shape, mode=interpolation, antialias=True)
    assert torch.equal(resized(frames, shape, "uint8", interpolation), expected)
    ordered = frames.contiguous(memory_format=torch.channels_last)
    assert torch.equal(resized(ordered, shape, "uint8", interpolation), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_is_met_bit_for_bit(shape: tuple[int, int], interpolation: str, kind: str) -> None:
    frames = pictures(kind)
    first = height_comes_first(OLD, shape, interpolation)
    expected = pillow(frames, shape, interpolation)
    assert torch.equal(resized(frames, shape, "pil", interpolation, first), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_no_sum_exceeds_32_bits(resampler: str, interpolation: str) -> None:
    for old, new in itertools.product((2, 31, 480, 1080, 4320), (1, 2, 3, 37, 224, 1000)):
        matrix, bits = coefficients(old, new, resampler, interpolation)
        largest = 255 * np.abs(matrix).sum(axis=1).max() + 2 ** (bits - 1)
        assert largest < 1 << 31, (old, new)


class _Dtypes(TorchDispatchMode):
    """Collects the types of all tensors that operations return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen |= {t.dtype for t in tree_leaves(out) if hasattr(t, "dtype")}
        return out


@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_every_operation_is_on_whole_numbers(resampler: str) -> None:
    """So no device can round otherwise, and TF32 and other settings of floats do not matter."""
    with _Dtypes() as dtypes:
        resized(pictures("noise"), (29, 41), resampler, "bicubic")
    assert torch.int32 in dtypes.seen
    assert not [dtype for dtype in dtypes.seen if dtype.is_floating_point]


@pytest.fixture
def coarse_floats() -> Iterator[None]:
    """Settings that make PyTorch's floats as coarse as they get."""
    precision = torch.get_float32_matmul_precision()
    dtype = torch.get_default_dtype()
    torch.set_float32_matmul_precision("medium")
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.usefixtures("coarse_floats")
@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_coarse_floats_change_no_pixel(resampler: str) -> None:
    frames = pictures("noise")
    kernel = {
        "uint8": lambda: F.interpolate(frames, size=(24, 40), mode="bicubic", antialias=True),
        "pil": lambda: pillow(frames, (24, 40), "bicubic"),
    }[resampler]
    first = resampler == "pil" and height_comes_first(OLD, (24, 40), "bicubic")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resized(frames, (24, 40), resampler, "bicubic", first), kernel())
