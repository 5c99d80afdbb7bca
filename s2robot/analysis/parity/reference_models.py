"""Published models computed anew from their own files, to check the loaded ones against.

Nothing here is shared with the loading code: each network is written out in plain tensor
operations and reads the tensors under the names that its authors gave them.

Sources, by repository and commit: r3m b2334e7, mvp 5746656, eai-vc e782c35, vip 81b0520,
LIV a12991f, SPA 37b7e04, voltron-robotics 1b299bf, theia 59d0448, robots-pretrain-robots 09c8423
(MCR), data4robotics d35d0be, mae efb2a80, dinov2 b8931f7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

from s2robot.errors import CorruptFileError, unknown

State = Mapping[str, Tensor]

BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


@dataclass(frozen=True)
class Published:
    """What a published file does not tell about its model."""

    prepare: Callable[[Tensor, int], Tensor]
    """From frames (B, 3, H, W) uint8 and the image size to normalised (B, 3, size, size)."""
    network: Callable[[State, Tensor, int], Tensor]
    """From tensors by name, images and heads to the output (B, D)."""
    entries: tuple[str, ...] = ()
    """Entries of the file, the first there is taken; none: the file itself holds the tensors."""
    prefix: str = ""
    """Beginning of the model's names, cut off; names without it belong to something else."""
    heads: int = 0
    image_size: int = 224
    """Side of the images [px]."""


def published_names() -> tuple[str, ...]:
    """Names that ``published_output`` knows."""
    return tuple(PUBLISHED)


def published_output(name: str, content: Any, frames: np.ndarray) -> Tensor:
    """Output of a published model.

    Args:
        name: one of ``published_names()``.
        content: the published file, as ``torch.load(..., weights_only=True)`` or safetensors give.
        frames: (B, H, W, 3) uint8 RGB of any size.

    Returns:
        (B, D) float32; dense tokens are flattened, row by row, channels last.

    Raises:
        ValueError: unknown name.
        CorruptFileError: the file lacks a tensor or an entry.
    """
    if name not in PUBLISHED:
        raise unknown("published model", name, PUBLISHED)
    model = PUBLISHED[name]
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    try:
        with torch.inference_mode():
            state = _tensors(content, model)
            return model.network(state, model.prepare(pixels, model.image_size), model.heads)
    except KeyError as error:
        raise CorruptFileError(f"this is no published file of {name}: no {error} in it") from None


def _tensors(content: Any, model: Published) -> State:
    if isinstance(content, tuple):  # Voltron: weights, optimiser's state
        content = content[0]
    if model.entries:
        content = content[next((e for e in model.entries if e in content), model.entries[0])]
    return {
        key.removeprefix(model.prefix): tensor.float()
        for key, tensor in content.items()
        if key.startswith(model.prefix) and isinstance(tensor, Tensor)
    }


# Preprocessing, as each package does it: frames (B, 3, H, W) uint8 -> (B, 3, size, size).
# Where a package leaves antialiasing open, torchvision's default since 0.17 stands here; older
# versions did not antialias tensors.


