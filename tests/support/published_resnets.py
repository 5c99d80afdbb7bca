"""Residual networks as their files are published: R3M, VIP, MCR, data4robotics, LIV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from support.published_weights import BLOCKS, Shape, ViTShape, Weights, distilbert


def resnet(
    w: Weights, shape: Shape, prefix: str = "", norm: Callable[..., None] = Weights.batch_norm
) -> None:
    """torchvision's ResNet without ``fc``."""
    if shape not in BLOCKS or isinstance(shape, ViTShape):
        raise TypeError(f"a ResNet's shape is one of {list(BLOCKS)}; got {shape!r}")
    expansion = 4 if shape >= 50 else 1
    w.conv(f"{prefix}conv1", 64, 3, 7)
    norm(w, f"{prefix}bn1", 64)
    into = 64
    for layer, (width, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[shape], strict=True)):
        for i in range(count):
            block, out = f"{prefix}layer{layer + 1}.{i}", width * expansion
            sizes = ((width, into, 1), (width, width, 3), (out, width, 1))
            if expansion == 1:
                sizes = ((width, into, 3), (width, width, 3))
            residual_block(w, block, sizes, norm)
            if i == 0 and (into != out or layer > 0):
                w.conv(f"{block}.downsample.0", out, into, 1)
                norm(w, f"{block}.downsample.1", out)
            into = out


def residual_block(
    w: Weights, block: str, sizes: Sequence[tuple[int, int, int]], norm: Callable[..., None]
) -> None:
    """``sizes``: (channels out, channels in, side) of each convolution."""
    for i, (out, into, side) in enumerate(sizes, start=1):
        w.conv(f"{block}.conv{i}", out, into, side)
        # The last norm of a block is small, or activations would double with every block.
        norm(w, f"{block}.bn{i}", out, gain=0.4 if i == len(sizes) else 1.0)


def r3m(seed: int, shape: Shape, small: bool) -> Any:
    w = Weights(seed)
    resnet(w, shape, "convnet.")
    distilbert(w, "lang_enc.model", small)
    dim = 2048 if shape == 50 else 512
    sizes = (2 * dim + 768, *[16 if small else 1024] * 4, 1)
    for i in range(5):
        w.linear(f"lang_rew.pred.{2 * i}", sizes[i + 1], sizes[i])
    return {"r3m": w.prefixed("module."), "global_step": 1000000}


def vip(seed: int, shape: Shape, small: bool) -> Any:
    del small
    w = Weights(seed)
    resnet(w, shape, "convnet.")
    w.linear("convnet.fc", 1024, 2048 if shape == 50 else 512)
    return {"vip": w.prefixed("module."), "global_step": 1000000}


def mcr(seed: int, shape: Shape, small: bool) -> Any:
    del small
    w = Weights(seed)
    resnet(w, shape)
    return w.state


def d4r_resnet(seed: int, shape: Shape, small: bool) -> Any:
    del small
    w = Weights(seed)
    resnet(w, shape, "_model.", norm=Weights.norm)
    return {"features": w.state}


# LIV: CLIP's RN50 with its text tower.


def liv(seed: int, shape: Shape, small: bool) -> Any:
    """The image tower always has its published size: ``shape`` must be 50."""
    if shape != 50:
        raise TypeError(f"LIV is a ResNet of 50 layers; got {shape!r}")
    w = Weights(seed)
    clip_resnet(w, "visual.")
    clip_text(w, small)
    return {"liv": {name: _clip_half(name, t) for name, t in w.prefixed("module.model.").items()}}


def clip_resnet(w: Weights, prefix: str) -> None:
    for i, (out, into) in enumerate(((32, 3), (32, 32), (64, 32)), start=1):
        w.conv(f"{prefix}conv{i}", out, into, 3)
        w.batch_norm(f"{prefix}bn{i}", out)
    into = 64
    for layer, (width, count) in enumerate(zip((64, 128, 256, 512), BLOCKS[50], strict=True)):
        for i in range(count):
            block, out = f"{prefix}layer{layer + 1}.{i}", 4 * width
            sizes = ((width, into, 1), (width, width, 3), (out, width, 1))
            residual_block(w, block, sizes, Weights.batch_norm)
            if i == 0:
                w.conv(f"{block}.downsample.0", out, into, 1)
                w.batch_norm(f"{block}.downsample.1", out)
            into = out
    w.normal(f"{prefix}attnpool.positional_embedding", 50, 2048)
    for part, out in (("k", 2048), ("q", 2048), ("v", 2048), ("c", 1024)):
        w.linear(f"{prefix}attnpool.{part}_proj", out, 2048)


def clip_text(w: Weights, small: bool) -> None:
    words, depth = (32, 1) if small else (49408, 12)
    w.normal("positional_embedding", 77, 512)
    w.normal("text_projection", 512, 1024)
    w.state["logit_scale"] = torch.tensor(4.6)
    for block in (f"transformer.resblocks.{i}" for i in range(depth)):
        w.normal(f"{block}.attn.in_proj_weight", 1536, 512, std=0.05)
        w.normal(f"{block}.attn.in_proj_bias", 1536, std=0.1)
        w.linear(f"{block}.attn.out_proj", 512, 512)
        w.norm(f"{block}.ln_1", 512)
        w.linear(f"{block}.mlp.c_fc", 2048, 512)
        w.linear(f"{block}.mlp.c_proj", 512, 2048)
        w.norm(f"{block}.ln_2", 512)
    w.normal("token_embedding.weight", words, 512)
    w.norm("ln_final", 512)


def _clip_half(name: str, tensor: Tensor) -> Tensor:
    """CLIP keeps convolutions and linear maps in half precision, and norms in single."""
    single = (".bn", ".ln_", "downsample.1", "embedding", "logit_scale")
    return tensor if any(part in name for part in single) else tensor.half()
