"""Published weights in the cache: converted once, used offline, license warnings."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.file_server import FileServer
from support.published_files import write_published
from support.small_published import SMALL, TOLERANCE, difference, some_frames

from s2robot import FrameEncoder
from s2robot.analysis.parity.reference_models import published_output
from s2robot.backbones import CARDS, get_card, load_backbone
from s2robot.backbones.download.cache import converted_path
from s2robot.backbones.weight_sources import Source
from s2robot.errors import CorruptFileError, DownloadError, LicenseWarning

pytestmark = pytest.mark.usefixtures("fresh_home")


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
    name: str, tmp_path: Path, shrink: Any, fresh_home: Path, monkeypatch: Any
) -> None:
    path = write_published(name, tmp_path, shrink(name))
    expected = load_backbone(name, weights=path).weights_digest
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "file" / "home"))
    with pytest.warns(UserWarning, match="cannot be kept.*S2ROBOT_HOME"):
        assert load_backbone(name, weights=path).weights_digest == expected


def test_safetensors_are_used_in_place(tmp_path: Path, fresh_home: Path, shrink: Any) -> None:
    path = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    backbone = load_backbone("spa-vitb", weights=path)
    assert not (fresh_home / "weights").exists()
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
    served: FileServer, tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
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
    assert not list((fresh_home / "downloads").rglob("*.pth"))  # the pickle is not kept


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


def test_licenses_that_forbid_something_are_shown_once(
    served: FileServer, fresh_home: Path
) -> None:
    with pytest.warns(LicenseWarning, match="vc1-vitb: CC-BY-NC-4.0, not for commercial use"):
        load_backbone("vc1-vitb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_backbone("vc1-vitb")
    assert "CC-BY-NC" in json.loads((fresh_home / "notices" / "vc1-vitb.json").read_text())["told"]


def test_gated_weights_name_the_next_step(shrink: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    license = dataclasses.replace(CARDS["spa-vitb"].license, gated=True)
    monkeypatch.setitem(CARDS, "spa-vitb", dataclasses.replace(CARDS["spa-vitb"], license=license))
    with pytest.warns(LicenseWarning, match="behind a form on the hub .* HF_TOKEN"):
        load_backbone("spa-vitb", weights=path)
