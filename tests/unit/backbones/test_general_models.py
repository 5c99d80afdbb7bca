"""General vision encoders: what the cards say against timm's models, outputs against others' code.

Hugging Face's implementations stand in for the published ones, in small sizes; their weights are
renamed to the layout of the file that each card expects.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from support.published_files import DINOV2_SIDE, mae_decoder, vit, write_published
from support.published_weights import BASE, SMALL_14, Weights
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from s2robot import FrameEncoder
from s2robot.analysis.parity.reference_models import published_output
from s2robot.backbones import CARDS, BackboneCard
from s2robot.backbones.architectures import Architecture
from s2robot.backbones.download.cache import LicenseWarning
from s2robot.backbones.state_dicts import dinov2_layout
from s2robot.preprocessing.image_pyramid import image_of

TIMM = [name for name, card in CARDS.items() if card.origin == "timm"]
TOLERANCE = 1e-4
"""Largest difference, in standard deviations of the output."""
WIDTH, DEPTH, HEADS, SIZE = 32, 2, 2, 64
SIZES = [(64, 64), (96, 128), (70, 45)]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    warnings.simplefilter("ignore", LicenseWarning)


@pytest.fixture
def shrink(monkeypatch: pytest.MonkeyPatch) -> Callable[..., BackboneCard]:
    """Change a card: options of its architecture, and fields; returns it."""

    def apply(name: str, options: dict[str, Any], **fields: Any) -> BackboneCard:
        card = CARDS[name]
        assert isinstance(card.architecture, Architecture)
        architecture = dataclasses.replace(
            card.architecture, options={**card.architecture.options, **options}
        )
        monkeypatch.setitem(
            CARDS, name, dataclasses.replace(card, architecture=architecture, **fields)
        )
        return CARDS[name]

    return apply


def small(shrink: Callable[..., BackboneCard], name: str, **options: Any) -> BackboneCard:
    """A card with 2 blocks of width 32 on images of 64 px."""
    sizes = {"img_size": SIZE, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    resize = SIZE * CARDS[name].preprocessing.resize // CARDS[name].preprocessing.image_size
    pixels = dataclasses.replace(CARDS[name].preprocessing, image_size=SIZE, resize=resize)
    return shrink(name, {**sizes, **options}, preprocessing=pixels, dim=WIDTH)


def some_frames(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


def spread(model: torch.nn.Module, seed: int = 0) -> Any:
    """Weights with which every part of a model matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            fan_in = tensor[0].numel() if tensor.ndim in (2, 4) and "position" not in name else 4
            center = 1.0 if tensor.ndim == 1 and not name.endswith("bias") else 0.0
            tensor.copy_(center + noise * (1.5 * fan_in**-0.5 if tensor.ndim > 1 else 0.2))
    return model.eval()


def renamed(state: dict[str, Tensor], *pairs: tuple[str, str]) -> dict[str, Tensor]:
    """Names changed in order; then query, key and value, as "….q.weight", joined to "qkv"."""
    names: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in pairs:
            name = re.sub(pattern, replacement, name)
        names[name] = tensor.detach().clone()
    for query in [name for name in names if ".attn.q." in name]:
        parts = [query.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in names for part in parts):
            names[query.replace(".q.", ".qkv.")] = torch.cat([names.pop(p) for p in parts])
    return names


def check(name: str, path: Path, expected: Callable[[np.ndarray], Tensor]) -> None:
    encoder = FrameEncoder.from_name(name, weights=path, device="cpu")
    for height, width in SIZES:
        frames = some_frames(height, width)
        with torch.inference_mode():
            assert difference(encoder(frames), expected(frames)) <= TOLERANCE


def prepared(frames: np.ndarray, *steps: Any, card: BackboneCard) -> Tensor:
    """Pictures of Pillow's through torchvision's transforms, normalized by the card's numbers."""
    last = v2.Normalize(list(card.preprocessing.mean), list(card.preprocessing.std))
    steps = (*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), last)
    return torch.stack([v2.Compose(steps)(Image.fromarray(frame)) for frame in frames])


# Facts.


