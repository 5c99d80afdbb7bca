"""Backbones from the hub: against transformers itself, on tiny models and a hub of their own."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from support.file_server import FileServer, use_hub
from support.tiny_hub import FRAMES, HALVES, RECENT, TINY, WITH_HEADS, Hub

from s2robot.backbones import get_card, load_backbone
from s2robot.backbones.download.cache import converted_path
from s2robot.backbones.huggingface import cards as huggingface
from s2robot.backbones.huggingface.families import FAMILIES
from s2robot.backbones.huggingface.models import MissingLibraryError, TransformersArchitecture
from s2robot.backbones.intermediate_layers import layer_shapes
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import DownloadError, MismatchError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with all tiny models."""
    with FileServer() as server:
        hub = Hub(server, tmp_path_factory.mktemp("published"))
        for name, tiny in TINY.items():
            hub.publish(name, tiny)
        for name, tiny in WITH_HEADS.items():
            hub.publish(f"{name}-head", tiny)
        yield hub


@pytest.fixture
def hub(shared: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The hub, with an empty cache of this test's own."""
    use_hub(monkeypatch, shared.server, tmp_path / "cache")
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    return shared


def frames_of(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def vision(model: Any) -> Any:
    """The vision model of a larger one."""
    return model if isinstance(model, PLAIN) else model.vision_model


PLAIN = tuple(
    getattr(transformers, tiny.model)
    for tiny in TINY.values()
    if "vision_config" not in tiny.options
)


@torch.no_grad()
def expected_output(hub: Hub, name: str, frames: np.ndarray) -> torch.Tensor:
    """What transformers makes of frames: its own processor, its own model."""
    tiny, model = TINY[name], vision(hub.models[name])
    pixels = tiny.build_processor()(list(frames), return_tensors="pt")["pixel_values"]
    output = model(pixel_values=pixels)
    return (
        output.pooler_output.flatten(1)
        if tiny.output == "pooler"
        else (output.last_hidden_state[:, 0])
    )


@pytest.mark.parametrize("name", TINY)
def test_published_output_is_that_of_transformers(hub: Hub, name: str) -> None:
    encoder = FrameEncoder.from_name(f"hf/owner/{name}", device="cpu")
    assert encoder.backbone.card.num_prefix_tokens == TINY[name].prefix
    for height, width in (*FRAMES, *(HALVES if RECENT else ())):
        frames = frames_of(height, width)
        expected = expected_output(hub, name, frames)
        found = encoder(frames)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.skipif(not RECENT, reason="versions before 5 round to even on tensors")
@pytest.mark.parametrize(("height", "width"), HALVES[:2])
def test_published_crops_are_those_of_transformers(hub: Hub, height: int, width: int) -> None:
    """CLIP with the processor's own sizes: a crop of 224 px."""
    encoder = FrameEncoder.from_name("hf/owner/clip-head", device="cpu")
    frames = frames_of(height, width)
    crops = WITH_HEADS["clip"].build_processor()(list(frames), return_tensors="pt")["pixel_values"]
    assert crops.shape[-1] == 224
    trunk = hub.models["clip-head"].vision_model
    with torch.no_grad():
        expected = trunk(pixel_values=crops, interpolate_pos_encoding=True).pooler_output
    assert (encoder(frames) - expected).abs().max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("name", TINY)
def test_tokens_and_taps_are_those_of_transformers(hub: Hub, name: str) -> None:
    backbone = load_backbone(f"hf/owner/{name}")
    model = vision(hub.models[name])
    side = backbone.card.preprocessing.image_size
    crops = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    options = {"interpolate_pos_encoding": True} if INTERPOLATES.get(name) else {}
    with torch.no_grad():
        expected = model(pixel_values=crops, output_hidden_states=True, **options)
        tokens = backbone(crops)
        layers = [backbone.forward_intermediates(crops, [i]) for i in (0, 1, -1)]
    assert torch.equal(tokens, _rows(expected.last_hidden_state))
    states = [expected.hidden_states[i] for i in (1, 2, -1)]
    compared = 3 if RECENT else 1  # earlier versions norm the last state of some models
    for layer, state in zip(layers[:compared], states[:compared], strict=True):
        assert torch.equal(layer, _rows(state))
    shapes = layer_shapes(backbone.card)
    assert shapes[-1] == (backbone.card.dim, backbone.card.stride)
    assert len(shapes) == len(expected.hidden_states) - 1


INTERPOLATES = {"vit": True, "deit": True, "clip": True, "clip-vision": True} | {
    "siglip": True,
    "siglip-vision": True,
    "siglip-with-rest": True,
}


def _rows(features: torch.Tensor) -> torch.Tensor:
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features


@pytest.mark.parametrize("name", TINY)
def test_several_scales_and_cost(hub: Hub, name: str) -> None:
    """Three quarters ask for positions between those that the model was trained with."""
    fraction = {"resnet": 0.7, "convnext": 0.5, "siglip-with-rest": 3}.get(name, 0.75)
    encoder = FrameEncoder.from_name(
        f"hf/owner/{name}", scales=(1, fraction, 2), readout="mean", device="cpu"
    )
    embedding = encoder(frames_of(40, 50))
    assert embedding.shape == (2, 3 * encoder.backbone.card.dim)
    assert embedding.isfinite().all()
    if RECENT or name != "dinov3":  # which earlier versions cannot run without data
        assert encoder.gflops_per_frame > 0


@pytest.mark.parametrize("name", TINY)
def test_architecture_says_all(hub: Hub, name: str) -> None:
    card = get_card(f"hf/owner/{name}")
    described = json.loads(json.dumps(card.architecture.to_dict()))
    again = TransformersArchitecture(described["transformers"], described["config"])
    torch.random.default_generator.manual_seed(3)
    before = torch.random.get_rng_state()
    built, empty = again.build(), card.architecture.build_empty()
    assert torch.equal(torch.random.get_rng_state(), before)
    state = built.state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in empty.state_dict().items()
    }
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    tables = {k: v for k, v in built.named_buffers() if k.removeprefix("model.") not in state}
    buffers = dict(empty.named_buffers())
    for table, expected in tables.items():
        assert expected.is_floating_point() != table.endswith("position_ids")
        if not buffers[table].is_meta:
            assert torch.equal(buffers[table], expected)
    repeated = again.build().state_dict()
    assert all(torch.equal(repeated[k], tensor) for k, tensor in state.items())


@pytest.mark.parametrize("name", WITH_HEADS)
def test_larger_models_hold_the_backbone(hub: Hub, name: str) -> None:
    """Files with classifiers, projections, text towers."""
    backbone = load_backbone(f"hf/owner/{name}-head")
    model = hub.models[f"{name}-head"]
    trunk = getattr(model, FAMILIES[model.config.model_type].trunk[:-1])
    crops = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    options = {"interpolate_pos_encoding": True} if INTERPOLATES.get(name) else {}
    with torch.no_grad():
        expected = trunk(pixel_values=crops, **options).last_hidden_state
        assert torch.equal(backbone(crops), _rows(expected))


def test_weights_go_by_the_names_on_the_hub(hub: Hub) -> None:
    names = {
        "vit": "encoder.layer.1.attention.attention.query.weight",
        "dinov2": "encoder.layer.1.attention.output.dense.bias",
        "dinov3": "layer.1.attention.q_proj.weight",
        "clip": "encoder.layers.1.self_attn.q_proj.weight",
    }
    for name, tensor in names.items():
        assert tensor in load_backbone(f"hf/owner/{name}").model.state_dict()


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
    with pytest.raises(Exception, match="no plain file name"):
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


PROCESSED = {
    "nothing": ({}, (32, 32, "both", "bilinear")),
    "squeezed": ({"size": {"height": 24, "width": 24}}, (24, 24, "both", "bilinear")),
    "number": ({"size": 40, "resample": 3}, (40, 40, "both", "bicubic")),
    "another class": (
        {"image_processor_type": "BitImageProcessorFast", "size": {"shortest_edge": 40}}
        | {"crop_size": {"height": 24, "width": 24}},
        (24, 40, "shorter", "bicubic"),
    ),
    "not the patch's multiple": ({"size": 36}, (32, 32, "both", "bilinear")),
    "ConvNeXt's crop": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.95},
        (224, 235, "shorter", "bicubic"),
    ),
}


