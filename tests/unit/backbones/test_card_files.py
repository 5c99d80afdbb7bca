"""The user's weights, described in a model card as docs/guides/own-weights.md shows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from support.damage import attempt, damaged_json
from support.small_published import some_frames
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.backbones import get_card, load_backbone
from s2robot.backbones.architectures import VIT, vit_architecture
from s2robot.errors import CorruptFileError, MismatchError

pytestmark = pytest.mark.usefixtures("fresh_home")


@pytest.fixture
def own_card(tmp_path: Path) -> Path:
    """A fine-tuned ResNet inside a training checkpoint, and a card as the documentation shows."""
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
        "license": "MIT",
    }
    (tmp_path / "mine.json").write_text(json.dumps(card))
    return tmp_path / "mine.json"


def test_a_card_of_the_user(own_card: Path) -> None:
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
    with pytest.raises(CorruptFileError, match="does not have the SHA-256"):
        load_backbone(f"file:{own_card}")


def test_a_card_names_its_family_or_stands_alone(own_card: Path) -> None:
    content = json.loads(own_card.read_text())
    for entries, family in (
        ({}, f"file:{own_card}"),
        ({"name": "mine"}, "mine"),
        ({"name": "mine", "family": "ours"}, "ours"),
    ):
        kept = {key: value for key, value in content.items() if key != "name"}
        own_card.write_text(json.dumps({**kept, **entries}))
        assert get_card(f"file:{own_card}").family == family


@pytest.mark.parametrize(
    ("entry", "expected"),
    [({"license": "MIT"}, "MIT"), ({"licence": "Apache-2.0"}, "Apache-2.0"), ({}, "not given")],
)
def test_both_spellings_of_the_license_are_read(
    own_card: Path, entry: dict[str, str], expected: str
) -> None:
    content = json.loads(own_card.read_text())
    del content["license"]
    own_card.write_text(json.dumps({**content, **entry}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_card(f"file:{own_card}").license.name == expected


def test_every_damage_of_a_card_is_an_error_or_another_encoder(tmp_path: Path) -> None:
    """A card is written by hand, so a plausible change is another encoder, with another digest."""
    card = write_tiny_model(tmp_path)

    def read() -> tuple[str, torch.Tensor]:
        encoder = FrameEncoder.from_name(f"file:{card}", (1,), "mean", device="cpu")
        return encoder.backbone.weights_digest, encoder(frames)

    frames = some_frames(40, 40)
    digest, whole = read()
    for damage in damaged_json(card):
        found, message = attempt(
            read, CorruptFileError, MismatchError, FileNotFoundError, ValueError
        )
        if found is None:
            assert "tiny" in message, damage
        else:
            assert found[0] != digest or torch.equal(found[1], whole), damage


def test_the_settings_that_are_wrong_are_named(own_card: Path) -> None:
    content = json.loads(own_card.read_text())
    content["preprocessing"]["mean"] = "0.5"
    own_card.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match=r"mine\.json.*mean.*own-weights\.md"):
        get_card(f"file:{own_card}")


# ------------------------------------------------------------------- positions of another grid
SIDE = 6
"""Of the grid of the model; the file has 9."""


def write_vit(folder: Path, patch: int = 8, layout: Any = None, **options: Any) -> Path:
    """A transformer for images of 9 patches a side, and a card for images of 6."""
    sizes = {"patch_size": patch, "embed_dim": 32, "depth": 1, "num_heads": 2}
    architecture = vit_architecture(9 * patch, patch, 32, 1, 2, **options)
    torch.save(filled(architecture.build().state_dict()), folder / "vit.pth")
    card = {
        "architecture": {"timm": VIT, "img_size": SIDE * patch, **sizes, **options},
        "preprocessing": {"input_size": SIDE * patch, "mean": [0.5] * 3, "std": [0.5] * 3},
        "weights": "vit.pth",
        "layout": layout or {},
    }
    (folder / "vit.json").write_text(json.dumps(card))
    return folder / "vit.json"


def filled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(t.shape, generator=generator) for name, t in state.items()}


def positions_of(card: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(grid of the file (1, C, 9, 9), positions of the loaded model (1, P + 36, C))"""
    stored = torch.load(card.with_name("vit.pth"), weights_only=True)["pos_embed"]
    maps = stored[:, -81:].unflatten(1, (9, 9)).permute(0, 3, 1, 2)
    return maps, load_backbone(f"file:{card}").model.state_dict()["pos_embed"]


