"""Backbones: cards, strict and safe loading, tokens, cost."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.changed_weights import CHANGES, scale_in_place
from support.file_server import FileServer, use_hub
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.backbones import CARDS, Backbone, Preprocessing, get_card, load_backbone
from s2robot.backbones.card_files import read_model_card
from s2robot.cli.encoders import where
from s2robot.errors import CorruptFileError, MismatchError


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
    options = get_card(name).architecture.to_dict()
    assert (options["img_size"], options["embed_dim"], options["num_heads"]) == (size, dim, heads)


@pytest.mark.parametrize("name", CARDS)
def test_cards_describe_what_timm_builds(name: str) -> None:
    card = CARDS[name]
    size = card.preprocessing.image_size
    model: Any = card.architecture.build_empty().to("meta").eval()
    with torch.device("meta"):
        features = model.forward_features(torch.empty(1, 3, size, size))
    assert model.num_features == card.dim
    assert getattr(model, "num_prefix_tokens", 0) == card.num_prefix_tokens
    side = card.grid_side(size)
    if features.ndim == 3:
        assert features.shape == (1, card.num_prefix_tokens + side * side, card.dim)
    else:
        assert features.shape == (1, card.dim, side, side)
    if card.published == "head":
        with torch.device("meta"):
            pooled = model.forward_head(features, pre_logits=not model.num_classes)
        assert pooled.shape == (1, card.head_dim)


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
    with pytest.raises(ValueError, match="100 px is not a multiple of the stride 16"):
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


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_have_another_digest(change: Callable[[Backbone], None]) -> None:
    backbone = load_backbone("random/vitt16-128")
    loaded = backbone.weights_digest
    change(backbone)
    again = Backbone(backbone.card, copy.deepcopy(backbone.model))
    assert backbone.weights_digest == again.weights_digest != loaded
    assert backbone.loaded_digest == loaded


def test_weights_that_are_changed_back_or_moved_have_their_first_digest() -> None:
    backbone = load_backbone("random/vitt16-128")
    loaded, kept = backbone.weights_digest, copy.deepcopy(backbone.model.state_dict())
    scale_in_place(backbone)
    assert backbone.weights_digest != loaded
    backbone.model.load_state_dict(kept)
    assert backbone.weights_digest == loaded
    for weight in backbone.model.parameters():
        weight.data = weight.data.clone()
    assert backbone.weights_digest == loaded
    assert copy.deepcopy(backbone).weights_digest == loaded


def test_a_digest_of_untouched_weights_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone("random/vitt16-128")
    monkeypatch.setattr(backbone, "_new_digest", lambda: pytest.fail("computed again"))
    assert backbone.weights_digest == backbone.loaded_digest
    scale_in_place(backbone)
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        assert backbone.weights_digest


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
        ("timm/hiera_tiny_224", "no square grid of tokens in known order"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_card(name)


def test_timm_card() -> None:
    card = get_card("timm/vit_small_patch14_reg4_dinov2.lvd142m")
    assert (card.stride, card.num_prefix_tokens, card.dim) == (14, 5, 384)
    assert card.preprocessing == Preprocessing(518, resampler="pil")
    assert card.published == "cls"


@pytest.mark.parametrize(
    ("names", "family"),
    [
        ("r3m-resnet18 r3m-resnet34 r3m-resnet50", "r3m"),
        ("mvp-vits-hoi mvp-vitb-egosoup mvp-vitl-egosoup", "mvp"),
        ("mvp-vits-in", "mvp-in"),
        ("vc1-vitb vc1-vitl", "vc1"),
        ("dinov2-vits14 dinov2-vitb14 dinov2-vitl14", "dinov2"),
        ("dinov2-vits14-reg dinov2-vitl14-reg", "dinov2-reg"),
        ("clip-vitb16 clip-vitl14", "clip"),
        ("c-radio-v3-vitb16 c-radio-v3-vitl16", "c-radio-v3"),
        ("c-radio-v4-so400m16 c-radio-v4-vith16", "c-radio-v4"),
        ("eupe-vitt16 eupe-vits16 eupe-vitb16", "eupe"),
        ("efficientnet-lite0 efficientnet-lite1 efficientnet-lite2", "efficientnet-lite"),
        ("s2r-vitt16-128", "s2r"),
        ("random/vitt16-128 random/vitl16-224", "random-vit"),
        ("d4r-resnet18", "d4r-resnet18"),
        ("timm/resnet10t", "timm/resnett.c3_in1k"),
        (
            "timm/vit_small_patch14_reg4_dinov2.lvd142m timm/vit_base_patch14_reg4_dinov2.lvd142m",
            "timm/vit_reg4_dinov2.lvd142m",
        ),
        ("timm/vit_small_patch16_224.dino", "timm/vit.dino"),
    ],
)
def test_size_alone_differs_within_a_family(names: str, family: str) -> None:
    assert {get_card(name).family for name in names.split()} == {family}


@pytest.mark.parametrize(
    ("name", "stride", "dim", "published", "head_dim"),
    [
        ("timm/vit_base_patch16_siglip_224.v2_webli", 16, 768, "head", 768),
        ("timm/resnet10t", 32, 512, "mean", None),
        ("timm/convnext_atto", 32, 320, "head", 320),
        ("timm/swin_tiny_patch4_window7_224", 32, 768, "head", 768),
        ("timm/mobilenetv3_small_100", 32, 576, "head", 1024),
    ],
)
def test_timm_families(
    name: str, stride: int, dim: int, published: str, head_dim: int | None
) -> None:
    card = get_card(name)
    assert (card.stride, card.dim, card.published, card.head_dim) == (
        stride,
        dim,
        published,
        head_dim,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_published_output_is_timms_own(name: str, tmp_path: Path) -> None:
    """Weights from a file with the classifier that timm's hub files have."""
    model: Any = timm.create_model(name, num_classes=10).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = FrameEncoder.from_name(
        f"timm/{name}", weights=tmp_path / "w.safetensors", device="cpu"
    )
    size = encoder.backbone.card.preprocessing.image_size
    frames = np.random.default_rng(0).integers(0, 256, (2, size + 9, size, 3), dtype=np.uint8)
    transform: Any = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=model.pretrained_cfg)
    )
    images = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
    found = encoder(frames)
    assert (found - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.slow
def test_timm_weights_in_another_layout(tmp_path: Path) -> None:
    """timm's own conversion steps in where a file is not in its layout (Meta's registers here)."""
    model = timm.create_model("vit_small_patch14_reg4_dinov2.lvd142m", img_size=518)
    state = dict(model.state_dict())
    cls_position = torch.randn(1, 1, 384)
    state["pos_embed"] = torch.cat([cls_position, state["pos_embed"]], dim=1)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, 384)
    torch.save(state, tmp_path / "meta.pth")
    backbone = load_backbone(
        "timm/vit_small_patch14_reg4_dinov2.lvd142m", weights=tmp_path / "meta.pth"
    )
    loaded = backbone.model.state_dict()
    assert torch.equal(loaded["reg_token"], state["register_tokens"])
    assert torch.allclose(loaded["cls_token"], state["cls_token"] + cls_position)


