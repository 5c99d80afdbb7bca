"""Cost of a backbone, counted without its weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from s2robot.backbones.card import BackboneCard


def parameters_of(model: nn.Module) -> int:
    """Return the number of weights."""
    return sum(p.numel() for p in model.parameters())


def gflops_of(model: nn.Module, tile_size: int) -> float:
    """Return the cost of ``forward_features`` for one crop in 10⁹ floating-point operations.

    A multiply-add counts as two. Papers often give multiply-adds (GMACs) under the name of FLOPs,
    which are half of these.

    Args:
        model: a model of timm, or one with the same methods.
        tile_size: side of the crop [px].
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {f"model.{name}": tensor.to("meta") for name, tensor in tensors.items()}
    crop = torch.empty(1, 3, tile_size, tile_size, device="meta")
    try:
        with FlopCounterMode(display=False) as counter:
            functional_call(_Features(model), shapes, (crop,))
    except (NotImplementedError, RuntimeError):  # a model in memory that reads values on its way
        device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            _Features(model)(torch.zeros(crop.shape, device=device))
    return counter.get_total_flops() / 1e9


class _Features(nn.Module):
    """``forward_features`` as a forward, for ``functional_call``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(x)  # pyright: ignore[reportCallIssue]


def card_cost(card: BackboneCard) -> tuple[int, float]:
    """Return the cost of a backbone without loading it.

    Returns:
        Number of weights, and 10⁹ floating-point operations at scale 1.

    Examples:
        >>> from s2robot.backbones import get_card
        >>> parameters, gflops = card_cost(get_card("random/vitt16-128"))
        >>> parameters, round(gflops, 2)
        (5499072, 0.75)
    """
    model = card.architecture.build_empty().eval()
    return parameters_of(model), gflops_of(model, card.preprocessing.image_size)
