"""Published encoders, from files in their exact layout to the published model's own output.

What is expected comes from ``s2robot.backbones.reference``, which shares nothing with the loading
code; that in turn was compared with the original packages (docs/parity.md).
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_server import FileServer
from published_files import ViTShape, write_published
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from s2robot import FrameEncoder
from s2robot.backbones import CARDS, BackboneCard, get_card, load_backbone
from s2robot.backbones.architectures import Architecture
from s2robot.backbones.cache import converted_path
from s2robot.backbones.download import Source
from s2robot.backbones.layouts import dinov2_layout
from s2robot.backbones.reference import PUBLISHED, published_output
from s2robot.backbones.weights import read_weights_file
from s2robot.errors import CorruptFileError, DownloadError, LicenceWarning, MismatchError

SMALL = ViTShape(image_size=56, patch=8, dim=48, depth=2)
HEADS = 3
TOLERANCE = 1e-4
"""Largest difference, in standard deviations of the output."""
SIZES = [(224, 224), (56, 56), (96, 128), (150, 100), (61, 83)]

ViT = {name for name in PUBLISHED if "resnet" not in name}
RESNETS = {"r3m-resnet18": 18, "d4r-resnet18": 18, "vip-resnet50": 50, "mcr-resnet50": 50}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own; licences are told there each time anew."""
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    warnings.simplefilter("ignore", LicenceWarning)
    return tmp_path / "home"


@pytest.fixture
def shrink(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ViTShape | int | None]:
    """Make a card and its re-computation small; returns the shape to write its file in."""

    def apply(name: str) -> ViTShape | int | None:
        if name not in ViT:
            return RESNETS.get(name)
        monkeypatch.setitem(CARDS, name, small_card(CARDS[name]))
        small = dataclasses.replace(PUBLISHED[name], heads=HEADS, image_size=SMALL.image_size)
        monkeypatch.setitem(PUBLISHED, name, small)
        return SMALL

    return apply


