"""Seeded weights, sizes of models, and what several published files carry along."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ViTShape:
    """Sizes of a vision transformer."""

    image_size: int
    patch: int
    dim: int
    depth: int

    @property
    def tokens(self) -> int:
        """Number of patches."""
        return (self.image_size // self.patch) ** 2


Shape = ViTShape | int
"""An int is a ResNet's number of layers: 18, 34 or 50."""

SMALL, BASE = ViTShape(224, 16, 384, 12), ViTShape(224, 16, 768, 12)
SMALL_14, BASE_14 = ViTShape(518, 14, 384, 12), ViTShape(518, 14, 768, 12)
LARGE_14 = ViTShape(518, 14, 1024, 24)
LARGE, LARGE_256 = ViTShape(224, 16, 1024, 24), ViTShape(256, 16, 1024, 24)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Weights:
    """Tensors by name, drawn one after the other from one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: dict[str, Tensor] = {}

    def normal(self, name: str, *shape: int, std: float = 1.0, mean: float = 0.0) -> None:
        noise = torch.randn(shape, generator=self.generator)
        self.state[name] = noise.mul_(std).add_(mean)

    def linear(self, name: str, out: int, into: int, gain: float = 1.0) -> None:
        self.normal(f"{name}.weight", out, into, std=gain * into**-0.5)
        self.normal(f"{name}.bias", out, std=0.1)

    def conv(self, name: str, out: int, into: int, side: int, bias: bool = False) -> None:
        std = (2 / (into * side * side)) ** 0.5
        self.normal(f"{name}.weight", out, into, side, side, std=std)
        if bias:
            self.normal(f"{name}.bias", out, std=0.1)

    def norm(self, name: str, *shape: int, gain: float = 1.0) -> None:
        self.normal(f"{name}.weight", *shape, std=0.2 * gain, mean=gain)
        self.normal(f"{name}.bias", *shape, std=0.1)

    def batch_norm(self, name: str, dim: int, gain: float = 1.0) -> None:
        self.norm(name, dim, gain=gain)
        self.normal(f"{name}.running_mean", dim, std=0.2)
        variance = torch.rand(dim, generator=self.generator) + 0.5
        self.state[f"{name}.running_var"] = variance
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    def prefixed(self, prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}{name}": tensor for name, tensor in self.state.items()}


def distilbert(w: Weights, prefix: str, small: bool) -> None:
    """The language model that R3M's and Voltron's files carry along."""
    words, depth = (102, 2) if small else (30522, 6)
    w.state[f"{prefix}.embeddings.position_ids"] = torch.arange(512)[None]
    w.normal(f"{prefix}.embeddings.word_embeddings.weight", words, 768, std=0.5)
    w.normal(f"{prefix}.embeddings.position_embeddings.weight", 512, 768, std=0.5)
    w.norm(f"{prefix}.embeddings.LayerNorm", 768)
    for layer in (f"{prefix}.transformer.layer.{i}" for i in range(depth)):
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            w.linear(f"{layer}.attention.{part}", 768, 768)
        w.norm(f"{layer}.sa_layer_norm", 768)
        w.linear(f"{layer}.ffn.lin1", 3072, 768)
        w.linear(f"{layer}.ffn.lin2", 768, 3072)
        w.norm(f"{layer}.output_layer_norm", 768)
