"""Weights of repositories: formats, shards, copies of the user, strict loading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_hub import Hub

from s2robot.backbones import get_card, load_backbone
from s2robot.backbones.download.cache import converted_path
from s2robot.errors import MismatchError


def test_safetensors_are_used_where_they_lie(hub: Hub, tmp_path: Path) -> None:
    load_backbone("hf/owner/vit")
    assert not list((tmp_path / "home").glob("weights/*"))


def test_old_files(hub: Hub, tmp_path: Path) -> None:
    """CLIP as it was first published: .bin, position_ids, numbers for sizes."""
    files = hub.files("clip")
    state = load_file(_written(tmp_path / "w", files.pop("model.safetensors")))
    state["vision_model.embeddings.position_ids"] = torch.arange(17).unsqueeze(0)
    state["text_model.embeddings.position_ids"] = torch.arange(8).unsqueeze(0)
    torch.save({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "w.bin")
    files["pytorch_model.bin"] = (tmp_path / "w.bin").read_bytes()
    files["preprocessor_config.json"] = json.dumps(
        {
            "feature_extractor_type": "CLIPFeatureExtractor",
            **{"do_resize": True, "size": 40, "do_center_crop": True, "crop_size": 32},
            **{"resample": 3, "do_normalize": True},
            **{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
        }
    ).encode()
    name = hub.add("clip-old", files)
    backbone = load_backbone(name)
    pixels = backbone.card.preprocessing
    assert (pixels.image_size, pixels.resize, pixels.fit) == (32, 40, "shorter")
    assert (pixels.mean, pixels.std) == ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1))
    loaded, new = backbone.model.state_dict(), load_backbone("hf/owner/clip").model.state_dict()
    assert all(torch.equal(loaded[k], tensor) for k, tensor in new.items())
    assert converted_path(backbone.card).exists()
    assert load_backbone(name).weights_digest == backbone.weights_digest


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_shards_are_joined(hub: Hub, tmp_path: Path) -> None:
    files = hub.files("vit")
    state = load_file(_written(tmp_path / "w", files.pop("model.safetensors")))
    names = sorted(state)
    index = {}
    for i, part in enumerate((names[:9], names[9:])):
        shard = f"model-{i}.safetensors"
        save_file({name: state[name] for name in part}, tmp_path / shard)
        files[shard] = (tmp_path / shard).read_bytes()
        index |= dict.fromkeys(part, shard)
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    sharded = load_backbone(hub.add("vit-sharded", files))
    assert sharded.weights_digest == load_backbone("hf/owner/vit").weights_digest
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"x": "../x"}}).encode()
    with pytest.raises(Exception, match="not a plain file name"):
        load_backbone(hub.add("vit-bad-index", files))


def test_own_copy_of_the_weights(hub: Hub, tmp_path: Path) -> None:
    """The description comes from the hub or its cache, the weights from the user's file."""
    whole = load_backbone("hf/owner/vit")
    path = _written(tmp_path / "mine.safetensors", hub.files("vit")["model.safetensors"])
    assert load_backbone("hf/owner/vit", weights=path).weights_digest == whole.weights_digest
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        load_backbone("hf/owner/vit", weights=tmp_path / "none.bin")
    with pytest.raises(MismatchError, match="missing: embeddings.distillation_token"):
        load_backbone("hf/owner/deit", weights=path)


def test_unknown_tensors_are_refused(hub: Hub, tmp_path: Path) -> None:
    files = hub.files("vit")
    state = load_file(_written(tmp_path / "w", files["model.safetensors"]))
    save_file({**state, "adapter.weight": torch.zeros(1)}, tmp_path / "more")
    files["model.safetensors"] = (tmp_path / "more").read_bytes()
    with pytest.raises(MismatchError, match=r"unknown: adapter\.weight"):
        load_backbone(hub.add("vit-more", files))


def test_weights_are_those_of_the_description(hub: Hub) -> None:
    """What is published between the two downloads does not mix with what came before."""
    files = hub.files("vit")
    card = get_card(hub.add("vit-moving", files))
    commit = hub.server.repos["owner/vit-moving"].commit
    assert all(source.url.endswith(f"@{commit}") for source in card.sources)
    pinned = get_card(f"hf/owner/vit-moving@{commit}")
    assert (pinned.sources, pinned.architecture) == (card.sources, card.architecture)