@pytest.mark.parametrize("case", PROCESSED)
def test_preprocessing(hub: Hub, case: str) -> None:
    described, expected = PROCESSED[case]
    files = {"config.json": hub.files("vit")["config.json"]}
    if described:
        files["preprocessor_config.json"] = json.dumps(described).encode()
    pixels = get_card(hub.add_unnamed(files)).preprocessing
    assert (pixels.image_size, pixels.resize, pixels.fit, pixels.interpolation) == expected


def test_preprocessing_within_a_processor(hub: Hub) -> None:
    """transformers 5 writes the image processor of a pair with texts into processor_config.json."""
    files = hub.files("clip")
    described = json.loads(files.pop("preprocessor_config.json"))
    files["processor_config.json"] = json.dumps({"image_processor": described}).encode()
    card = get_card(hub.add("clip-pair", files))
    assert card.preprocessing == get_card("hf/owner/clip").preprocessing


def test_without_normalization(hub: Hub) -> None:
    files = {"config.json": hub.files("vit")["config.json"]}
    files["preprocessor_config.json"] = b'{"do_normalize": false}'
    pixels = get_card(hub.add("vit-raw", files)).preprocessing
    assert (pixels.mean, pixels.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"rescale_factor": 1 / 127.5}, r"not 1/255"),
        ({"do_resize": False}, "do_resize false"),
        ({"resample": 1}, "resample 1"),
        ({"size": {"shortest_edge": 1, "longest_edge": 2}}, "a rule that is not known"),
        ({"size": {"height": 32, "width": 64}}, "not square"),
        ({"size": 24, "do_center_crop": True, "crop_size": 32}, "pads images of 24 px to 32 px"),
        ({"image_processor_type": "BlipImageProcessor"}, "Blip.*known: ViTImageProcessor"),
    ],
)
def test_preprocessing_that_is_refused(hub: Hub, described: dict[str, Any], message: str) -> None:
    files = {"config.json": hub.files("vit")["config.json"]}
    files["preprocessor_config.json"] = json.dumps(described).encode()
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
    with pytest.raises(MissingLibraryError, match=r"pip install 's2robot\[hf\]'"):
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
    for way_on in ("HF_ENDPOINT", "HF_TOKEN", "timm/NAME", "file:MODEL_CARD.json"):
        assert way_on in str(caught.value)
    assert "weights=PATH" not in str(caught.value)
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        get_card("hf/owner/vit@v9")
    files = hub.files("vit")
    del files["model.safetensors"]
    with pytest.raises(DownloadError, match=r"\.safetensors.*\n.*model\.bin.*\n.*weights=PATH"):
        load_backbone(hub.add("vit-empty", files))
    with pytest.raises(ValueError, match="hf/OWNER/MODEL@REVISION"):
        get_card("hf/owner")


def test_weights_are_those_of_the_description(hub: Hub) -> None:
    """What is published between the two downloads does not mix with what came before."""
    files = hub.files("vit")
    card = get_card(hub.add("vit-moving", files))
    commit = hub.server.repos["owner/vit-moving"].commit
    assert all(source.url.endswith(f"@{commit}") for source in card.sources)
    pinned = get_card(f"hf/owner/vit-moving@{commit}")
    assert (pinned.sources, pinned.architecture) == (card.sources, card.architecture)