@pytest.mark.parametrize("name", TIMM)
def test_facts_are_timms(name: str) -> None:
    """timm's own model of the name, with none of the card's options."""
    card = CARDS[name]
    assert isinstance(card.architecture, Architecture)
    with torch.device("meta"):
        model: Any = timm.create_model(card.architecture.timm)
    config = timm.get_pretrained_cfg(card.architecture.timm)
    assert config is not None
    pixels = card.preprocessing
    assert (pixels.image_size, pixels.mean, pixels.std) == (
        config.input_size[-1],
        config.mean,
        config.std,
    )
    assert model.num_features == card.dim
    assert getattr(model, "num_prefix_tokens", 0) == card.num_prefix_tokens
    if hasattr(model, "patch_embed"):
        assert model.patch_embed.patch_size == (card.stride, card.stride)
    else:
        assert model.feature_info[-1]["reduction"] == card.stride
    if card.published == "head":
        assert card.head_dim == (config.num_classes or card.dim)
    assert card.sources[0].url == f"hf:{config.hf_hub_id}/model.safetensors"


@pytest.mark.parametrize("name", TIMM)
def test_published_output_has_the_stated_width(name: str, shrink: Any) -> None:
    card = CARDS[name] if "resnet" in name else shrink(name, {"depth": 1})
    with torch.device("meta"):
        model: Any = card.architecture.build()
        crops = torch.empty(1, 3, card.preprocessing.image_size, card.preprocessing.image_size)
        features = model.eval().forward_features(crops)
        pooled = model.forward_head(features, pre_logits=not model.num_classes)
    side = card.grid_side(card.preprocessing.image_size)
    if features.ndim == 3:
        assert features.shape == (1, card.num_prefix_tokens + side**2, card.dim)
    else:
        assert features.shape == (1, card.dim, side, side)
    if card.published == "head":
        assert pooled.shape == (1, card.head_dim)


@pytest.mark.parametrize("name", [name for name in TIMM if name.startswith(("pe-", "c-radio"))])
def test_dense_models_end_without_a_norm(name: str) -> None:
    with torch.device("meta"):
        model: Any = CARDS[name].architecture.build()
    assert isinstance(model.norm, torch.nn.Identity)


def test_radio_frames_are_interpolated_as_in_its_readme() -> None:
    pixels = CARDS["c-radio-v3-vitb16"].preprocessing
    frames = torch.from_numpy(some_frames(480, 640)).permute(0, 3, 1, 2)
    expected = F.interpolate(frames / 255, (512, 512), mode="bilinear", align_corners=False)
    assert difference(image_of(frames, pixels, 512) / 255, expected) < 1e-5


# Meta's own files: MAE, DINOv2.


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [False, True])
def test_mae(tmp_path: Path, shrink: Any, decoder: bool) -> None:
    """With the decoder too, as a training checkpoint has it."""
    shape = dataclasses.replace(BASE, depth=1)
    shrink("mae-vitb", {"depth": 1})
    path = write_published("mae-vitb", tmp_path, shape)
    content = torch.load(path, weights_only=True)
    if decoder:
        w = Weights(0)
        vit(w, shape)
        mae_decoder(w, shape, small=True)
        torch.save({"model": w.state, "epoch": 799}, path)
    check("mae-vitb", path, lambda frames: published_output("mae-vitb", content, frames))


@pytest.mark.parametrize("name", ["dinov2-vits14", "dinov2-vits14-reg"])
def test_dinov2(tmp_path: Path, shrink: Any, name: str) -> None:
    """At 224 px: positions are resampled from a grid of 37²."""
    shrink(name, {"depth": 1})
    path = write_published(name, tmp_path, dataclasses.replace(SMALL_14, depth=1))
    content = torch.load(path, weights_only=True)
    assert content["pos_embed"].shape[1] == 1 + DINOV2_SIDE**2 == 1 + SMALL_14.tokens
    check(name, path, lambda frames: published_output(name, content, frames))