def small_card(card: BackboneCard) -> BackboneCard:
    architecture = card.architecture
    assert isinstance(architecture, Architecture)
    sizes = {
        "img_size": SMALL.image_size,
        "patch_size": SMALL.patch,
        "embed_dim": SMALL.dim,
        "depth": SMALL.depth,
        "num_heads": HEADS,
    }
    pixels = card.preprocessing
    resize = round(SMALL.image_size * pixels.resize / pixels.image_size)
    layout = card.layout
    if card.name.startswith("dinov2"):  # its positions are resampled to the grid of the images
        layout = dinov2_layout(SMALL.image_size // SMALL.patch)
    return dataclasses.replace(
        card,
        layout=layout,
        architecture=dataclasses.replace(architecture, options={**architecture.options, **sizes}),
        preprocessing=dataclasses.replace(pixels, image_size=SMALL.image_size, resize=resize),
        stride=SMALL.patch,
        dim=SMALL.dim,
    )


def some_frames(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


def check(name: str, path: Path, sizes: list[tuple[int, int]]) -> None:
    encoder = FrameEncoder.from_name(name, scales=(1,), weights=path, device="cpu")
    content = read_weights_file(path)
    for height, width in sizes:
        frames = some_frames(height, width)
        found = encoder(frames)
        assert found.dtype == torch.float32
        assert difference(found, published_output(name, content, frames)) <= TOLERANCE


@pytest.mark.parametrize("name", sorted(ViT | set(RESNETS)))
def test_published_output(name: str, tmp_path: Path, shrink: Any) -> None:
    shape = shrink(name)
    check(name, write_published(name, tmp_path, shape), SIZES)


@pytest.mark.parametrize("name", ["mvp-vits-hoi", "r3m-resnet18", "liv-resnet50"])
def test_published_output_at_full_size(name: str, tmp_path: Path) -> None:
    """Nothing replaced: card, file and re-computation as published."""
    check(name, write_published(name, tmp_path), [(224, 224), (480, 640)])


@pytest.mark.parametrize("name", sorted(ViT))
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
        for tile in tiles:  # already normalised: the published network alone
            outputs.append(_network(name, content, tile))
    encoder = FrameEncoder.from_name(name, scales=(2,), weights=path, device="cpu")
    if encoder.layout.stage == "grid":
        side = SMALL.image_size // SMALL.patch
        grids = [out.unflatten(1, (side, side, -1)) for out in outputs]
        rows = [torch.cat(grids[i : i + 2], dim=2) for i in (0, 2)]
        expected = torch.cat(rows, dim=1).flatten(1)
    else:
        expected = torch.stack(outputs).mean(dim=0)
    assert difference(encoder(frames), expected) <= TOLERANCE


def _network(name: str, content: Any, images: torch.Tensor) -> torch.Tensor:
    from s2robot.backbones import reference

    model = PUBLISHED[name]
    with torch.inference_mode():
        return model.network(reference._tensors(content, model), images, model.heads)


def test_mvp_class_token_before_the_norm(tmp_path: Path, shrink: Any) -> None:
    path = write_published("mvp-vitb-egosoup", tmp_path, shrink("mvp-vitb-egosoup"))
    frames = some_frames(64, 64)
    raw = FrameEncoder.from_name(
        "mvp-vitb-egosoup", readout="cls", taps=(-1,), weights=path, device="cpu"
    )(frames)
    state = read_weights_file(path)["model"]
    normed = torch.nn.functional.layer_norm(
        raw, (SMALL.dim,), state["norm.weight"], state["norm.bias"], 1e-6
    )
    expected = published_output("mvp-vitb-egosoup", read_weights_file(path), frames)
    assert difference(normed, expected) <= TOLERANCE


# What a damaged, foreign or malicious file does.


def save_changed(path: Path, key: str, change: Callable[[dict[str, Any]], None]) -> Path:
    content = torch.load(path, weights_only=True)
    change(content[key])
    torch.save(content, path)
    return path


def test_unknown_missing_and_misshaped_names_are_listed(tmp_path: Path) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["module.convnet.surplus"] = torch.zeros(1)
        tensors["module.convnet.bn1.weight"] = torch.zeros(3)
        del tensors["module.convnet.bn1.bias"]

    path = save_changed(write_published("r3m-resnet18", tmp_path, 18), "r3m", spoil)
    with pytest.raises(
        MismatchError,
        match=r"missing: bn1.bias; unknown: surplus; of another shape: bn1.weight \(3,\) instead",
    ):
        load_backbone("r3m-resnet18", weights=path)


def test_names_that_belong_to_nothing_known_are_listed(tmp_path: Path) -> None:
    path = save_changed(
        write_published("r3m-resnet18", tmp_path, 18),
        "r3m",
        lambda tensors: tensors.update({"module.stranger.weight": torch.zeros(1)}),
    )
    with pytest.raises(MismatchError, match="not known as parts.*module.stranger.weight"):
        load_backbone("r3m-resnet18", weights=path)


def test_weights_of_another_size(tmp_path: Path) -> None:
    path = write_published("r3m-resnet34", tmp_path, 34)
    with pytest.raises(MismatchError, match="layer1.2.conv1.weight.* and .* more"):
        load_backbone("r3m-resnet18", weights=path)


def test_wrong_entry(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.pth")
    with pytest.raises(CorruptFileError, match=r"no entry 'model'; it holds \['state_dict'\]"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "x.pth")


@pytest.mark.parametrize("content", [{"model": torch.zeros(3)}, {"model": {"a": 3, "b": "c"}}])
def test_entry_without_tensors(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CorruptFileError, match="holds no dictionary of tensors"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "x.pth")


class Payload:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_that_run_code_are_refused(tmp_path: Path, legacy: bool) -> None:
    torch.save(
        {"model": Payload(tmp_path / "ran")},
        tmp_path / "evil.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(CorruptFileError, match=r"refused.*asks for \w+.*could run code"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.5, 0.001])
def test_truncated_files(tmp_path: Path, suffix: str, share: float) -> None:
    whole = tmp_path / f"whole{suffix}"
    tensors = {"a": torch.zeros(10000)}
    if suffix == ".pth":
        torch.save(tensors, whole)
    else:
        save_file(tensors, whole)
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(CorruptFileError, match="half"):
        load_backbone("mvp-vits-hoi", weights=half)


def test_a_web_page_instead_of_weights(tmp_path: Path) -> None:
    page = tmp_path / "mvp.pth"
    page.write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(
        CorruptFileError, match="mvp.pth .* is no whole PyTorch .* download it again"
    ):
        load_backbone("mvp-vits-hoi", weights=page)


def test_no_file_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at .*none.pth"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "none.pth")


def test_old_style_torch_files_and_other_suffixes(tmp_path: Path, shrink: Any) -> None:
    """Content decides, not the name."""
    path = write_published("vc1-vitb", tmp_path, shrink("vc1-vitb"))
    content = torch.load(path, weights_only=True)
    torch.save(content, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    digest = load_backbone("vc1-vitb", weights=path).weights_digest
    assert load_backbone("vc1-vitb", weights=tmp_path / "old.bin").weights_digest == digest
    spa = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    renamed = spa.rename(tmp_path / "spa.weights")
    assert load_backbone("spa-vitb", weights=renamed).card.name == "spa-vitb"


# The converted copy.


def test_a_file_is_converted_once(tmp_path: Path, shrink: Any, monkeypatch: Any) -> None:
    path = write_published("mvp-vits-in", tmp_path, shrink("mvp-vits-in"))
    first = load_backbone("mvp-vits-in", weights=path)
    converted = converted_path(get_card("mvp-vits-in"), path)
    with safe_open(converted, "pt") as file:
        assert file.metadata()["digest"] == first.weights_digest

    def unpickle(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("unpickled a second time")

    monkeypatch.setattr(torch, "load", unpickle)
    assert load_backbone("mvp-vits-in", weights=path).weights_digest == first.weights_digest


def test_a_policys_encoder_is_found_again_without_its_file(tmp_path: Path, shrink: Any) -> None:
    """A spec names the digest, and the converted copy of a file that was brought once has it."""
    path = write_published("mvp-vits-in", tmp_path, shrink("mvp-vits-in"))
    encoder = FrameEncoder.from_name("mvp-vits-in", weights=path, device="cpu")
    write_published("mvp-vits-in", tmp_path, SMALL, seed=1)  # a second one in the same place
    other = FrameEncoder.from_name("mvp-vits-in", weights=path, device="cpu")
    path.unlink()
    for wanted in (encoder, other):
        again = FrameEncoder.from_spec(wanted.spec, device="cpu")
        assert again.backbone.weights_digest == wanted.backbone.weights_digest


def test_a_changed_file_is_converted_anew(tmp_path: Path, shrink: Any) -> None:
    path = write_published("mvp-vits-in", tmp_path, shrink("mvp-vits-in"))
    before = load_backbone("mvp-vits-in", weights=path).weights_digest
    write_published("mvp-vits-in", tmp_path, SMALL, seed=1)
    assert load_backbone("mvp-vits-in", weights=path).weights_digest != before


def test_an_altered_copy_is_refused(tmp_path: Path, shrink: Any) -> None:
    path = write_published("mvp-vits-in", tmp_path, shrink("mvp-vits-in"))
    load_backbone("mvp-vits-in", weights=path)
    converted = converted_path(get_card("mvp-vits-in"), path)
    content = bytearray(converted.read_bytes())
    content[-1] ^= 1
    converted.write_bytes(content)
    with pytest.raises(CorruptFileError, match="was altered since it was converted.*delete it"):
        load_backbone("mvp-vits-in", weights=path)
    converted.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFileError, match="delete it"):
        load_backbone("mvp-vits-in", weights=path)
    converted.unlink()
    load_backbone("mvp-vits-in", weights=path)


@pytest.mark.parametrize("name", ["mvp-vits-in", "vc1-vitb"])
def test_a_home_that_cannot_be_written(
    name: str, tmp_path: Path, shrink: Any, own_home: Path, monkeypatch: Any
) -> None:
    path = write_published(name, tmp_path, shrink(name))
    expected = load_backbone(name, weights=path).weights_digest
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "file" / "home"))
    with pytest.warns(UserWarning, match="cannot be kept.*S2ROBOT_HOME"):
        assert load_backbone(name, weights=path).weights_digest == expected


def test_safetensors_are_used_in_place(tmp_path: Path, own_home: Path, shrink: Any) -> None:
    path = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    backbone = load_backbone("spa-vitb", weights=path)
    assert not (own_home / "weights").exists()
    stored = load_file(path)["model.img_backbone.cls_token"]
    assert torch.equal(backbone.model.state_dict()["cls_token"], stored)


# Downloads, end to end.


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shrink: Any) -> Iterator[FileServer]:
    """VC-1's card, its file served from here."""
    path = write_published("vc1-vitb", tmp_path, shrink("vc1-vitb"))
    with FileServer({"/vc1.pth": path.read_bytes()}) as server:
        card = dataclasses.replace(CARDS["vc1-vitb"], sources=(Source(server.url("/vc1.pth")),))
        monkeypatch.setitem(CARDS, "vc1-vitb", card)
        yield server


def test_download_convert_and_work_offline(
    served: FileServer, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = FrameEncoder.from_name("vc1-vitb", device="cpu")
    content = torch.load(tmp_path / "vc1_vitb.pth", weights_only=True)
    frames = some_frames(90, 120)
    expected = published_output("vc1-vitb", content, frames)
    assert difference(encoder(frames), expected) <= TOLERANCE
    requests = len(served.requests)
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    again = FrameEncoder.from_spec(encoder.spec, device="cpu")
    assert torch.equal(again(frames), encoder(frames))
    assert len(served.requests) == requests
    assert not list((own_home / "downloads").rglob("*.pth"))  # the pickle is not kept


def test_offline_without_the_file(served: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"S2ROBOT_OFFLINE.*weights=PATH|weights=PATH"):
        FrameEncoder.from_name("vc1-vitb", device="cpu")
    assert not served.requests


def test_a_missing_file_names_the_address(served: FileServer) -> None:
    served.files.clear()
    with pytest.raises(DownloadError, match=r"404.*(?s:.*)weights=PATH"):
        FrameEncoder.from_name("vc1-vitb", device="cpu")


def test_impossible_settings_download_nothing(served: FileServer) -> None:
    with pytest.raises(ValueError, match="unknown readout"):
        FrameEncoder.from_name("vc1-vitb", readout="clss", device="cpu")
    assert not served.requests


def test_licences_that_forbid_something_are_told_once(served: FileServer, own_home: Path) -> None:
    with pytest.warns(LicenceWarning, match="vc1-vitb: CC-BY-NC-4.0, not for commercial use"):
        load_backbone("vc1-vitb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone("vc1-vitb")
    assert "CC-BY-NC" in json.loads((own_home / "notices" / "vc1-vitb.json").read_text())["told"]


# Modules that other packages have loaded.


def module_like(name: str, package: str, kind: str, **members: Any) -> torch.nn.Module:
    """A module of a class as the other package would name it, holding the tensors of ``name``."""
    cls = type(kind, (torch.nn.Module,), {"__module__": f"{package}.models.somewhere"})
    module = cls()
    for key, value in members.items():
        setattr(module, key, value)
    return module


def test_what_load_r3m_returns(tmp_path: Path) -> None:
    path = write_published("r3m-resnet18", tmp_path, 18)
    direct = FrameEncoder.from_name("r3m-resnet18", weights=path, device="cpu")
    convnet = get_card("r3m-resnet18").architecture.build()
    convnet.load_state_dict(direct.backbone.model.state_dict())
    r3m = torch.nn.DataParallel(module_like("r3m", "r3m", "R3M", convnet=convnet, size=18))
    encoder = FrameEncoder.from_module(r3m, scales=(1, 2), device="cpu")
    expected = FrameEncoder.from_name("r3m-resnet18", scales=(1, 2), weights=path, device="cpu")
    frames = some_frames(60, 80)
    assert torch.equal(encoder(frames), expected(frames))
    assert encoder.spec == expected.spec


def test_what_mvp_load_returns(tmp_path: Path, shrink: Any) -> None:
    from timm.models.vision_transformer import VisionTransformer

    path = write_published("mvp-vits-hoi", tmp_path, shrink("mvp-vits-hoi"))
    direct = FrameEncoder.from_name("mvp-vits-hoi", weights=path, device="cpu")
    kind = type("VisionTransformer", (VisionTransformer,), {"__module__": "mvp.backbones.vit"})
    module: Any = kind(
        img_size=SMALL.image_size,
        patch_size=SMALL.patch,
        embed_dim=SMALL.dim,
        depth=SMALL.depth,
        num_heads=HEADS,
        num_classes=0,
    )
    module.load_state_dict(direct.backbone.model.state_dict())
    encoder = FrameEncoder.from_module(module, name="mvp-vits-hoi", device="cpu")
    frames = some_frames(60, 80)
    assert torch.equal(encoder(frames), direct(frames))
    with torch.no_grad():
        module.cls_token.add_(1)  # the encoder has its own copy
    assert torch.equal(encoder(frames), direct(frames))


def test_timm_modules_and_unknown_ones() -> None:
    import timm

    model = timm.create_model("resnet10t", num_classes=0)
    encoder = FrameEncoder.from_module(model, device="cpu")
    assert encoder.spec.backbone.startswith("timm/resnet10t")
    with pytest.raises(ValueError, match="could be several backbones or none"):
        FrameEncoder.from_module(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="got str"):
        FrameEncoder.from_module("r3m")  # pyright: ignore[reportArgumentType]
    with pytest.raises(MismatchError, match="do not fit the architecture"):
        FrameEncoder.from_module(model, name="mcr-resnet50")


def test_a_torchvision_resnet_has_to_be_named() -> None:
    import torchvision

    net: Any = torchvision.models.resnet50(weights=None)
    net.fc = torch.nn.Identity()
    with pytest.raises(ValueError, match="name='mcr-resnet50'"):
        FrameEncoder.from_module(net)
    assert FrameEncoder.from_module(net, name="mcr-resnet50", device="cpu").embedding_dim == 2048


# Weights of one's own, described in a model card.


@pytest.fixture
def own_card(tmp_path: Path) -> Path:
    """A fine-tuned ResNet inside a training checkpoint, and a card as the README shows one."""
    import timm

    net = timm.create_model("resnet10t", num_classes=0)
    tensors = {f"module.encoder.{name}": tensor for name, tensor in net.state_dict().items()}
    tensors["module.head.weight"] = torch.zeros(2, 2)
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "checkpoint.pth")
    card = {
        "name": "mine",
        "architecture": {"timm": "resnet10t"},
        "preprocessing": {
            "input_size": 64,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "resize": 72,
            "resampler": "pil",
        },
        "weights": "checkpoint.pth",
        "layout": {
            "key": "state_dict",
            "prefix": "module.encoder.",
            "dropped": ["module.head."],
        },
        "licence": "MIT",
    }
    (tmp_path / "mine.json").write_text(json.dumps(card))
    return tmp_path / "mine.json"


def test_a_card_of_ones_own(own_card: Path) -> None:
    encoder = FrameEncoder.from_name(f"file:{own_card}", scales=(1, 2), device="cpu")
    card = encoder.backbone.card
    assert (card.preprocessing.resize, card.dim, card.published) == (72, 512, "mean")
    stored = torch.load(own_card.with_name("checkpoint.pth"), weights_only=True)["state_dict"]
    loaded = encoder.backbone.model.state_dict()
    assert torch.equal(loaded["conv1.0.weight"], stored["module.encoder.conv1.0.weight"])
    assert encoder(some_frames(80, 100)).shape == (2, 1024)


def test_a_card_that_forgets_a_part_of_the_file(own_card: Path) -> None:
    content = json.loads(own_card.read_text())
    content["layout"]["dropped"] = []
    own_card.write_text(json.dumps(content))
    with pytest.raises(MismatchError, match="not known as parts.*module.head.weight"):
        load_backbone(f"file:{own_card}")


def test_a_card_with_a_digest_checks_it(own_card: Path) -> None:
    content = json.loads(own_card.read_text())
    own_card.write_text(json.dumps({**content, "sha256": "0" * 64}))
    with pytest.raises(CorruptFileError, match="has not the SHA-256"):
        load_backbone(f"file:{own_card}")


def test_other_parts_of_a_training_module_are_left_out(tmp_path: Path, shrink: Any) -> None:
    """SPA's file holds all of its pre-training; the encoder's own names stay strict."""
    path = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    tensors = load_file(path)
    save_file({**tensors, "model.some_renderer.weight": torch.zeros(2)}, path)
    load_backbone("spa-vitb", weights=path)
    save_file({**tensors, "model.img_backbone.surplus": torch.zeros(2)}, path)
    with pytest.raises(MismatchError, match="unknown: surplus"):
        load_backbone("spa-vitb", weights=path)
