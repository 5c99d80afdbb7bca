"""Each rule's pixels, and that they do not depend on the device, the processor or memory."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from s2robot.backbones import Preprocessing
from s2robot.preprocessing import resize as rules
from s2robot.preprocessing.fixed_point import antialiased_weights, resized
from s2robot.preprocessing.resize import height_comes_first, pillow, pytorch, resize

SHAPES = [(24, 32), (50, 64), (96, 128), (48, 20), (20, 64), (1, 9), (9, 1), (1, 1)]


def noise(height: int, width: int, batch: int = 2) -> torch.Tensor:
    """Frames ``(B, 3, H, W)`` in the memory order of camera frames, channels last."""
    rng = np.random.default_rng(height * width)
    frames = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pytorchs_rule_rounds_what_floats_give_twice(
    shape: tuple[int, int], interpolation: str
) -> None:
    """Once a pass, so that it lies within a level or two; also where the kernel itself fails."""
    frames = noise(48, 64) // 2 + 64  # so that bicubic weights overshoot nothing
    floats = F.interpolate(frames.float(), size=shape, mode=interpolation, antialias=True)
    found = pytorch(frames, shape, interpolation)
    assert found.shape == floats.shape
    assert found.dtype == torch.uint8
    assert (found - floats).abs().max() <= 2


@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_what_is_no_processor_computes_in_whole_numbers_on_its_own(
    monkeypatch: pytest.MonkeyPatch, resampler: str
) -> None:
    """The branch of a GPU, with tensors of the device "meta", on which nothing can be read."""
    frames = noise(48, 64)
    pixels = Preprocessing(28, resampler=resampler)
    resize(frames, (24, 32), pixels)  # asks Pillow for its order

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a kernel of floats")

    monkeypatch.setattr(rules.F, "interpolate", refuse)
    seen: list[torch.Tensor] = []

    def spy(images: torch.Tensor, *args: Any) -> torch.Tensor:
        seen.append(images)
        return resized(images, *args)

    monkeypatch.setattr(rules, "resized", spy)
    found = resize(frames.to("meta"), (24, 32), pixels)
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.uint8, (2, 3, 24, 32))
    assert [images.device.type for images in seen][-1] == "meta"


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_the_order_in_memory_changes_no_pixel(resampler: str, order: torch.memory_format) -> None:
    pixels = Preprocessing(28, resampler=resampler)
    for shape in SHAPES:
        frames = noise(48, 64)
        expected = resize(frames, shape, pixels)
        assert torch.equal(resize(frames.contiguous(memory_format=order), shape, pixels), expected)
        each = [resize(frames[i : i + 1], shape, pixels) for i in range(2)]
        assert torch.equal(torch.cat(each), expected)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resampler", ["float", "uint8"])
@pytest.mark.parametrize("old", [(48, 64), (48, 1), (6, 10)])
@pytest.mark.parametrize("new", [(9, 1), (80, 1), (1, 1), (1, 9)])
def test_one_row_or_column_is_right_in_every_order_of_memory(
    new: tuple[int, int],
    old: tuple[int, int],
    resampler: str,
    interpolation: str,
    order: torch.memory_format,
) -> None:
    frames = (noise(*old) // 2 + 64).contiguous(memory_format=order)
    down, across = (
        torch.from_numpy(antialiased_weights(old[i], new[i], interpolation)) for i in range(2)
    )
    found = resize(frames, new, Preprocessing(8, interpolation=interpolation, resampler=resampler))
    tolerance = 0.05 if resampler == "float" else 1.5
    assert (found - down @ frames.double() @ across.T).abs().max() <= tolerance


PIXELS_OF_A_PROCESSOR = """
import hashlib
import torch
from s2robot.preprocessing.resize import pytorch

frames = torch.randint(0, 256, (2, 3, 45, 61), generator=torch.Generator().manual_seed(0))
digest = hashlib.sha256()
for shape in ((24, 32), (91, 128), (24, 61), (1, 7), (7, 1), (1, 1)):
    for interpolation in ("bilinear", "bicubic"):
        pixels = pytorch(frames.to(torch.uint8), shape, interpolation)
        digest.update(pixels.contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.process
@pytest.mark.slow
def test_a_processor_without_vector_instructions_has_the_same_pixels() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", PIXELS_OF_A_PROCESSOR],
            env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for capability in ("default", "avx2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("old, new", [((72, 128), (23, 23)), ((48, 64), (44, 60))])
def test_floats_of_another_device_are_within_the_stated_tolerance(
    old: tuple[int, int], new: tuple[int, int], interpolation: str, antialias: bool
) -> None:
    """Sums in float64 stand for those of any device: 0.05 levels; rounded, 1 level in 1 %."""
    frames = noise(*old, batch=8)
    found = {}
    for resampler in ("float", "rounded"):
        pixels = Preprocessing(
            8, interpolation=interpolation, resampler=resampler, antialias=antialias
        )
        found[resampler] = resize(frames, new, pixels).double()
    exact = F.interpolate(frames.double(), size=new, mode=interpolation, antialias=antialias)
    assert (found["float"] - exact).abs().max() <= 0.05
    apart = (found["rounded"] - exact.round().clamp(0, 255)).abs()
    assert apart.max() <= 1
    assert (apart > 0).double().mean() <= 0.01


@pytest.mark.parametrize("old, new", [((150, 100), (64, 64)), ((31, 300), (3, 32))])
def test_the_installed_pillows_order_is_found(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Versions differ in which side they begin with, and the order shows in the last bit."""
    frames = noise(*old)
    first = height_comes_first(old, new, "bicubic")
    expected = pillow(frames, new, "bicubic")
    assert torch.equal(resized(frames, new, "pil", "bicubic", first), expected)
    assert not torch.equal(resized(frames, new, "pil", "bicubic", not first), expected)