@pytest.mark.parametrize(
    ("name", "old"), [("dinov2-vits14", 4), ("dinov2-vits14-reg", 4), ("dinov2-vits14-reg", 9)]
)
def test_dinov2_against_hugging_face(tmp_path: Path, shrink: Any, name: str, old: int) -> None:
    """Without registers at the grid's own size: elsewhere Hugging Face's resampling is another."""
    hf = pytest.importorskip("transformers")
    card = small(shrink, name, patch_size=16)
    layout = dinov2_layout(SIZE // 16)
    card = shrink(name, {}, preprocessing=card.preprocessing, dim=WIDTH, stride=16, layout=layout)
    sizes = hf_sizes(old * 16)
    if name.endswith("reg"):
        config = hf.Dinov2WithRegistersConfig(**sizes, num_register_tokens=4)
        model = spread(hf.Dinov2WithRegistersModel(config))
    else:
        model = spread(hf.Dinov2Model(hf.Dinov2Config(**sizes)))
    torch.save(renamed(model.state_dict(), *DINO_NAMES), tmp_path / "own.pth")

    def expected(frames: np.ndarray) -> Tensor:
        steps = v2.Resize(card.preprocessing.resize, InterpolationMode.BICUBIC), v2.CenterCrop(SIZE)
        return model(prepared(frames, *steps, card=card)).pooler_output

    check(name, tmp_path / "own.pth", expected)


def hf_sizes(image_size: int) -> dict[str, int]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": image_size,
        "patch_size": 16,
    }


