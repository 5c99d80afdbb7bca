"""Networks of published models, written anew in plain tensor operations.

Each network takes the tensors of its published file by the names that its authors gave them,
images ``(B, 3, size, size)`` and the number of attention heads, and returns ``(B, D)``. Nothing
here is shared with the code that loads backbones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _layer_norm(state: State, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _rms_norm(state: State, name: str, x: Tensor) -> Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-8) * state[f"{name}.g"]


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Return ``(B, M, C)`` of queries ``(B, M, C)``, keys and values ``(B, N, C)``."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, h, ·, C/h)
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _patches(state: State, name: str, images: Tensor) -> Tensor:
    kernel, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return F.conv2d(images, kernel, bias, stride=kernel.shape[-1]).flatten(2).mT  # (B, N, C)


def _count(state: State, stem: str) -> int:
    """Return the number of blocks ``<stem>.0.``, ``<stem>.1.`` and so on."""
    place = stem.count(".") + 1
    return len({key.split(".")[place] for key in state if key.startswith(f"{stem}.")})


def _with_class_token(patches: Tensor, token: Tensor, positions: Tensor) -> Tensor:
    return torch.cat([token.expand(len(patches), -1, -1), patches], dim=1) + positions


def vit(state: State, images: Tensor, heads: int) -> Tensor:
    """Return the class token after the norm (MAE's names; also MVP, VC-1, SPA, data4robotics)."""
    patches = _patches(state, "patch_embed.proj", images)
    x = _with_class_token(patches, state["cls_token"], state["pos_embed"])  # (B, 1 + N, C)
    return _vit_blocks(state, x, heads)[:, 0]


def _vit_blocks(state: State, x: Tensor, heads: int) -> Tensor:
    for block in (f"blocks.{i}" for i in range(_count(state, "blocks"))):
        qkv = _linear(state, f"{block}.attn.qkv", _layer_norm(state, f"{block}.norm1", x))
        mixed = _linear(state, f"{block}.attn.proj", _attention(*qkv.chunk(3, -1), heads))
        x = x + mixed * state.get(f"{block}.ls1.gamma", 1)
        hidden = _linear(state, f"{block}.mlp.fc1", _layer_norm(state, f"{block}.norm2", x))
        out = _linear(state, f"{block}.mlp.fc2", F.gelu(hidden))
        x = x + out * state.get(f"{block}.ls2.gamma", 1)
    return _layer_norm(state, "norm", x)


def dinov2(state: State, images: Tensor, heads: int) -> Tensor:
    """Return the class token; positions come from images of 518 px, registers have none.

    Models without registers were released with a scale of (side + 0.1) / old side and without
    antialiasing, those with registers with the exact size and antialiasing.
    """
    patches = _patches(state, "patch_embed.proj", images)  # (B, N, C)
    own, grid = state["pos_embed"][:, :1], state["pos_embed"][:, 1:]
    old, side = round(grid.shape[1] ** 0.5), round(patches.shape[1] ** 0.5)
    maps = grid.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    registers = state.get("register_tokens", own[:, :0])
    if side != old and registers.shape[1]:
        maps = F.interpolate(maps, (side, side), mode="bicubic", antialias=True)
    elif side != old:
        maps = F.interpolate(maps, scale_factor=(side + 0.1) / old, mode="bicubic")
    positions = torch.cat([own, maps.flatten(2).mT], dim=1)
    x = _with_class_token(patches, state["cls_token"], positions)
    x = torch.cat([x[:, :1], registers.expand(len(x), -1, -1), x[:, 1:]], dim=1)
    return _vit_blocks(state, x, heads)[:, 0]


def onnx_dinov2(state: State, images: Tensor, heads: int) -> Tensor:
    """Return the class token of transformers' DINOv2, as PyTorch exported it to ONNX.

    Positions have no names there: ``Concat_6`` joins the class token's, ``Reshape_1`` takes the
    grid's.
    """
    positions = [state["embeddings.Concat_6"], state["embeddings.Reshape_1"]]
    meta = {"cls_token": state["embeddings.cls_token"], "pos_embed": torch.cat(positions, 1)}
    for part in ("weight", "bias"):
        patches = state[f"embeddings.patch_embeddings.projection.{part}"]
        meta |= {f"patch_embed.proj.{part}": patches, f"norm.{part}": state[f"layernorm.{part}"]}
        for i in range(_count(state, "encoder.layer")):
            layer, block = f"encoder.layer.{i}", f"blocks.{i}"
            heads_of = (
                f"{layer}.attention.attention.{x}.{part}" for x in ("query", "key", "value")
            )
            meta[f"{block}.attn.qkv.{part}"] = torch.cat([state[name] for name in heads_of])
            meta[f"{block}.attn.proj.{part}"] = state[f"{layer}.attention.output.dense.{part}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                meta[f"{block}.{name}.{part}"] = state[f"{layer}.{name}.{part}"]
            for k in (1, 2):
                meta[f"{block}.ls{k}.gamma"] = state[f"{layer}.layer_scale{k}.lambda1"]
    return dinov2(meta, images, heads)


def theia(state: State, images: Tensor, heads: int) -> Tensor:
    """Return the patches' tokens after the final norm: Hugging Face's ViT, ``forward_feature``."""
    eps = 1e-12
    patches = _patches(state, "embeddings.patch_embeddings.projection", images)
    token, positions = state["embeddings.cls_token"], state["embeddings.position_embeddings"]
    x = _with_class_token(patches, token, positions)
    for block in (f"encoder.layer.{i}" for i in range(_count(state, "encoder.layer"))):
        y = _layer_norm(state, f"{block}.layernorm_before", x, eps)
        parts = (f"{block}.attention.attention.{part}" for part in ("query", "key", "value"))
        mixed = _attention(*(_linear(state, part, y) for part in parts), heads)
        x = x + _linear(state, f"{block}.attention.output.dense", mixed)
        y = _layer_norm(state, f"{block}.layernorm_after", x, eps)
        hidden = F.gelu(_linear(state, f"{block}.intermediate.dense", y))
        x = x + _linear(state, f"{block}.output.dense", hidden)
    return _layer_norm(state, "layernorm", x, eps)[:, 1:].flatten(1)


def voltron(state: State, images: Tensor, heads: int) -> Tensor:
    """Return V-Cond's patch tokens: ``get_representations(mode="visual")`` without a sentence.

    20 language tokens (DistilBERT on an empty sentence) pass the blocks as well and are dropped at
    the end. The mask blanks queries, not keys: patches attend to all 20, and the 19 paddings weigh
    all tokens alike. V-Dual and V-Gen take two frames and are not covered.
    """
    x = _patches(state, "patch2embed.proj", images) + state["encoder_pe"] + state["img_token"]
    patches = x.shape[1]
    words = _linear(state, "lang2encoder", _empty_sentence(state)) + state["lang_token"]
    x = torch.cat([x, words.expand(len(x), -1, -1)], dim=1)
    for block in (f"encoder_blocks.{i}" for i in range(_count(state, "encoder_blocks"))):
        qkv = _linear(state, f"{block}.attn.qkv", _rms_norm(state, f"{block}.pre_norm_attn", x))
        q, k, v = qkv.chunk(3, -1)
        mixed = _attention(q, k, v, heads)
        mixed[:, patches + 1 :] = v.mean(1, keepdim=True)
        x = (
            x
            + _linear(state, f"{block}.attn.proj", mixed) * state[f"{block}.layer_scale_attn.gamma"]
        )
        y = _rms_norm(state, f"{block}.pre_norm_mlp", x)
        value, gate = _linear(state, f"{block}.mlp.0.project", y).chunk(2, -1)
        wide = _linear(state, f"{block}.mlp.2", value * F.silu(gate))
        x = x + wide * state[f"{block}.layer_scale_mlp.gamma"]
    return _rms_norm(state, "encoder_norm", x)[:, :patches].flatten(1)


def _empty_sentence(state: State) -> Tensor:
    """Return DistilBERT on [CLS] and 19 paddings, attending to [CLS] alone: ``(1, 20, 768)``."""
    ids = torch.zeros(20, dtype=torch.long)
    ids[0] = 101
    tables = [state[f"lm.embeddings.{kind}_embeddings.weight"] for kind in ("word", "position")]
    x = _layer_norm(
        state, "lm.embeddings.LayerNorm", (tables[0][ids] + tables[1][:20])[None], 1e-12
    )
    for layer in (
        f"lm.transformer.layer.{i}" for i in range(_count(state, "lm.transformer.layer"))
    ):
        value = _linear(state, f"{layer}.attention.v_lin", x[:, :1]).expand_as(x)
        mixed = _linear(state, f"{layer}.attention.out_lin", value)
        x = _layer_norm(state, f"{layer}.sa_layer_norm", mixed + x, 1e-12)
        wide = F.gelu(_linear(state, f"{layer}.ffn.lin1", x))
        x = _layer_norm(
            state,
            f"{layer}.output_layer_norm",
            _linear(state, f"{layer}.ffn.lin2", wide) + x,
            1e-12,
        )
    return x


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    """Apply batch norm with the stored statistics; without any, group norm with 16 groups."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if f"{name}.running_mean" not in state:
        return F.group_norm(x, 16, weight, bias)
    return F.batch_norm(
        x, state[f"{name}.running_mean"], state[f"{name}.running_var"], weight, bias
    )


def _conv(state: State, conv: str, norm: str, x: Tensor, stride: int = 1) -> Tensor:
    kernel = state[f"{conv}.weight"]
    return _norm(state, norm, F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2))


def _residual_block(state: State, block: str, x: Tensor, stride: int) -> Tensor:
    """Apply torchvision's block: two 3x3 convolutions, or 1x1, 3x3, 1x1.

    The first 3x3 convolution has the stride.
    """
    count = 3 if f"{block}.conv3.weight" in state else 2
    strides = (1, stride, 1) if count == 3 else (stride, 1)
    y = x
    for i in range(count):
        y = _conv(state, f"{block}.conv{i + 1}", f"{block}.bn{i + 1}", y, strides[i])
        y = y if i == count - 1 else F.relu(y)
    if f"{block}.downsample.0.weight" in state:
        x = _conv(state, f"{block}.downsample.0", f"{block}.downsample.1", x, stride)
    return F.relu(x + y)


def _stages(state: State, x: Tensor, block: Callable[[State, str, Tensor, int], Tensor]) -> Tensor:
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        for i in range(_count(state, layer)):
            x = block(state, f"{layer}.{i}", x, 2 if layer != "layer1" and i == 0 else 1)
    return x


def resnet(state: State, images: Tensor, heads: int) -> Tensor:
    """Return the mean over the grid by torchvision's names, and ``fc`` where the file has one."""
    del heads
    x = F.relu(_conv(state, "conv1", "bn1", images, stride=2))
    x = _stages(state, F.max_pool2d(x, 3, 2, 1), _residual_block).mean((2, 3))
    return _linear(state, "fc", x) if "fc.weight" in state else x


def _clip_block(state: State, block: str, x: Tensor, stride: int) -> Tensor:
    """Apply CLIP's bottleneck: convolutions without stride, mean pooling before the last."""
    y = F.relu(_conv(state, f"{block}.conv1", f"{block}.bn1", x))
    y = F.avg_pool2d(F.relu(_conv(state, f"{block}.conv2", f"{block}.bn2", y)), stride)
    y = _conv(state, f"{block}.conv3", f"{block}.bn3", y)
    if f"{block}.downsample.0.weight" in state:
        pooled = F.avg_pool2d(x, stride)
        x = _conv(state, f"{block}.downsample.0", f"{block}.downsample.1", pooled)
    return F.relu(x + y)


def liv(state: State, images: Tensor, heads: int) -> Tensor:
    """Return CLIP's modified ResNet: three stem convolutions, attention pooling at the end."""
    x = F.relu(_conv(state, "conv1", "bn1", images, stride=2))
    for i in (2, 3):
        x = F.relu(_conv(state, f"conv{i}", f"bn{i}", x))
    x = _stages(state, F.avg_pool2d(x, 2), _clip_block).flatten(2).mT  # (B, N, C)
    x = torch.cat([x.mean(1, keepdim=True), x], dim=1) + state["attnpool.positional_embedding"]
    q = _linear(state, "attnpool.q_proj", x[:, :1])
    k, v = (_linear(state, f"attnpool.{part}_proj", x) for part in "kv")
    return _linear(state, "attnpool.c_proj", _attention(q, k, v, heads))[:, 0]
