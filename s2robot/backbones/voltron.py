"""Voltron's V-Cond encoder (arXiv 2302.12766) as a vision transformer with constant extra tokens.

Its visual representation runs 20 language tokens along with the patches, those of an empty
sentence, and drops them at the end. They do not depend on the image, so they are registers whose
values the published file determines. Its attention mask blanks queries instead of keys: patches
attend to all 20 tokens, and the 19 paddings attend to all tokens alike. It was trained like that,
so this module computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

LANGUAGE_TOKENS = 20
"""[CLS] and 19 paddings, which come first here."""

_CLS_ID = 101
_EPS = 1e-12


class MaskedQueriesAttention(nn.Module):
    """Self-attention in which the queries of the padding tokens weigh all tokens alike."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return tokens of the same shape as ``x``, ``(N, 20 + n, C)``."""
        parts = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts  # (N, heads, 20 + n, C / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        mean = value.mean(dim=2, keepdim=True)
        paddings = mean.expand(-1, -1, LANGUAGE_TOKENS - 1, -1)
        mixed = torch.cat([mixed[:, :, :1], paddings, mixed[:, :, LANGUAGE_TOKENS:]], dim=2)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class VoltronBlock(Block):
    """Transformer block of timm with Voltron's attention."""

    def __init__(self, dim: int, num_heads: int, **options: Any) -> None:
        super().__init__(dim, num_heads, **options)
        self.attn = MaskedQueriesAttention(dim, num_heads)


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
    seen = _linear(state, f"{name}.attention.v_lin", x[:, :1]).expand_as(x)
    x = _norm(state, f"{name}.sa_layer_norm", x + _linear(state, f"{name}.attention.out_lin", seen))
    hidden = F.gelu(_linear(state, f"{name}.ffn.lin1", x))
    return _norm(state, f"{name}.output_layer_norm", x + _linear(state, f"{name}.ffn.lin2", hidden))


def _linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=_EPS)