BLOCK_NAMES = (
    (r"^vision_model\.", ""),
    (r"^(encoder\.layers?|model\.layer|layer)\.", "blocks."),
    (r"\.attention\.attention\.", ".attention."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.(self_attn|attention)\.(q|k|v)(_proj|uery|ey|alue)\.", r".attn.\2."),
    (r"\.(self_attn|attention)\.(out|o)_proj\.", ".attn.proj."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
)
DINO_NAMES = (
    *BLOCK_NAMES,
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
DINOV3_NAMES = (
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    *DINO_NAMES,
    (r"^register_tokens$", "reg_token"),
    (r"\.ls(\d)\.gamma$", r".gamma_\1"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
TOWER_NAMES = (
    (r"^head\.attention\.in_proj_", "attn_pool.qkv."),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
    (r"^head\.probe$", "attn_pool.latent"),
    *BLOCK_NAMES,
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^visual_projection\.", "head."),
)


# timm's files.


def test_dinov3(tmp_path: Path, shrink: Any) -> None:
    """The class token, of frames squashed on 8 bits; timm's default output is the mean."""
    hf = pytest.importorskip("transformers")
    if not hasattr(hf, "DINOv3ViTModel"):
        pytest.skip("transformers has no DINOv3 yet")
    card = small(shrink, "dinov3-vits16")
    config = hf.DINOv3ViTConfig(**hf_sizes(SIZE), num_register_tokens=4)
    model = spread(hf.DINOv3ViTModel(config))
    with torch.no_grad():  # as published: timm's model has no such biases
        for name, tensor in model.named_parameters():
            if name.endswith(("q_proj.bias", "v_proj.bias")):
                tensor.zero_()
    state = renamed(model.state_dict(), *DINOV3_NAMES)
    unused = {name for name in state if re.search(r"^mask_token$|attn\.[qkv]\.bias$", name)}
    kept = {name: tensor for name, tensor in state.items() if name not in unused}
    save_file(kept, tmp_path / "timm.safetensors")

    def expected(frames: np.ndarray) -> Tensor:
        resize = v2.Resize((SIZE, SIZE), antialias=True)
        return model(prepared(frames, v2.ToImage(), resize, card=card)).pooler_output

    check("dinov3-vits16", tmp_path / "timm.safetensors", expected)
    encoder = FrameEncoder.from_name(
        "dinov3-vits16", readout="mean", weights=tmp_path / "timm.safetensors", device="cpu"
    )
    frames = some_frames(64, 64)
    with torch.inference_mode():
        assert difference(encoder(frames), expected(frames)) > 0.1


def test_eupe(tmp_path: Path, shrink: Any) -> None:
    """DINOv3's architecture, as its authors say, with biases of query and value."""
    hf = pytest.importorskip("transformers")
    if not hasattr(hf, "DINOv3ViTModel"):
        pytest.skip("transformers has no DINOv3 yet")
    card = small(shrink, "eupe-vits16")
    model = spread(hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**hf_sizes(SIZE), num_register_tokens=4)))
    state = renamed(model.state_dict(), *DINOV3_NAMES)
    kept = {re.sub(r"attn\.([qv])\.bias$", r"attn.\1_bias", k): v for k, v in state.items()}
    del kept["mask_token"]
    save_file(kept, tmp_path / "timm.safetensors")

    def expected(frames: np.ndarray) -> Tensor:
        resize = v2.Resize((SIZE, SIZE), antialias=True)  # as the authors' README does
        return model(prepared(frames, v2.ToImage(), resize, card=card)).pooler_output

    check("eupe-vits16", tmp_path / "timm.safetensors", expected)


def test_clip(tmp_path: Path, shrink: Any) -> None:
    """Projected, quick GELU, the shorter side resized by Pillow and the center cut out."""
    hf = pytest.importorskip("transformers")
    card = small(shrink, "clip-vitb16", num_classes=24)
    shrink("clip-vitb16", {}, head_dim=24)
    config = hf.CLIPVisionConfig(**hf_sizes(SIZE), projection_dim=24, hidden_act="quick_gelu")
    model = spread(hf.CLIPVisionModelWithProjection(config))
    state = renamed(model.state_dict(), *TOWER_NAMES)
    state["cls_token"], state["pos_embed"] = (
        state["cls_token"][None, None],
        state["pos_embed"][None],
    )
    state["head.bias"] = torch.zeros(24)
    state = {name: tensor for name, tensor in state.items() if "position_ids" not in name}
    save_file(state, tmp_path / "timm.safetensors")

    def expected(frames: np.ndarray) -> Tensor:
        steps = v2.Resize(SIZE, InterpolationMode.BICUBIC), v2.CenterCrop(SIZE)
        return model(prepared(frames, *steps, card=card)).image_embeds

    check("clip-vitb16", tmp_path / "timm.safetensors", expected)


@pytest.mark.parametrize("name", ["siglip2-vitb16-224", "siglip2-vitl16-256"])
def test_siglip2(tmp_path: Path, shrink: Any, name: str) -> None:
    """Attention pooling, tanh GELU (timm's default is another), frames squashed by Pillow."""
    hf = pytest.importorskip("transformers")
    card = small(shrink, name)
    shrink(name, {}, head_dim=WIDTH)
    model = spread(hf.SiglipVisionModel(hf.SiglipVisionConfig(**hf_sizes(SIZE))))
    state = renamed(model.state_dict(), *TOWER_NAMES)
    state["pos_embed"] = state["pos_embed"][None]
    for part in ("weight", "bias"):
        q, kv = state.pop(f"attn_pool.qkv.{part}").split([WIDTH, 2 * WIDTH])
        state[f"attn_pool.q.{part}"], state[f"attn_pool.kv.{part}"] = q.clone(), kv.clone()
    save_file(state, tmp_path / "timm.safetensors")

    def expected(frames: np.ndarray) -> Tensor:
        resize = v2.Resize((SIZE, SIZE), InterpolationMode.BILINEAR)
        return model(pixel_values=prepared(frames, resize, card=card)).pooler_output

    check(name, tmp_path / "timm.safetensors", expected)
    shrink(name, {"act_layer": "gelu"})
    encoder = FrameEncoder.from_name(name, weights=tmp_path / "timm.safetensors", device="cpu")
    frames = some_frames(64, 64)
    with torch.inference_mode():
        assert difference(encoder(frames), expected(frames)) > TOLERANCE


def test_so400m_has_the_same_gelu() -> None:
    assert CARDS["siglip2-so400m14-224"].architecture.to_dict()["act_layer"] == "gelu_tanh"


def test_openais_names_are_taken_too(tmp_path: Path, shrink: Any) -> None:
    """timm's own conversion stands in where a file is not in timm's layout.

    The projection keeps its published width: timm draws a head of another width anew.
    """
    card = small(shrink, "clip-vitb16")
    state = spread(card.architecture.build()).state_dict()
    own = {f"visual.{name}": tensor for name, tensor in openai_names(state).items()}
    torch.save(own, tmp_path / "openai.pt")
    save_file({**state, "head.bias": torch.zeros(512)}, tmp_path / "timm.safetensors")
    first, second = (
        FrameEncoder.from_name("clip-vitb16", weights=tmp_path / file, device="cpu")
        for file in ("openai.pt", "timm.safetensors")
    )
    frames = some_frames(64, 64)
    assert torch.equal(first(frames), second(frames))


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    names = renamed(
        state,
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^pos_embed$", "positional_embedding"),
        (r"^cls_token$", "class_embedding"),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm(\d)\.", r".ln_\1."),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    )
    names["proj"] = names.pop("head.weight").T.contiguous()
    del names["head.bias"]
    names["class_embedding"] = names["class_embedding"][0, 0]
    names["positional_embedding"] = names["positional_embedding"][0]
    return names
