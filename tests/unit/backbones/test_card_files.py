"""The user's weights, described in a model card as docs/guides/own-weights.md shows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import timm
import torch
from support.damage import attempt, damaged_json
from support.small_published import some_frames
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.backbones import get_card, load_backbone
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