def _mvp_images(frames: Tensor, size: int) -> Tensor:
    """The package takes images of the right size; others are resized on 8 bits, bicubic."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    if short != size:
        sides = (int(size * height / short), int(size * width / short))
        frames = F.interpolate(frames, sides, mode="bicubic", antialias=True)
    return TF.normalize(TF.center_crop(frames, [size, size]) / 255, *IMAGENET)


def _vc1_images(frames: Tensor, size: int) -> Tensor:
    """``vit_transforms`` on a tensor in [0, 1]; bicubic overshoot is not clipped."""
    images = TF.resize(frames / 255, [round(size * 256 / 224)], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def _r3m_images(frames: Tensor, size: int) -> Tensor:
    """``forward`` of R3M (told ``obs_shape``), VIP and MCR: a margin, but for images that fit."""
    images = frames / 255
    if frames.shape[-2:] != (size, size):
        images = TF.resize(images, [round(size * 256 / 224)], BILINEAR, antialias=True)
        images = TF.center_crop(images, [size, size])
    return TF.normalize(images, *IMAGENET)


def _liv_images(frames: Tensor, size: int) -> Tensor:
    """``transforms_tensor``: bilinear without antialiasing."""
    images = TF.resize(frames / 255, [size], BILINEAR, antialias=False)
    return TF.normalize(TF.center_crop(images, [size, size]), *CLIP)


def _spa_images(frames: Tensor, size: int) -> Tensor:
    """The package resizes the shorter side, and fails on frames that are not square."""
    images = TF.resize(frames / 255, [size], BICUBIC, antialias=True)
    return TF.normalize(TF.center_crop(images, [size, size]), *IMAGENET)


def _d4r_images(frames: Tensor, size: int) -> Tensor:
    """``default_transform``: squashed, bilinear without antialiasing."""
    return TF.normalize(TF.resize(frames / 255, [size, size], BILINEAR, antialias=False), *IMAGENET)


def _voltron_images(frames: Tensor, size: int) -> Tensor:
    """Resized on 8 bits, bilinear."""
    images = TF.center_crop(TF.resize(frames, [size], BILINEAR, antialias=True), [size, size])
    return TF.normalize(images / 255, *IMAGENET)


def _theia_images(frames: Tensor, size: int) -> Tensor:
    """The processor of facebook/deit-*-patch16-224: squashed by PIL, bicubic, centre crop."""
    side = round(size * 256 / 224)
    return _pil_images(frames, [side, side], size)


def _mae_images(frames: Tensor, size: int) -> Tensor:
    """Evaluation transform of MAE and DINOv2: the shorter side by PIL, bicubic, centre crop."""
    return _pil_images(frames, [round(size * 256 / 224)], size)


def _pil_images(frames: Tensor, sides: list[int], size: int) -> Tensor:
    pictures = [Image.fromarray(f.permute(1, 2, 0).contiguous().numpy()) for f in frames]
    resized = [np.array(TF.resize(p, sides, BICUBIC)) for p in pictures]  # pyright: ignore[reportArgumentType]
    images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)
    return TF.normalize(TF.center_crop(images, [size, size]) / 255, *IMAGENET)


# Pieces of networks.


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _layer_norm(state: State, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _rms_norm(state: State, name: str, x: Tensor) -> Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-8) * state[f"{name}.g"]


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Queries (B, M, C), keys and values (B, N, C) to (B, M, C)."""
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


# Vision transformers: images (B, 3, size, size) -> (B, D).


def _vit(state: State, images: Tensor, heads: int) -> Tensor:
    """MAE's names (and MVP's, VC-1's, SPA's, data4robotics'); the class token after the norm."""
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


def _dinov2(state: State, images: Tensor, heads: int) -> Tensor:
    """The class token; positions come from images of 518 px. Registers have none.

    Models without registers were released with a scale of (side + 0.1) / old side and without
    antialiasing, those with registers with neither oddity.
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


def _theia(state: State, images: Tensor, heads: int) -> Tensor:
    """Hugging Face's ViT; ``forward_feature``: the patches' tokens after the final norm."""
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


def _voltron(state: State, images: Tensor, heads: int) -> Tensor:
    """V-Cond's ``get_representations(mode="visual")`` without a sentence: patch tokens.

    20 language tokens (DistilBERT on an empty sentence) go through the blocks as well and are
    dropped at the end. The mask blanks queries, not keys: patches attend to all 20, and the 19
    paddings weigh all tokens alike. V-Dual and V-Gen take two frames and are not covered.
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
    """DistilBERT on [CLS] and 19 paddings, of which [CLS] alone is attended to: (1, 20, 768)."""
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
    """Batch norm with the stored statistics; a file without any has 16 groups per layer."""
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
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1; the first 3×3 one has the stride (torchvision)."""
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


def _resnet(state: State, images: Tensor, heads: int) -> Tensor:
    """torchvision's names; mean over the grid, and ``fc`` where the file has one."""
    del heads
    x = F.relu(_conv(state, "conv1", "bn1", images, stride=2))
    x = _stages(state, F.max_pool2d(x, 3, 2, 1), _residual_block).mean((2, 3))
    return _linear(state, "fc", x) if "fc.weight" in state else x


