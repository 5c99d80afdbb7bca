"""Checks of frames, and the image that is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torchvision.transforms import InterpolationMode

from s2robot.backbones import Preprocessing
from s2robot.multiscale.resizing import enlarge
from s2robot.preprocessing.image_pyramid import image_of, pyramid

SIZES = [(64, 64), (48, 64), (120, 90), (61, 48), (30, 33), (33, 500)]


def noise(height: int, width: int, batch: int = 2) -> torch.Tensor:
    """Frames ``(B, 3, H, W)`` of pixels that owe their neighbors nothing."""
    rng = np.random.default_rng(height * width)
    return torch.from_numpy(rng.integers(0, 256, (batch, 3, height, width), dtype=np.uint8))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_float_rule_is_torchvisions(height: int, width: int, interpolation: str) -> None:
    frames = noise(height, width)
    pixels = Preprocessing(56, resize=64, interpolation=interpolation, resampler="float")
    resized = TF.resize(frames.float(), [64], InterpolationMode(interpolation), antialias=True)
    assert torch.equal(image_of(frames, pixels, 56), TF.center_crop(resized, [56, 56]))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("fit", ["shorter", "both"])
def test_pillow_rule_is_torchvisions_on_pictures(height: int, width: int, fit: str) -> None:
    frames = noise(height, width)
    pixels = Preprocessing(56, resize=64, resampler="pil", fit=fit)
    seen = image_of(frames, pixels, 56)
    size = [64] if fit == "shorter" else [64, 64]
    for frame, image in zip(frames, seen, strict=True):
        picture: Any = Image.fromarray(frame.permute(1, 2, 0).numpy())
        resized = TF.resize(picture, size, InterpolationMode.BICUBIC)
        cropped = np.asarray(TF.center_crop(resized, [56, 56]))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), cropped)


def test_resamplers_differ() -> None:
    """They do go by one name, which is why a card says whose is meant."""
    frames = noise(90, 120)
    images = {
        rule: image_of(frames, Preprocessing(56, resampler=rule), 56).float()
        for rule in ("uint8", "float", "rounded", "pil")
    }
    assert (images["rounded"] - images["float"].clamp(0, 255)).abs().max() <= 0.5
    assert not torch.equal(images["pil"], images["rounded"])
    assert (images["uint8"] - images["pil"]).abs().max() <= 2


def test_no_antialiasing_where_the_rule_says_so() -> None:
    frames = noise(112, 112)
    pixels = Preprocessing(56, interpolation="bilinear", resampler="float", antialias=False)
    expected = TF.resize(frames.float(), [56], InterpolationMode.BILINEAR, antialias=False)
    assert torch.equal(image_of(frames, pixels, 56), expected)


def test_base_size_may_escape_the_crop() -> None:
    pixels = Preprocessing(56, resize=64, keeps_base_size=True)
    frames = noise(56, 56)
    assert torch.equal(image_of(frames, pixels, 56), frames)
    assert image_of(frames, pixels, 112).shape[-1] == 112
    assert not torch.equal(image_of(noise(57, 57), pixels, 56), noise(57, 57)[..., :56, :56])


@pytest.mark.parametrize(
    ("shape", "floors", "corner"),
    [
        ((8, 11), False, (0, 2)),
        ((8, 11), True, (0, 1)),
        ((11, 8), True, (1, 0)),
        ((8, 13), False, (0, 2)),
        ((8, 13), True, (0, 2)),
        ((8, 12), True, (0, 2)),
    ],
)
def test_corners_at_half_a_pixel(
    shape: tuple[int, int], floors: bool, corner: tuple[int, int]
) -> None:
    """Rounded to even as torchvision does, or down as transformers does."""
    frames, (top, left) = noise(*shape), corner
    seen = image_of(frames, Preprocessing(8, floors_crop=floors), 8)
    assert torch.equal(seen, frames[..., top : top + 8, left : left + 8])


def marked(height: int, width: int, top: int, left: int) -> torch.Tensor:
    frames = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    frames[..., top : top + 4, left : left + 4] = 255
    return frames


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_published_field_of_view_is_the_same_at_every_scale(scale: int) -> None:
    """A 64 x 96 frame with resize 64 and crop 56 shows rows 4-59 and columns 20-75."""
    pixels = Preprocessing(56, resize=64)
    inside = image_of(marked(64, 96, 4, 20), pixels, 56 * scale)
    outside = image_of(marked(64, 96, 4, 12), pixels, 56 * scale)
    corner = inside[0, 0, : 4 * scale, : 4 * scale].float()
    assert corner.mean() > 200
    assert outside.max() < 32


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 92), (60, 0), (60, 92)])
def test_full_geometry_keeps_every_corner(scale: int, top: int, left: int) -> None:
    pixels = Preprocessing(56, resize=64)
    assert image_of(marked(64, 96, top, left), pixels, 56 * scale, "full").max() > 200
    assert image_of(marked(64, 96, top, left), pixels, 56 * scale).max() == 0


def test_unknown_geometry() -> None:
    with pytest.raises(ValueError, match="did you mean 'full'"):
        image_of(noise(8, 8), Preprocessing(8), 8, "ful")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_a_gpu_has_the_pixels_of_the_processor(resampler: str, interpolation: str) -> None:
    pixels = Preprocessing(28, resize=32, interpolation=interpolation, resampler=resampler)
    for frames in (noise(48, 64), noise(20, 31)):
        assert torch.equal(image_of(frames.cuda(), pixels, 28).cpu(), image_of(frames, pixels, 28))


def test_reducing_is_antialiased() -> None:
    checker = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(1, 3, 64, 64)
    reduced = image_of(checker.contiguous(), Preprocessing(16), 16)
    assert reduced.dtype == torch.uint8
    assert (reduced.float() - 127.5).abs().max() <= 12  # point sampling would give 0 or 255


@pytest.mark.parametrize("resampler", ["uint8", "float", "rounded", "pil"])
def test_frames_of_the_right_size_are_left_alone(resampler: str) -> None:
    frames = noise(32, 32)
    assert torch.equal(image_of(frames, Preprocessing(32, resampler=resampler), 32), frames)


@pytest.mark.parametrize("size", [32, 56, 128, 224])
@pytest.mark.parametrize("resampler", ["uint8", "float", "pil"])
def test_interpolated_images_are_made_with_channels_first_for_the_same_bits(
    resampler: str, size: int
) -> None:
    """Frames have their channels last, in which PyTorch's bicubic kernel is slow."""
    pixels = Preprocessing(size, resampler=resampler)
    frames = noise(97, 130, batch=3).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    shapes = [(size * k // 2, size * k // 2) for k in (2, 3, 4, 6)]
    base, *larger = pyramid(frames, shapes, pixels, "interpolate")
    for image, shape in zip(larger, shapes[1:], strict=True):
        assert image.is_contiguous()
        assert torch.equal(image, enlarge(base.float(), shape))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("resampler", ["float", "rounded", "uint8", "pil"])
@pytest.mark.parametrize("geometry", ["published", "full", "padded"])
def test_frames_are_resized_in_groups_for_the_same_bits(
    geometry: str, resampler: str, antialias: bool, interpolation: str
) -> None:
    """Groups of frames, and the order of a frame in memory, change no pixel."""
    rules = Preprocessing(
        128, resampler=resampler, antialias=antialias, interpolation=interpolation
    )
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 60, 80, 3), np.uint8))
    channels_last = frames.permute(0, 3, 1, 2)
    for size in (32, 256):
        found = image_of(channels_last, rules, size, geometry)
        each = [image_of(one[None], rules, size, geometry) for one in channels_last]
        assert torch.equal(found, torch.cat(each))
        assert torch.equal(found, image_of(channels_last.contiguous(), rules, size, geometry))


def test_many_frames_of_the_right_size_are_not_copied() -> None:
    frames = torch.zeros(40, 3, 128, 128, dtype=torch.uint8)
    found = image_of(frames, Preprocessing(128, keeps_base_size=True), 128)
    assert found.data_ptr() == frames.data_ptr()
