"""Published encoders, from files in their exact layout to the published model's own output.

What is expected comes from ``s2robot.analysis.parity.reference_models``, which shares nothing
with the loading code; that in turn was compared with the original packages
(docs/results/parity.md).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.published_files import write_published
from support.small_published import RESNETS, SMALL, TOLERANCE, VITS, difference, some_frames

from s2robot import FrameEncoder
from s2robot.analysis.parity import reference_models as reference
from s2robot.analysis.parity.reference_models import PUBLISHED, published_output
from s2robot.backbones import CARDS
from s2robot.backbones.architectures import Architecture
from s2robot.backbones.checkpoints import read_weights_file

SIZES = [(224, 224), (56, 56), (96, 128), (150, 100), (61, 83)]
pytestmark = pytest.mark.usefixtures("fresh_home")


def check(name: str, path: Path, sizes: list[tuple[int, int]]) -> None:
    encoder = FrameEncoder.from_name(name, scales=(1,), weights=path, device="cpu")
    content = read_weights_file(path)
    for height, width in sizes:
        frames = some_frames(height, width)
        found = encoder(frames)
        assert found.dtype == torch.float32
        assert difference(found, published_output(name, content, frames)) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(VITS | set(RESNETS)))
def test_published_output(name: str, tmp_path: Path, shrink: Any) -> None:
    shape = shrink(name)
    check(name, write_published(name, tmp_path, shape), SIZES)


@pytest.mark.parametrize("name", ["mvp-vits-hoi", "r3m-resnet18", "liv-resnet50"])
def test_published_output_at_full_size(name: str, tmp_path: Path) -> None:
    """Nothing replaced: card, file and re-computation as published."""
    check(name, write_published(name, tmp_path), [(224, 224), (480, 640)])


@pytest.mark.parametrize("name", sorted(VITS))
def test_heads_and_sizes_are_stated_alike(name: str) -> None:
    """Heads leave no trace in a weight's shape: nothing else would notice a wrong number."""
    options: Any = CARDS[name].architecture.to_dict()
    assert options["num_heads"] == PUBLISHED[name].heads
    assert options["img_size"] == PUBLISHED[name].image_size


def test_wrong_heads_would_be_noticed(tmp_path: Path, shrink: Any, monkeypatch: Any) -> None:
    path = write_published("mvp-vits-hoi", tmp_path, shrink("mvp-vits-hoi"))
    card = CARDS["mvp-vits-hoi"]
    assert isinstance(card.architecture, Architecture)
    options = {**card.architecture.options, "num_heads": 6}
    architecture = dataclasses.replace(card.architecture, options=options)
    wrong = dataclasses.replace(card, architecture=architecture)
    monkeypatch.setitem(CARDS, "mvp-vits-hoi", wrong)
    encoder = FrameEncoder.from_name("mvp-vits-hoi", weights=path, device="cpu")
    frames = some_frames(96, 96)
    expected = published_output("mvp-vits-hoi", read_weights_file(path), frames)
    assert difference(encoder(frames), expected) > 0.1


@pytest.mark.parametrize("name", ["vc1-vitb", "r3m-resnet18", "theia-tiny", "vip-resnet50"])
def test_published_field_of_view_at_scale_two(name: str, tmp_path: Path, shrink: Any) -> None:
    """The published rule at twice the size, cut into four tiles, each through the model."""
    path = write_published(name, tmp_path, shrink(name))
    model, content, frames = PUBLISHED[name], read_weights_file(path), some_frames(150, 170)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    twice = model.prepare(pixels, 2 * model.image_size)
    tiles = [half for row in twice.chunk(2, dim=2) for half in row.chunk(2, dim=3)]
    fixed = dataclasses.replace(model, prepare=lambda tile, size: tile)
    outputs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PUBLISHED, name, fixed)
        for tile in tiles:  # already normalized: the published network alone
            outputs.append(_network(name, content, tile))
    encoder = FrameEncoder.from_name(name, scales=(2,), weights=path, device="cpu")
    if encoder.layout.pooling == "grid":
        side = SMALL.image_size // SMALL.patch
        grids = [out.unflatten(1, (side, side, -1)) for out in outputs]
        rows = [torch.cat(grids[i : i + 2], dim=2) for i in (0, 2)]
        expected = torch.cat(rows, dim=1).flatten(1)
    else:
        expected = torch.stack(outputs).mean(dim=0)
    assert difference(encoder(frames), expected) <= TOLERANCE


def _network(name: str, content: Any, images: torch.Tensor) -> torch.Tensor:
    model = PUBLISHED[name]
    with torch.inference_mode():
        return model.network(reference._tensors(content, model), images, model.heads)


def test_mvp_class_token_before_the_norm(tmp_path: Path, shrink: Any) -> None:
    path = write_published("mvp-vitb-egosoup", tmp_path, shrink("mvp-vitb-egosoup"))
    frames = some_frames(64, 64)
    raw = FrameEncoder.from_name(
        "mvp-vitb-egosoup", readout="cls", layers=(-1,), weights=path, device="cpu"
    )(frames)
    state = read_weights_file(path)["model"]
    normed = torch.nn.functional.layer_norm(
        raw, (SMALL.dim,), state["norm.weight"], state["norm.bias"], 1e-6
    )
    expected = published_output("mvp-vitb-egosoup", read_weights_file(path), frames)
    assert difference(normed, expected) <= TOLERANCE