def rows(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def bicubic(maps: torch.Tensor, **options: Any) -> torch.Tensor:
    return rows(torch.nn.functional.interpolate(maps, mode="bicubic", **options))


def test_positions_of_another_grid_are_brought_to_the_models_as_timm_does(tmp_path: Path) -> None:
    card = write_vit(tmp_path)
    maps, found = positions_of(card)
    stored = torch.load(card.with_name("vit.pth"), weights_only=True)["pos_embed"]
    assert torch.equal(found[:, :1], stored[:, :1])  # the class token's
    assert torch.allclose(found[:, 1:], bicubic(maps, size=SIDE, antialias=True), atol=1e-6)


def test_positions_by_the_rule_of_mae_are_not_antialiased(tmp_path: Path) -> None:
    maps, found = positions_of(write_vit(tmp_path, layout={"positions": "mae"}))
    assert torch.allclose(found[:, 1:], bicubic(maps, size=SIDE), atol=1e-6)


def test_layer_scale_and_patches_of_14_px_are_dinov2s_and_resampled_so(tmp_path: Path) -> None:
    maps, found = positions_of(write_vit(tmp_path, patch=14, init_values=1e-5))
    expected = bicubic(maps, scale_factor=(SIDE + 0.1) / 9)
    assert torch.allclose(found[:, 1:], expected, atol=1e-6)


def test_a_card_may_name_another_rule_for_dinov2(tmp_path: Path) -> None:
    card = write_vit(tmp_path, patch=14, init_values=1e-5, layout={"positions": "timm"})
    maps, found = positions_of(card)
    assert torch.allclose(found[:, 1:], bicubic(maps, size=SIDE, antialias=True), atol=1e-6)


def test_metas_file_with_registers_fits_timms_model(tmp_path: Path) -> None:
    """Meta adds a position to the class token; timm's model with registers has none for it."""
    options: Any = {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}
    card = write_vit(tmp_path, patch=14, **options)
    state = torch.load(card.with_name("vit.pth"), weights_only=True)
    at_class = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(1))
    state["pos_embed"] = torch.cat([at_class, state["pos_embed"]], dim=1)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, 32)
    torch.save(state, card.with_name("vit.pth"))
    maps, found = positions_of(card)
    loaded = load_backbone(f"file:{card}").model.state_dict()
    assert torch.allclose(found, bicubic(maps, size=SIDE, antialias=True), atol=1e-6)
    assert torch.equal(loaded["cls_token"], state["cls_token"] + at_class)
    assert torch.equal(loaded["reg_token"], state["register_tokens"])


def test_positions_of_the_same_grid_stay_as_they_are(tmp_path: Path) -> None:
    card = write_vit(tmp_path)
    content = json.loads(card.read_text())
    content["architecture"]["img_size"] = content["preprocessing"]["input_size"] = 72
    card.write_text(json.dumps(content))
    maps, found = positions_of(card)
    assert torch.equal(found[:, 1:], rows(maps))


def test_a_rule_holds_for_a_model_of_timms_registry_too(tmp_path: Path) -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=144)
    torch.save(filled(net.state_dict()), tmp_path / "vit.pth")
    card = {
        "architecture": {"timm": "vit_tiny_patch16_224"},
        "preprocessing": {"input_size": 96, "mean": [0.5] * 3, "std": [0.5] * 3},
        "weights": "vit.pth",
        "layout": {"positions": "mae"},
    }
    (tmp_path / "vit.json").write_text(json.dumps(card))
    maps, found = positions_of(tmp_path / "vit.json")
    assert torch.allclose(found[:, 1:], bicubic(maps, size=SIDE), atol=1e-6)


def test_positions_that_are_no_square_grid_are_still_refused(tmp_path: Path) -> None:
    card = write_vit(tmp_path)
    state = torch.load(card.with_name("vit.pth"), weights_only=True)
    state["pos_embed"] = state["pos_embed"][:, :-1]
    torch.save(state, card.with_name("vit.pth"))
    with pytest.raises(MismatchError, match=r"pos_embed \(1, 81, 32\) instead of \(1, 37, 32\)"):
        load_backbone(f"file:{card}")


def test_an_unknown_rule_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    card = write_vit(tmp_path, layout={"positions": "dino"})
    with pytest.raises(
        CorruptFileError, match="unknown layout.positions 'dino'; available: dinov2"
    ):
        get_card(f"file:{card}")


# ------------------------------------------------------------------------- mean and std in 0-1
@pytest.mark.parametrize(
    ("mean", "std", "seen"),
    [
        (
            127,
            128,
            "0 to 255; they have to be of RGB in 0-1: mean [0.498, 0.498, 0.498] and std [0.5",
        ),
        (0.485, 58.4, "0 to 255"),
        (
            -0.03,
            0.458,
            "-1 to 1; they have to be of RGB in 0-1: mean [0.485, 0.485, 0.485] and std [0.2",
        ),
    ],
)
def test_mean_and_std_of_another_value_range_are_refused(
    own_card: Path, mean: float, std: float, seen: str
) -> None:
    content = json.loads(own_card.read_text())
    content["preprocessing"].update(mean=[mean] * 3, std=[std] * 3)
    own_card.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError) as caught:
        get_card(f"file:{own_card}")
    assert f"seem to be of values from {seen}" in str(caught.value)
