"""Cases of ``less_work.py`` inside the backbone: first layer, last block, normalization.

Each runs a plain vision transformer with less work, beside the whole one, on the same tiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.runtimes.base import tiles_like

UNCHANGED = 0.85
"""Share of unchanged patches in changed tiles that is timed; the case ``rates`` measures it."""


def patches_of(tiles: Tensor, side: int) -> Tensor:
    """Cut tiles ``(N, 3, h, w)`` into patches ``(N, n, 3 · side²)``."""
    cut = tiles.unfold(2, side, side).unfold(3, side, side)  # (N, 3, gh, gw, side, side)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _loaded(name: str) -> tuple[FrameEncoder, Any, Tensor, Tensor]:
    """Encoder, its model, tiles in 0-255, and the tiles normalized."""
    encoder = FrameEncoder.from_name(name, (1,), "cls", device="cpu", runtime="eager")
    side = encoder.layout.card.preprocessing.image_size
    tiles = tiles_like((side, side), 80 if side < 200 else 20)
    model = encoder.token_model
    crops = (tiles - model.get_buffer("mean")) / model.get_buffer("std")
    return encoder, encoder.backbone.model, tiles, crops


def _compared(
    runs: dict[str, Callable[[], Tensor]], repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Shortest milliseconds of each, and how far each is from the first."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for _ in range(repeats + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                found[name] = run()
                times[name].append(1000 * (time.perf_counter() - started))
    expected = next(iter(found.values()))
    gaps = {
        name: {
            "largest_per_std": float((one - expected).abs().max() / expected.std()),
            "same_bits": bool(torch.equal(one, expected)),
        }
        for name, one in found.items()
    }
    return {name: round(min(values[1:]), 3) for name, values in times.items()}, gaps


def first_layer(name: str, repeats: int) -> dict[str, Any]:
    """Patch embedding, norm and q, k, v of the first block, of all tokens or of changed ones."""
    encoder, vit, _, crops = _loaded(name)
    card, block, conv = encoder.layout.card, vit.blocks[0], vit.patch_embed.proj
    prefix = card.num_prefix_tokens
    weight = conv.weight.flatten(1)
    rows = patches_of(crops, card.stride).flatten(0, 1)  # (N · n, 3 · side²)
    tokens = len(rows) // len(crops)
    changed = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    changed = changed[: round((1 - UNCHANGED) * len(rows))].sort().values
    positions = vit.pos_embed[0, -tokens:]
    places = changed // tokens * (prefix + tokens) + prefix + changed % tokens

    def whole() -> Tensor:
        embedded = vit.norm_pre(vit._pos_embed(vit.patch_embed(crops)))
        return block.attn.qkv(block.norm1(embedded))

    with torch.inference_mode():
        cached = whole().flatten(0, 1)

    def some() -> Tensor:
        embedded = F.linear(rows[changed], weight, conv.bias) + positions[changed % tokens]
        cached[places] = block.attn.qkv(block.norm1(vit.norm_pre(embedded)))
        return cached.unflatten(0, (len(crops), -1))

    whole_ms, _ = _compared({"backbone": lambda: vit.forward_features(crops)}, repeats)
    milliseconds, gaps = _compared({"all": whole, "changed": some}, repeats)
    width = vit.embed_dim
    operations = 2 * (tokens * weight.numel() + (prefix + tokens) * 3 * width * width)
    total = encoder.backbone.gflops() * 1e9
    saved = milliseconds["all"] - milliseconds["changed"]
    return {
        "tiles": len(crops),
        "unchanged_patches": UNCHANGED,
        "share_of_operations": operations / total,
        "at_most_saved": UNCHANGED * operations / total,
        "ms": milliseconds | whole_ms,
        "saved_of_backbone": saved / whole_ms["backbone"],
        "differences": gaps,
    }


def last_block(name: str, repeats: int) -> dict[str, Any]:
    """The class token of the last block alone, for readouts that take nothing else."""
    encoder, vit, _, crops = _loaded(name)
    prefix = encoder.layout.card.num_prefix_tokens
    block, width = vit.blocks[-1], vit.embed_dim

    def before(some: Tensor) -> Tensor:
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(some)))
        for one in vit.blocks[:-1]:
            tokens = one(tokens)
        return tokens

    def mlp_of(tokens: Tensor) -> Tensor:
        return vit.norm(tokens + block.ls2(block.mlp(block.norm2(tokens))))

    def without_mlp(some: Tensor) -> Tensor:
        tokens = before(some)
        return mlp_of((tokens + block.ls1(block.attn(block.norm1(tokens))))[:, :prefix])

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "whole": lambda some: vit.forward_features(some)[:, :prefix],
        "no MLP of the grid": without_mlp,
        "no query of the grid": lambda some: mlp_of(_attended(block, before(some), prefix)),
    }
    milliseconds, gaps = _compared({k: partial(f, crops) for k, f in ways.items()}, repeats)
    _, of_one = _compared({k: partial(f, crops[:1]) for k, f in ways.items()}, 1)
    tokens = prefix + encoder.layout.card.grid_side(crops.shape[-1]) ** 2
    hidden = block.mlp.fc1.out_features
    grid = tokens - prefix
    saved = {
        "no MLP of the grid": 4 * grid * width * hidden,
        "no query of the grid": 4 * grid * width * (hidden + width + tokens),
    }
    total = encoder.backbone.gflops() * 1e9
    return {
        "tiles": len(crops),
        "saved_operations": {key: value / total for key, value in saved.items()},
        "ms": milliseconds,
        "saved": {k: 1 - v / milliseconds["whole"] for k, v in milliseconds.items()},
        "differences": gaps,
        "differences_of_one_tile": of_one,
    }


def _attended(block: Any, tokens: Tensor, prefix: int) -> Tensor:
    """Prefix tokens ``(N, P, C)`` after the attention of a block, whose keys are all tokens."""
    attn = block.attn
    heads, width = attn.num_heads, tokens.shape[2]
    weight, bias = attn.qkv.weight, attn.qkv.bias
    normed = block.norm1(tokens)
    query = F.linear(normed[:, :prefix], weight[:width], bias[:width])
    pair = F.linear(normed, weight[width:], bias[width:])
    query = query.unflatten(2, (heads, -1)).transpose(1, 2)
    key, value = pair.unflatten(2, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    return tokens[:, :prefix] + block.ls1(attn.proj(mixed))


def normalization(name: str, repeats: int) -> dict[str, Any]:
    """Mean and std in the weights of the patch embedding, on pixels in 0-255."""
    encoder, vit, tiles, crops = _loaded(name)
    model, conv = encoder.token_model, vit.patch_embed.proj
    mean, std = model.get_buffer("mean"), model.get_buffer("std")
    weight = conv.weight / std
    bias = conv.bias - (weight * mean).sum(dim=(1, 2, 3))
    rows, size = weight.flatten(1), conv.kernel_size[0]
    pixels = tiles.to(torch.uint8)
    runs = {
        "normalized, then embedded": lambda: vit.patch_embed((pixels.float() - mean) / std).flatten(
            1, -2
        ),
        "folded": lambda: F.conv2d(pixels.float(), weight, bias, size).flatten(2).transpose(1, 2),
        "folded, bytes to patches": lambda: F.linear(patches_of(pixels, size).float(), rows, bias),
    }
    times, _ = _compared({"backbone": lambda: vit.forward_features(crops)}, repeats)
    milliseconds, gaps = _compared(runs, repeats)
    first = milliseconds["normalized, then embedded"]
    return {
        "tiles": len(tiles),
        "ms": milliseconds | times,
        "saved_of_backbone": {k: (first - v) / times["backbone"] for k, v in milliseconds.items()},
        "differences": gaps,
    }