def _clip_block(state: State, block: str, x: Tensor, stride: int) -> Tensor:
    """CLIP's bottleneck: convolutions without stride, mean pooling before the last."""
    y = F.relu(_conv(state, f"{block}.conv1", f"{block}.bn1", x))
    y = F.avg_pool2d(F.relu(_conv(state, f"{block}.conv2", f"{block}.bn2", y)), stride)
    y = _conv(state, f"{block}.conv3", f"{block}.bn3", y)
    if f"{block}.downsample.0.weight" in state:
        pooled = F.avg_pool2d(x, stride)
        x = _conv(state, f"{block}.downsample.0", f"{block}.downsample.1", pooled)
    return F.relu(x + y)


def _liv(state: State, images: Tensor, heads: int) -> Tensor:
    """CLIP's modified ResNet: three stem convolutions, attention pooling over mean and grid."""
    x = F.relu(_conv(state, "conv1", "bn1", images, stride=2))
    for i in (2, 3):
        x = F.relu(_conv(state, f"conv{i}", f"bn{i}", x))
    x = _stages(state, F.avg_pool2d(x, 2), _clip_block).flatten(2).mT  # (B, N, C)
    x = torch.cat([x.mean(1, keepdim=True), x], dim=1) + state["attnpool.positional_embedding"]
    q = _linear(state, "attnpool.q_proj", x[:, :1])
    k, v = (_linear(state, f"attnpool.{part}_proj", x) for part in "kv")
    return _linear(state, "attnpool.c_proj", _attention(q, k, v, heads))[:, 0]


def _mvp(heads: int, image_size: int = 224) -> Published:
    return Published(_mvp_images, _vit, ("model",), heads=heads, image_size=image_size)


def _dinov2_models(size: str, heads: int) -> dict[str, Published]:
    names = (f"dinov2-{size}14", f"dinov2-{size}14-reg")
    return dict.fromkeys(names, Published(_mae_images, _dinov2, heads=heads))


_R3M = Published(_r3m_images, _resnet, ("r3m",), "module.convnet.")

PUBLISHED: dict[str, Published] = {
    **dict.fromkeys(("mvp-vits-hoi", "mvp-vits-in", "mvp-vits-sup"), _mvp(12)),
    "mvp-vitb-egosoup": _mvp(12),
    "mvp-vitl-egosoup": _mvp(16, image_size=256),
    "vc1-vitb": Published(_vc1_images, _vit, ("model",), heads=12),
    "vc1-vitl": Published(_vc1_images, _vit, ("model",), heads=16),
    "mae-vitb": Published(_mae_images, _vit, ("model",), heads=12),
    "mae-vitl": Published(_mae_images, _vit, ("model",), heads=16),
    **_dinov2_models("vits", 6),
    **_dinov2_models("vitb", 12),
    **_dinov2_models("vitl", 16),
    **dict.fromkeys(("r3m-resnet18", "r3m-resnet34", "r3m-resnet50"), _R3M),
    "vip-resnet50": Published(_r3m_images, _resnet, ("vip",), "module.convnet."),
    "liv-resnet50": Published(_liv_images, _liv, ("liv",), "module.model.visual.", heads=32),
    "mcr-resnet50": Published(_r3m_images, _resnet),
    "spa-vitb": Published(_spa_images, _vit, prefix="model.img_backbone.", heads=12),
    "spa-vitl": Published(_spa_images, _vit, prefix="model.img_backbone.", heads=16),
    "d4r-vitb": Published(_d4r_images, _vit, ("features", "model"), heads=12),
    "d4r-resnet18": Published(_d4r_images, _resnet, ("features", "model"), "_model."),
    "voltron-vcond-vits": Published(_voltron_images, _voltron, heads=6),
    "voltron-vcond-vitb": Published(_voltron_images, _voltron, heads=12),
    "theia-tiny": Published(_theia_images, _theia, prefix="backbone.model.", heads=3),
    "theia-small": Published(_theia_images, _theia, prefix="backbone.model.", heads=6),
    "theia-base": Published(_theia_images, _theia, prefix="backbone.model.", heads=12),
}
"""By name."""
