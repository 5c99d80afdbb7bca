"""From the state dict of a published file to that of the architecture that computes the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2robot.backbones.card import Layout
from s2robot.errors import CorruptFileError, MismatchError

if TYPE_CHECKING:
    from torch import Tensor

    from s2robot.backbones.architectures import BuildsModel

StateDict = Mapping[str, "Tensor"]


def apply_layout(content: Any, layout: Layout, path: str | Path) -> dict[str, Tensor]:
    """Return the backbone's tensors of a file, under the architecture's names.

    Args:
        content: of the file.
        layout: of the file.
        path: of the file, for messages.

    Raises:
        CorruptFileError: the file has no such entry, or it holds no tensors.
        MismatchError: a name belongs neither to the backbone nor to a known other part.
    """
    tensors = _entry(content, layout, path)
    kept = {k: v for k, v in tensors.items() if not k.startswith(layout.dropped)}
    others = [k for k in kept if not k.startswith(layout.prefix)]
    if layout.within_module:
        kept = {k: v for k, v in kept.items() if k.startswith(layout.prefix)}
    elif others:
        raise MismatchError(
            f"{path} holds names that do not begin with {layout.prefix!r} and are not known "
            f"as parts of other models: {shorten(others)}"
        )
    state = {_rename(k.removeprefix(layout.prefix), layout): v for k, v in kept.items()}
    try:
        return layout.convert(state) if layout.convert else state
    except KeyError as error:
        raise MismatchError(f"the weights from {path} lack {error}") from None


def _entry(content: Any, layout: Layout, path: str | Path) -> Mapping[str, Tensor]:
    from torch import Tensor

    found = content
    if layout.keys:
        keys = [key for key in layout.keys if _has(content, key)]
        if not keys:
            seen = sorted(content) if isinstance(content, Mapping) else type(content).__name__
            wanted = " or ".join(repr(key) for key in layout.keys)
            raise CorruptFileError(f"{path} has no entry {wanted}; it holds {seen}")
        found = content[keys[0]]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise CorruptFileError(
            f"{path} holds no dictionary of tensors where it should; found {_describe(found)}"
        )
    return found


def _has(content: Any, key: str | int) -> bool:
    if isinstance(key, int):
        return isinstance(content, (list, tuple)) and len(content) > key
    return isinstance(content, Mapping) and key in content


def _describe(found: Any) -> str:
    if not isinstance(found, Mapping):
        return type(found).__name__
    from torch import Tensor

    others = [k for k, v in found.items() if not isinstance(v, Tensor)]
    return f"other things under {shorten([str(k) for k in others])}"


def _rename(name: str, layout: Layout) -> str:
    for pattern, replacement in layout.renamed:
        name = re.sub(pattern, replacement, name)
    return name


def shorten(names: list[str], limit: int = 8) -> str:
    """Return the first names, and how many more there are.

    >>> shorten(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


CLIP_RESNET_NAMES = (
    (r"^conv(\d)\.", r"stem.conv\1.conv."),
    (r"^bn(\d)\.", r"stem.conv\1.bn."),
    *((rf"^layer{stage + 1}\.", f"stages.{stage}.") for stage in range(4)),
    (r"downsample\.0\.", "shortcut.conv.conv."),
    (r"downsample\.1\.", "shortcut.conv.bn."),
    *(
        pair
        for i, kind in ((1, "1_1x1"), (2, "2_kxk"), (3, "3_1x1"))
        for pair in (
            (rf"(stages\.\d\.\d+)\.conv{i}\.", rf"\1.conv{kind}.conv."),
            (rf"(stages\.\d\.\d+)\.bn{i}\.", rf"\1.conv{kind}.bn."),
        )
    ),
    (r"^attnpool\.positional_embedding$", "head.pos_embed"),
    (r"^attnpool\.([qkv])_proj\.", r"head.\1."),
    (r"^attnpool\.c_proj\.", "head.proj."),
)
"""From OpenAI's ResNets to timm's."""

HF_VIT_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
"""From Hugging Face's ViT to timm's; ``join_qkv`` does the rest."""


def join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join ``….attn.{query,key,value}`` of Hugging Face's ViT to timm's ``….attn.qkv``."""
    import torch

    joined = {k: v for k, v in state.items() if not re.search(r"\.(query|key|value)\.", k)}
    for name in [k for k in state if ".query." in k]:
        parts = [state[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
        joined[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    return joined


def resample_dinov2(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """Bring DINOv2's position embedding to another grid, as its own code does.

    Without registers it scales by (side + 0.1) / old side and does not antialias; with registers it
    uses the size and antialiases. timm's model with registers keeps the class token's position in
    ``cls_token``.

    Args:
        state: tensors under timm's names.
        side: of the grid [tokens].
    """
    import torch
    from torch.nn import functional as F

    resampled = dict(state)
    registers = "reg_token" in state
    cls_position, grid = state["pos_embed"].float().split([1, state["pos_embed"].shape[1] - 1], 1)
    old = round(grid.shape[1] ** 0.5)
    maps = grid.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    if side != old:
        if registers:
            maps = F.interpolate(maps, (side, side), mode="bicubic", antialias=True)
        else:
            maps = F.interpolate(maps, scale_factor=(side + 0.1) / old, mode="bicubic")
    positions = maps.permute(0, 2, 3, 1).flatten(1, 2)
    if registers:
        resampled["cls_token"] = state["cls_token"] + cls_position
        resampled["pos_embed"] = positions
    else:
        resampled["pos_embed"] = torch.cat([cls_position, positions], dim=1)
    return resampled


POSITION_RULES = ("dinov2", "mae", "timm")
"""Whose arithmetic brings positions to another grid."""


def fit_positions(
    state: dict[str, Tensor], architecture: BuildsModel, rule: str = ""
) -> dict[str, Tensor]:
    """Bring the position embedding of a user's file to the grid of the user's architecture.

    The same weights give other tokens by each rule, so a family keeps its own. "dinov2": see
    ``resample_dinov2``; Meta's names of the registers are known, too. "mae": bicubic to the size,
    without antialiasing. "timm": bicubic to the size, antialiased. Positions of the same grid stay
    as they are, and so does what none of these rules describes.

    Args:
        state: tensors under timm's names, registers perhaps under Meta's.
        architecture: of the model that they are for.
        rule: one of ``POSITION_RULES``; empty: "dinov2" for layer scales with patches of 14 px,
            else "timm".
    """
    if "pos_embed" not in state:
        return state
    model: Any = architecture.build_empty()
    wanted, grid = model.state_dict().get("pos_embed"), _grid_of(model)
    if wanted is None or grid is None or wanted.ndim != 3:
        return state
    tokens = wanted.shape[1]
    if (rule or _family_rule(state)) == "dinov2":
        named = {_rename(k, _META_DINOV2): v for k, v in state.items() if k != "mask_token"}
        return _fit_dinov2(named, tokens, grid)
    prefix = tokens - grid * grid
    if state["pos_embed"].shape[1] == tokens or not _is_grid(state["pos_embed"], prefix):
        return state
    return {**state, "pos_embed": _resized(state["pos_embed"], prefix, grid, rule != "mae")}


def _fit_dinov2(state: dict[str, Tensor], tokens: int, side: int) -> dict[str, Tensor]:
    positions = state["pos_embed"]
    if positions.shape[1] == tokens:
        return state
    if "reg_token" in state and _is_grid(positions, 0):  # timm's file: no position of the class
        return {**state, "pos_embed": _resized(positions, 0, side, True)}
    return resample_dinov2(state, side) if _is_grid(positions, 1) else state


def _is_grid(positions: Tensor, prefix: int) -> bool:
    count = positions.shape[1] - prefix
    return count > 0 and math.isqrt(count) ** 2 == count


def _family_rule(state: Mapping[str, Tensor]) -> str:
    patches = state.get("patch_embed.proj.weight")
    scaled = "blocks.0.ls1.gamma" in state
    return "dinov2" if scaled and patches is not None and patches.shape[-1] == 14 else "timm"


def _grid_of(model: Any) -> int | None:
    """Return the side of a square grid of patches, None where there is none."""
    rows, columns = getattr(getattr(model, "patch_embed", None), "grid_size", None) or (0, 1)
    return rows if rows == columns else None


def _resized(positions: Tensor, prefix: int, side: int, antialias: bool) -> Tensor:
    from timm.layers.pos_embed import resample_abs_pos_embed

    return resample_abs_pos_embed(
        positions, [side, side], num_prefix_tokens=prefix, antialias=antialias
    )


_META_DINOV2 = Layout(renamed=((r"^register_tokens$", "reg_token"),))


def dinov2_layout(side: int) -> Layout:
    """Return the layout of Meta's own files of DINOv2, for a grid of ``side``² tokens."""
    return Layout(
        dropped=("mask_token",),
        renamed=_META_DINOV2.renamed,
        convert=partial(resample_dinov2, side=side),
    )


LANGUAGE_TOKENS = 20
"""[CLS] and 19 paddings, which come before Voltron's patches here."""
_CLS_ID = 101
_EPS = 1e-12
VOLTRON_NAMES = (
    (r"^patch2embed\.", "patch_embed."),
    (r"^encoder_pe$", "pos_embed"),
    (r"^encoder_blocks\.", "blocks."),
    (r"^encoder_norm\.g$", "norm.weight"),
    (r"\.pre_norm_attn\.g$", ".norm1.weight"),
    (r"\.pre_norm_mlp\.g$", ".norm2.weight"),
    (r"\.layer_scale_attn\.", ".ls1."),
    (r"\.layer_scale_mlp\.", ".ls2."),
    (r"\.mlp\.0\.project\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
)
"""From Voltron's encoder to timm's; ``fold_language`` does the rest."""


def fold_language(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace the language model by the tokens that it computes for an empty sentence.

    ``img_token``, which every patch gets, is added to the position embedding.
    """
    used = ("lm.", "lang2encoder.", "lang_token", "img_token")
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(used)}
    kept["pos_embed"] = state["pos_embed"] + state["img_token"]
    words = _linear(state, "lang2encoder", empty_sentence(state))
    kept["reg_token"] = (words + state["lang_token"]).float()
    return kept


def empty_sentence(state: Mapping[str, Tensor], stem: str = "lm.") -> Tensor:
    """Return DistilBERT's output for [CLS] and 19 paddings: ``(1, 20, 768)``.

    Only [CLS] may be attended to, so every token receives its value whatever the weights are.

    Args:
        state: tensors of the published file.
        stem: beginning of the language model's names.
    """
    import torch

    ids = torch.tensor([_CLS_ID] + [0] * (LANGUAGE_TOKENS - 1))
    positions = state[f"{stem}embeddings.position_embeddings.weight"][:LANGUAGE_TOKENS]
    x = state[f"{stem}embeddings.word_embeddings.weight"][ids] + positions
    x = _norm(state, f"{stem}embeddings.LayerNorm", x[None])
    layer = 0
    while f"{stem}transformer.layer.{layer}.ffn.lin1.weight" in state:
        x = _language_layer(state, f"{stem}transformer.layer.{layer}", x)
        layer += 1
    return x


def _language_layer(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    from torch.nn import functional as F

    seen = _linear(state, f"{name}.attention.v_lin", x[:, :1]).expand_as(x)
    x = _norm(state, f"{name}.sa_layer_norm", x + _linear(state, f"{name}.attention.out_lin", seen))
    hidden = F.gelu(_linear(state, f"{name}.ffn.lin1", x))
    return _norm(state, f"{name}.output_layer_norm", x + _linear(state, f"{name}.ffn.lin2", hidden))


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    from torch.nn import functional as F

    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    from torch.nn import functional as F

    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=_EPS)
