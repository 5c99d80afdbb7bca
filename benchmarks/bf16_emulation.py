"""bfloat16 as PyTorch's autocast computes it, on a processor without bfloat16 instructions.

Operands of each linear layer, convolution, matrix product and attention are rounded to bfloat16,
products are summed in float32, and the result is rounded to bfloat16, as the instructions do. The
rest stays in float32. ``tests/unit/benchmarks`` compares it with PyTorch's own bfloat16, which any
processor computes, far more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from s2robot.runtimes.base import TokenModel

_PRODUCTS: frozenset[Callable[..., Any]] = frozenset(
    {
        F.linear,
        F.conv2d,
        torch.matmul,
        torch.bmm,
        torch.Tensor.matmul,
        torch.Tensor.__matmul__,
        F.scaled_dot_product_attention,
    }
)


def rounded(value: Any) -> Any:
    """Return a float32 tensor rounded to bfloat16, as float32; anything else as it is."""
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.bfloat16().float()
    return value


class EmulatedBfloat16(TorchFunctionMode):
    """Products of float32 tensors under this context have the precision of bfloat16."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Round operands and results of products."""
        del types
        kwargs = kwargs or {}
        if func not in _PRODUCTS:
            return func(*args, **kwargs)
        given = {name: rounded(value) for name, value in kwargs.items()}
        if func is F.scaled_dot_product_attention:
            return _attention(*map(rounded, args), **given)
        return rounded(func(*map(rounded, args), **given))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    **options: Any,
) -> Tensor:
    """Attend as the fused kernel does: scores stay in float32, their weights are rounded."""
    if attn_mask is not None or dropout_p or options.get("is_causal"):
        raise NotImplementedError("masks and dropout of attention are not emulated")
    scale = options.get("scale") or query.shape[-1] ** -0.5
    scores = (query @ key.transpose(-2, -1)) * scale
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return rounded((rounded(weights) @ value) / weights.sum(dim=-1, keepdim=True))


class EmulatedRuntime:
    """Runtime of an encoder that computes in emulated bfloat16, for measurements alone."""

    name = "bf16-emulated"
    exact = True

    def __init__(self, model: TokenModel) -> None:
        self.model = model

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the float32 tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)`` in 0-255."""
        with torch.no_grad(), EmulatedBfloat16():
            return self.model(tiles)

    def describe(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return {"name": self.name}
