"""Cards from descriptions of repositories: timm, transformers, offline, and refusals."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from support.tiny_hub import Hub

from s2robot.backbones import get_card, load_backbone
from s2robot.backbones.huggingface import cards as huggingface
from s2robot.backbones.huggingface.models import MissingLibraryError
from s2robot.errors import DownloadError

transformers = pytest.importorskip("transformers")


def timm_files(tmp_path: Path, **config: Any) -> dict[str, bytes]:
    """A repository as timm writes it, of a ResNet with another head and other options."""
    options = {"layers": [1, 1, 1, 1], "stem_width": 8}
    model = timm.create_model("resnet10t", num_classes=3, **options)
    save_file(model.state_dict(), tmp_path / "timm")
    described = {
        "architecture": "resnet10t",
        "num_classes": 3,
        "global_pool": "avg",
        "model_args": options,
        "pretrained_cfg": {
            **{"input_size": [3, 64, 64], "interpolation": "bilinear", "crop_pct": 0.9},
            **{"mean": [0.1, 0.2, 0.3], "std": [0.3, 0.2, 0.1], "classifier": "fc"},
        },
        **config,
    }
    return {
        "config.json": json.dumps(described).encode(),
        "model.safetensors": (tmp_path / "timm").read_bytes(),
    }


def test_timm_repository(hub: Hub, tmp_path: Path) -> None:
    files = timm_files(tmp_path)
    backbone = load_backbone(hub.add("timm", files))
    card = backbone.card
    assert (card.origin, card.published, card.stride) == ("timm", "mean", 32)
    assert (card.preprocessing.image_size, card.preprocessing.resize) == (64, 71)
    assert card.preprocessing.mean == (0.1, 0.2, 0.3)
    assert "huggingface.co/owner/timm" in card.license.name
    assert card.family == "timm/resnett"
    state = load_file(tmp_path / "timm")
    loaded = backbone.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
    assert set(state) - set(loaded) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "local-dir:/x"}, "does not have"),
        ({"architecture": "vit_of_tomorrow"}, "pip install -U timm"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "refused"),
        ({"model_args": {"no_such": 1}}, "cannot build"),
    ],
)
def test_bad_timm_repositories(
    hub: Hub, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        get_card(hub.add_unnamed(timm_files(tmp_path, **change)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "radio", "auto_map": {"AutoModel": "hf_model.RADIOModel"}},
            r"code of its own \(hf_model\), which is not run.*timm/NAME.*file:MODEL_CARD",
        ),
        ({"model_type": "vit", "auto_map": {"AutoModel": "mine.ViT"}}, "code of its own"),
        ({"model_type": "siglip2"}, "'siglip2' is none of vit, deit, .*siglip"),
        ({"model_type": "llava"}, "'llava' is none of"),
        ({}, "None is none of"),
        ({"model_type": "vit", "image_size": [32, 64]}, r"not square: image_size \[32, 64\]"),
        ({"model_type": "resnet", "layer_type": "odd"}, "cannot read the configuration"),
    ],
)
def test_what_cannot_be_built(hub: Hub, config: dict[str, Any], message: str) -> None:
    files = {"config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match=message):
        get_card(hub.add_unnamed(files))


def test_transformers_is_optional(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importing = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "transformers":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return importing(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "transformers")
    with pytest.raises(MissingLibraryError, match=r"pip install 'transformers>="):
        get_card("hf/owner/vit")
    assert get_card(hub.add("timm-alone", timm_files(tmp_path))).origin == "timm"


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone("hf/owner/vit")
    hub.add("vit-bare", {k: v for k, v in hub.files("vit").items() if k[0] != "p"})
    bare = load_backbone("hf/owner/vit-bare")  # the cache remembers that there is no processor
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    huggingface._hub_card.cache_clear()
    asked = len(hub.server.requests)
    assert load_backbone("hf/owner/vit").weights_digest == first.weights_digest
    assert load_backbone("hf/owner/vit-bare").weights_digest == bare.weights_digest
    with pytest.raises(DownloadError, match=r"offline.*not in the hub's cache") as caught:
        load_backbone("hf/owner/deit", weights="deit.safetensors")
    assert "connect once without that variable" in str(caught.value)
    assert "weights=PATH" not in str(caught.value)
    assert len(hub.server.requests) == asked


def test_offline_without_knowing_the_preprocessing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default in its place would be a silent change of the features."""
    named = huggingface.Repository("owner/vit")
    named.fetch("config.json")
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"preprocessor_config\.json"):
        get_card("hf/owner/vit")


def test_missing_files(hub: Hub) -> None:
    with pytest.raises(DownloadError, match="no repository owner/nothing") as caught:
        get_card("hf/owner/nothing")
    for step in ("HF_ENDPOINT", "HF_TOKEN", "timm/NAME", "file:MODEL_CARD.json"):
        assert step in str(caught.value)
    assert "weights=PATH" not in str(caught.value)
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        get_card("hf/owner/vit@v9")
    files = hub.files("vit")
    del files["model.safetensors"]
    with pytest.raises(DownloadError, match=r"\.safetensors.*\n.*model\.bin.*\n.*weights=PATH"):
        load_backbone(hub.add("vit-empty", files))
    with pytest.raises(ValueError, match="hf/OWNER/MODEL@REVISION"):
        get_card("hf/owner")
