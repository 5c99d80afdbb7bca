"""Voltron's V-Cond encoder (arXiv 2302.12766) as a vision transformer with constant extra tokens.

Its visual representation runs 20 language tokens along with the patches, those of an empty
sentence, and drops them at the end. They do not depend on the image, so they are registers whose
values the published file determines. Its attention mask blanks queries instead of keys: patches
attend to all 20 tokens, and the 19 paddings attend to all tokens alike. It was trained like that,
so this module computes the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from s2robot.utils.deprecation import moved_names


class MaskedQueriesAttention(nn.Module):
    """Self-attention in which the queries of the padding tokens weigh all tokens alike.

    Args:
        dim: channels of a token.
        num_heads: heads.
        language_tokens: number of [CLS] and its paddings, which come first.
    """

    def __init__(self, dim: int, num_heads: int, language_tokens: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.language_tokens = language_tokens
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return tokens of the same shape as ``x``, ``(N, 20 + n, C)``."""
        parts = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts  # (N, heads, 20 + n, C / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        mean = value.mean(dim=2, keepdim=True)
        paddings = mean.expand(-1, -1, self.language_tokens - 1, -1)
        patches = mixed[:, :, self.language_tokens :]
        mixed = torch.cat([mixed[:, :, :1], paddings, patches], dim=2)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class VoltronBlock(Block):
    """Transformer block of timm with Voltron's attention."""

    def __init__(self, dim: int, num_heads: int, *, language_tokens: int, **options: Any) -> None:
        super().__init__(dim, num_heads, **options)
        self.attn = MaskedQueriesAttention(dim, num_heads, language_tokens)


_OLD = ("LANGUAGE_TOKENS", "VOLTRON_NAMES", "empty_sentence", "fold_language")
"""Names that this module had."""

__getattr__ = moved_names(__name__, dict.fromkeys(_OLD, "s2robot.backbones.state_dicts"))
