"""Backbones: cards, strict and safe loading, tokens, cost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tiny_models import SHAPE, write_tiny_model

from s2robot.backbones import CARDS, Architecture, Backbone, Preprocessing, get_card, load_backbone
from s2robot.backbones.cards import vit_architecture
from s2robot.backbones.weights import read_model_card
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(folder)
    return folder


@pytest.fixture
def tiny_card(tiny_folder: Path, tmp_path: Path) -> Path:
    """A card that a test may damage."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model" / "tiny.json"


@pytest.fixture(scope="module")
def random_vit() -> Backbone:
    return load_backbone("random/vitt16-128")


@pytest.mark.parametrize(
    ("name", "size", "dim", "heads"),
    [
        ("s2r-vitt16-128", 128, 192, 3),
        ("mvp-vits-hoi", 224, 384, 12),
        ("mvp-vits-in", 224, 384, 12),
        ("mvp-vits-sup", 224, 384, 12),
        ("mvp-vitb-egosoup", 224, 768, 12),
        ("mvp-vitl-egosoup", 256, 1024, 16),
        ("vc1-vitl", 224, 1024, 16),
    ],
)
def test_published_shapes(name: str, size: int, dim: int, heads: int) -> None:
    """Heads leave no trace in a weight's shape: nothing else would notice a wrong number."""
    options = get_card(name).architecture.options
    assert (options["img_size"], options["embed_dim"], options["num_heads"]) == (size, dim, heads)


@pytest.mark.parametrize("name", CARDS)
def test_cards_describe_what_timm_builds(name: str) -> None:
    card = CARDS[name]
    with torch.device("meta"):
        model: Any = card.architecture.build()
    assert model.num_features == card.dim
    assert getattr(model, "num_prefix_tokens", 0) == card.num_prefix_tokens
    assert card.grid_side(card.preprocessing.image_size) * card.stride == (
        card.preprocessing.image_size
    )


def test_tokens_are_timms(random_vit: Backbone) -> None:
    crops = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    prefix, grid = random_vit.forward_tokens(crops)
    model: Any = random_vit.model
    expected = model.forward_features(crops)
    assert torch.equal(prefix, expected[:, :1])
    assert torch.equal(grid.flatten(1, 2), expected[:, 1:])
    assert grid.shape == (2, 8, 8, 192)


def test_convnet_grid_keeps_its_places() -> None:
    backbone = load_backbone("random/resnet18-224")
    crops = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    prefix, grid = backbone.forward_tokens(crops)
    model: Any = backbone.model
    assert prefix.shape == (1, 0, 512)
    assert torch.equal(grid.permute(0, 3, 1, 2), model.forward_features(crops))


def test_tiles_of_another_size(random_vit: Backbone) -> None:
    _, grid = random_vit.forward_tokens(torch.zeros(1, 3, 96, 96))
    assert grid.shape == (1, 6, 6, 192)
    with pytest.raises(ValueError, match="100 px is no multiple of the stride 16"):
        random_vit.forward_tokens(torch.zeros(1, 3, 100, 100))


def test_frozen(random_vit: Backbone) -> None:
    assert not random_vit.train().training
    assert not any(module.training for module in random_vit.modules())
    assert not any(p.requires_grad for p in random_vit.parameters())


def test_random_is_repeatable_and_leaves_the_rng_alone(random_vit: Backbone) -> None:
    torch.random.default_generator.manual_seed(7)
    before = torch.random.get_rng_state()
    again = load_backbone("random/vitt16-128")
    assert again.weights_digest == random_vit.weights_digest
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_takes_no_weights() -> None:
    with pytest.raises(ValueError, match="takes no weights"):
        load_backbone("random/vitt16-128", weights="x.pth")