@pytest.mark.process
def test_timm_weights_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = timm.create_model("resnet10t")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    repository = get_card("timm/resnet10t").sources[0].hub_parts[0]
    with FileServer({}) as server:
        server.add_repo(repository, {"model.safetensors": content})
        use_hub(monkeypatch, server, tmp_path / "hub")
        backbone = load_backbone("timm/resnet10t")
    assert where(backbone.card) == "here"
    again = load_backbone("timm/resnet10t")  # the server is gone
    assert again.weights_digest == backbone.weights_digest
    assert torch.equal(backbone.model.state_dict()["conv1.0.weight"], model.conv1[0].weight)


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


def test_rounding_of_the_crop_changes_a_digest_only_where_it_is_reported(tiny_card: Path) -> None:
    """Features and policies of before there was such a rule stay valid."""
    original = load_backbone(f"file:{tiny_card}")
    assert "floors_crop" not in original.card.preprocessing.to_dict()
    content = json.loads(tiny_card.read_text())
    content["preprocessing"]["floors_crop"] = True
    tiny_card.write_text(json.dumps(content))
    floored = load_backbone(f"file:{tiny_card}")
    assert floored.card.preprocessing.floors_crop
    assert floored.weights_digest != original.weights_digest


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
        ({"architecture": {"timm": "resnet18", "depth": 3}}, "timm cannot build 'resnet18'"),
        ({"architecture": {"timm": "vision_transformer.VisionTransformer"}}, "img_size"),
        (
            {"preprocessing": {"input_size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "crop": 1}},
            "unknown entries",
        ),
        ({"layout": {"prefx": ""}}, "allowed are"),
        ({"architecture": None}, '"architecture" - should be'),
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


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 0},
        {"image_size": 8, "resize": 7},
        {"image_size": 8, "std": (1, 0, 1)},
    ],
)
def test_preprocessing_is_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must|need"):
        Preprocessing(**settings)


def test_preprocessing_names_what_it_knows() -> None:
    with pytest.raises(ValueError, match="unknown resampler 'pill'.*did you mean 'pil'"):
        Preprocessing(8, resampler="pill")
