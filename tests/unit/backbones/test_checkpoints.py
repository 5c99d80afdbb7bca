"""Weights from files: read safely, loaded strictly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.published_files import write_published

from s2robot.backbones import load_backbone
from s2robot.backbones.checkpoints import fingerprint
from s2robot.errors import CorruptFileError, MismatchError

pytestmark = pytest.mark.usefixtures("fresh_home")


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
        CorruptFileError, match="mvp.pth .* is not a complete PyTorch .* download it again"
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


def test_other_parts_of_a_training_module_are_left_out(tmp_path: Path, shrink: Any) -> None:
    """SPA's file holds all of its pre-training; the encoder's own names stay strict."""
    path = write_published("spa-vitb", tmp_path, shrink("spa-vitb"))
    tensors = load_file(path)
    save_file({**tensors, "model.some_renderer.weight": torch.zeros(2)}, path)
    load_backbone("spa-vitb", weights=path)
    save_file({**tensors, "model.img_backbone.surplus": torch.zeros(2)}, path)
    with pytest.raises(MismatchError, match="unknown: surplus"):
        load_backbone("spa-vitb", weights=path)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0, 3), (3,), (3, 4), (2, 3, 5)])
def test_a_fingerprint_sees_each_value_of_any_type_and_place(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    buffer = torch.zeros(1 + math.prod(shape), dtype=dtype)
    tensor = buffer[1:].view(shape)  # does not begin at the beginning of its memory
    seen = [fingerprint({"a": tensor})]
    for place in range(tensor.numel()):
        tensor.data.view(-1)[place] = 1
        seen.append(fingerprint({"a": tensor}))
    assert len(set(seen)) == len(seen)
    assert fingerprint({"a": tensor}) == seen[-1]
    assert fingerprint({"b": tensor}) != seen[-1]
