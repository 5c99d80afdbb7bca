"""The encoder as one module of matrix products: the same pixels and embeddings as the encoder's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.published_files import write_published
from support.small_published import difference, some_frames
from support.tiny_models import write_tiny_model
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.backbones import Preprocessing
from s2robot.export.module import EmbeddingGraph, ImageGraph, PyramidGraph
from s2robot.preprocessing.image_pyramid import image_of

Make = Callable[..., FrameEncoder]
SHAPES = [(96, 128), (61, 83), (150, 100), (40, 40), (32, 32), (20, 90), (480, 640), (300, 31)]
EXACT = 1e-4
"""Of embeddings, in their standard deviations."""


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Encoders of a tiny ViT: base size 32, patch 8, 24 channels; 8-bit kernel."""
    card = write_tiny_model(tmp_path_factory.mktemp("tiny"))

    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        return FrameEncoder.from_name(f"file:{card}", scales=scales, device="cpu", **settings)

    return build


def apart(
    pixels: Preprocessing, frame: tuple[int, int], size: int, geometry: str
) -> tuple[Tensor, Tensor]:
    """The image as the encoder sees it, and as the graph makes it."""
    frames = torch.from_numpy(some_frames(*frame)).permute(0, 3, 1, 2)
    graph = ImageGraph(frame, pixels, (size, size), geometry)
    return image_of(frames, pixels, size, geometry).float(), graph(frames.float())


@pytest.mark.parametrize("geometry", ["published", "full", "padded"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resampler", ["uint8", "pil"])
def test_fixed_point_resampling_is_bit_for_bit(
    resampler: str, interpolation: str, geometry: str
) -> None:
    pixels = Preprocessing(32, resize=37, interpolation=interpolation, resampler=resampler)
    for frame, size in itertools.product(SHAPES, (32, 64)):
        expected, found = apart(pixels, frame, size, geometry)
        assert torch.equal(found, expected), (frame, size)


@pytest.mark.parametrize("geometry", ["published", "full", "padded"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_float_resampling(interpolation: str, antialias: bool, geometry: str) -> None:
    pixels = Preprocessing(
        32, resize=37, interpolation=interpolation, resampler="float", antialias=antialias
    )
    for frame in SHAPES:
        expected, found = apart(pixels, frame, 64, geometry)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # of 255


@pytest.mark.parametrize("resampler", ["float", "rounded", "uint8", "pil"])
@pytest.mark.parametrize("frame", [(20, 32), (32, 20), (40, 64)])
def test_padding_has_one_color_where_a_frame_needs_no_resizing(
    frame: tuple[int, int], resampler: str
) -> None:
    expected, found = apart(Preprocessing(32, resampler=resampler), frame, 32, "padded")
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # of 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resampler", "antialias"), [("rounded", True), ("uint8", False)])
def test_rounded_resampling_differs_at_halves_alone(
    resampler: str, antialias: bool, interpolation: str
) -> None:
    """Sums in another order round otherwise where a value lies within 1e-4 of a half."""
    pixels = Preprocessing(
        32, interpolation=interpolation, resampler=resampler, antialias=antialias
    )
    total = 0
    for frame in SHAPES:
        expected, found = apart(pixels, frame, 32, "published")
        distance = (found - expected).abs()
        assert distance.max() <= 1
        total += int((distance > 0).sum())
    assert total <= 1e-3 * len(SHAPES) * expected.numel()


def test_published_rules_for_crops() -> None:
    for floors, keeps, fit in itertools.product((True, False), (True, False), ("shorter", "both")):
        pixels = Preprocessing(32, resize=39, floors_crop=floors, keeps_base_size=keeps, fit=fit)
        for frame in SHAPES:
            expected, found = apart(pixels, frame, 64, "published")
            assert torch.equal(found, expected), (frame, floors, keeps, fit)


def test_what_the_crop_cuts_off_is_not_resized(make: Make) -> None:
    image: Any = PyramidGraph(make((1,)), 40, 400).images[0]
    (top, bottom), (left, right) = image.window
    assert (top, bottom) == (0, 40)
    assert 40 <= right - left <= 50


CARDS = [
    "mvp-vitb-egosoup",
    "r3m-resnet18",
    "vc1-vitb",
    "voltron-vcond-vits",
    "theia-tiny",
    "d4r-resnet18",
    "dinov2-vits14",
]


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_home")
@pytest.mark.parametrize("name", CARDS)
def test_published_encoders(name: str, tmp_path: Path, shrink: Any) -> None:
    path = write_published(name, tmp_path, shrink(name))
    encoder = FrameEncoder.from_name(name, scales=(1, 2), weights=path, device="cpu")
    for height, width in [(120, 160), (97, 61)]:
        frames = some_frames(height, width)
        found = EmbeddingGraph(encoder, height, width)(torch.from_numpy(frames))
        assert difference(found, encoder(frames)) <= EXACT


@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "published"},
        {"readout": "mean", "geometry": "full"},
        {"readout": "spatial_softmax", "resize_output_to_idx": -1},
        {"readout": "spatial_softmax", "input_mode": "interpolate"},
        {"readout": "spatial_softmax", "geometry": "padded"},
        {"readout": "mean", "geometry": "padded", "input_mode": "interpolate"},
        {
            "readout": "spatial_softmax",
            "geometry": "full",
            "tilings": ((1, 1), (2, 2), (2, 3)),
            "resize_output_to_idx": -1,
        },
        {"readout": "mean", "merge": "sum", "scale_weights": (1, 0.5, 2)},
        {"readout": "spatial_softmax", "merge": "mean", "copies": 2},
        {"readout": "cls", "layers": (0, -1)},
        {"readout": "spatial_softmax", "layers": (0, 1), "layers_merge": "mean"},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_settings(make: Make, settings: dict[str, Any]) -> None:
    encoder = make((1, 2, 3), **settings)
    for height, width in [(60, 80), (90, 50)]:
        frames = some_frames(height, width)
        found = EmbeddingGraph(encoder, height, width)(torch.from_numpy(frames))
        assert found.dtype == torch.float32
        assert difference(found, encoder(frames)) <= EXACT


@pytest.mark.parametrize("scales", [(1.5, 1, 0.5), (0.5,), (2,)])
def test_tile_sizes_that_differ(make: Make, scales: tuple[float, ...]) -> None:
    encoder = make(scales, readout="mean")
    frames = some_frames(70, 80)
    found = EmbeddingGraph(encoder, 70, 80)(torch.from_numpy(frames))
    assert difference(found, encoder(frames)) <= EXACT


def test_only_float32(make: Make) -> None:
    with pytest.raises(ValueError, match="computes in bfloat16 on cpu; .*dtype float32"):
        EmbeddingGraph(make((1,), dtype="bfloat16"), 40, 40)


def test_no_frame(make: Make) -> None:
    with pytest.raises(ValueError, match="at least 1 x 1 px; got 0 x 40"):
        EmbeddingGraph(make((1,)), 0, 40)


def test_unknown_geometry() -> None:
    with pytest.raises(ValueError, match="unknown geometry 'ful'"):
        ImageGraph((40, 40), Preprocessing(32), (32, 32), "ful")