def test_cost(random_vit: Backbone) -> None:
    # 12 blocks of 12·N·d² + 2·N²·d multiply-adds for N = 65, d = 192, and the patch embedding.
    n, d = 65, 192
    macs = 12 * (12 * n * d * d + 2 * n * n * d) + 64 * 768 * d
    assert random_vit.gflops() == pytest.approx(2 * macs / 1e9, rel=1e-3)
    assert random_vit.gflops(tiles=5) == pytest.approx(5 * random_vit.gflops())
    n = 17
    macs = 12 * (12 * n * d * d + 2 * n * n * d) + 16 * 768 * d
    assert random_vit.gflops(tile_size=64) == pytest.approx(2 * macs / 1e9, rel=1e-3)
    assert random_vit.parameters_count == pytest.approx(5.5e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mvp-vitb-egosop", "did you mean 'mvp-vitb-egosoup'"),
        ("timm/vit_tiny_patch16_225", "did you mean 'vit_tiny_patch16_224'"),
        ("timm/swin_tiny_patch4_window7_224", "VisionTransformer, Eva and ResNet"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_card(name)


def test_timm_card() -> None:
    card = get_card("timm/vit_small_patch14_reg4_dinov2.lvd142m")
    assert (card.stride, card.num_prefix_tokens, card.dim) == (14, 5, 384)
    assert card.preprocessing == Preprocessing(518)
    assert get_card("timm/vit_base_patch16_siglip_224.v2_webli").published == "mean"


def test_timm_weights_from_a_file(tmp_path: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=0)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    backbone = load_backbone("timm/resnet10t", weights=tmp_path / "w.safetensors")
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_timm_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(S2RobotError, match=r"no route to host.*weights=PATH"):
        load_backbone("timm/resnet10t")


def test_file_card_and_half_precision(tiny_card: Path) -> None:
    backbone = load_backbone(f"file:{tiny_card}")
    assert backbone.card.preprocessing == Preprocessing(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    stored = load_file(tiny_card.with_suffix(".safetensors"))
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in stored.items())
    by_weights = load_backbone(f"file:{tiny_card.with_suffix('.safetensors')}")
    assert by_weights.weights_digest == backbone.weights_digest


def test_file_may_have_moved(tiny_card: Path) -> None:
    moved = load_backbone("file:/somewhere/else.json", weights=tiny_card)
    assert moved.card.name == "file:/somewhere/else.json"
    assert moved.weights_digest == load_backbone(f"file:{tiny_card}").weights_digest


def test_digest_covers_weights_and_preprocessing(tiny_card: Path, tmp_path: Path) -> None:
    original = load_backbone(f"file:{tiny_card}").weights_digest
    content = json.loads(tiny_card.read_text())
    content["preprocessing"]["std"] = [0.2, 0.3, 0.26]
    tiny_card.write_text(json.dumps(content))
    assert load_backbone(f"file:{tiny_card}").weights_digest != original
    content["architecture"]["num_heads"] = 4  # the shapes stay the same
    tiny_card.write_text(json.dumps(content))
    assert load_backbone(f"file:{tiny_card}").weights_digest != original
    elsewhere = write_tiny_model(tmp_path, stem="copy")
    assert load_backbone(f"file:{elsewhere}").weights_digest == original


def test_altered_weights_are_refused(tiny_card: Path) -> None:
    weights = tiny_card.with_suffix(".safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptFileError, match="SHA-256"):
        load_backbone(f"file:{tiny_card}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preprocessing": {}}, "input_size"),
        ({"architecture": {"timm": "resnet18"}}, "img_size"),
        ({"architecture": None}, "no model card"),
    ],
)
def test_bad_cards(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    card = write_tiny_model(tmp_path, **change)
    with pytest.raises(CorruptFileError, match=message):
        read_model_card(card, "x")


def test_missing_card(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="s2robot pretrain"):
        load_backbone(f"file:{tmp_path / 'none.json'}")


def test_packaged_name_refuses_another_architecture(tiny_card: Path) -> None:
    with pytest.raises(MismatchError, match="s2r-vitt16-128 is"):
        load_backbone("s2r-vitt16-128", weights=tiny_card)


@pytest.fixture
def mvp(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a backbone with MVP's file layout, made small."""
    card = get_card("mvp-vits-hoi")
    small = dataclasses.replace(card, architecture=vit_architecture(*SHAPE), stride=8, dim=24)
    monkeypatch.setitem(CARDS, card.name, small)
    return card.name


def test_mvp_layout(tmp_path: Path, mvp: str) -> None:
    state = get_card(mvp).architecture.build().state_dict()
    extras = {"decoder_pred.weight": torch.zeros(2, 2), "mask_token": torch.zeros(1, 1, 24)}
    torch.save({"model": {**state, **extras}, "epoch": 3}, tmp_path / "mvp.pth")
    backbone = load_backbone(mvp, weights=tmp_path / "mvp.pth")
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    model: Any = backbone.model
    assert model.norm.eps == 1e-6


@pytest.fixture
def r3m(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a backbone with R3M's file layout, made small."""
    card = get_card("r3m-resnet18")
    small = dataclasses.replace(card, architecture=Architecture("resnet10t"))
    monkeypatch.setitem(CARDS, card.name, small)
    return card.name


def save_r3m(path: Path, **changes: torch.Tensor) -> dict[str, torch.Tensor]:
    state = get_card("r3m-resnet18").architecture.build().state_dict()
    state["bn1.running_mean"] = torch.arange(64.0)
    renamed = {f"module.convnet.{name}": tensor for name, tensor in state.items()}
    others = {"module.lang_enc.x": torch.zeros(1), "module.lang_rew.y": torch.zeros(1)}
    torch.save({"r3m": {**renamed, **others, **changes}}, path)
    return state


def test_r3m_layout(tmp_path: Path, r3m: str) -> None:
    state = save_r3m(tmp_path / "r3m.pt")
    backbone = load_backbone(r3m, weights=tmp_path / "r3m.pt")
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert backbone.card.published == "mean"


def test_strict_loading_lists_the_differences(tmp_path: Path, r3m: str) -> None:
    changes = {
        "module.convnet.surplus": torch.zeros(1),
        "module.convnet.bn1.weight": torch.zeros(3),
    }
    save_r3m(tmp_path / "r3m.pt", **changes)
    with pytest.raises(
        MismatchError, match=r"unknown: surplus; of another shape: bn1.weight \(3,\)"
    ):
        load_backbone(r3m, weights=tmp_path / "r3m.pt")


def test_published_weights_must_be_given() -> None:
    with pytest.raises(FileNotFoundError, match=r"download https://berkeley.*weights=PATH"):
        load_backbone("mvp-vitb-egosoup")


class Payload:
    """Runs code when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_pickles_that_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"model": Payload(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(CorruptFileError, match="refused"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    tensors = {"a": torch.zeros(1000)}
    if suffix == ".pth":
        torch.save(tensors, whole)
    else:
        save_file(tensors, whole)
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CorruptFileError, match="half"):
        load_backbone("mvp-vits-hoi", weights=half)


def test_wrong_entry(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.pth")
    with pytest.raises(CorruptFileError, match=r"no entry 'model'; it holds \['state_dict'\]"):
        load_backbone("mvp-vits-hoi", weights=tmp_path / "x.pth")


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 0},
        {"image_size": 8, "crop_fraction": 1.5},
        {"image_size": 8, "std": (1, 0, 1)},
    ],
)
def test_preprocessing_is_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must|need"):
        Preprocessing(**settings)
