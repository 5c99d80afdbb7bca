"""Trainable readouts between a frozen embedding and a policy network."""

from __future__ import annotations

import math

import torch
from torch import nn

from s2robot.policies.config import PolicyConfig

# A channel that hardly varies over the training frames is shifted, but not blown up.
_SMALLEST_STD = 1e-6
_CHUNK = 256


class Normalizer(nn.Module):
    """Shift and scale the last axis to zero mean and unit variance, by stored statistics."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(self, values: torch.Tensor) -> None:
        """Take the statistics over all but the last axis of ``values`` (N, ..., C)."""
        total = torch.zeros(values.shape[-1], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for chunk in values.split(_CHUNK):  # the sums are wide, the values may be float16
            wide = chunk.reshape(-1, values.shape[-1]).double()
            total += wide.sum(dim=0).cpu()
            squares += wide.square().sum(dim=0).cpu()
        count = values[..., 0].numel()
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > _SMALLEST_STD, std, 1.0))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Float32, shape of ``values``."""
        copy = values.to(torch.float32, copy=True)  # all frames at once: no second copy
        return copy.sub_(self.mean).div_(self.std)


class SpatialSoftmaxHead(nn.Module):
    """Keypoints of a token grid: expected positions under learned attention maps.

    After Levine et al. 2016 (arXiv 1504.00702), with a trained temperature. A position among tokens
    is coarse; where inside a token something lies is told by the token's content. So each map also
    averages a few local features.

    Args:
        grid: rows and columns of the grid.
        channels: channels C of a token.
        keypoints: number K of maps.
        softmax_scale: initial factor on the logits.
        features: number F of local features a keypoint; 0 for positions alone.
    """

    positions: torch.Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        channels: int,
        keypoints: int,
        softmax_scale: float,
        features: int,
    ) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.project = nn.Linear(channels, keypoints + features)
        self.log_scale = nn.Parameter(torch.tensor(math.log(softmax_scale)))
        self.register_buffer("positions", _positions(*grid), persistent=False)
        self.width = keypoints * (2 + features)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Standardised tokens ``(B, gh, gw, C)`` to ``(B, K·(2 + F))``."""
        projected = self.project(tokens.flatten(1, 2))  # (B, gh·gw, K + F)
        maps = self._maps(projected)
        values = torch.cat(
            [self.positions.expand(len(tokens), -1, -1), projected[..., self.keypoints :]], dim=-1
        )  # (B, gh·gw, 2 + F)
        return (maps.transpose(1, 2) @ values).flatten(1)

    def attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """Where standardised tokens ``(B, gh, gw, C)`` are read: mean of the maps ``(B, gh, gw)``.

        Each of them sums to 1.
        """
        maps = self._maps(self.project(tokens.flatten(1, 2)))
        return maps.mean(dim=2).unflatten(1, tokens.shape[1:3])

    def _maps(self, projected: torch.Tensor) -> torch.Tensor:
        return (projected[..., : self.keypoints] * self.log_scale.exp()).softmax(dim=1)


def _positions(rows: int, columns: int) -> torch.Tensor:
    """Centres ``(rows·columns, 2)`` of grid cells as (x, y) in (-1, 1); x to the right, y down."""
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    x = (torch.arange(columns) + 0.5) / columns * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1)
    return grid.reshape(-1, 2)


class VectorHead(nn.Sequential):
    """A vector embedding handed on, after an optional LayerNorm and an optional hidden layer."""

    def __init__(self, width: int, hidden: int, layer_norm: bool) -> None:
        layers: list[nn.Module] = [nn.LayerNorm(width)] if layer_norm else []
        if hidden:
            layers += [nn.Linear(width, hidden), nn.GELU()]
        super().__init__(*layers)
        self.width = hidden or width


def make_head(
    embedding_shape: tuple[int, ...], config: PolicyConfig
) -> SpatialSoftmaxHead | VectorHead:
    """The readout for embeddings of this shape: a grid ``(gh, gw, C)`` or a vector ``(D,)``.

    Raises:
        ValueError: the shape is neither.
    """
    if len(embedding_shape) == 1:
        return VectorHead(embedding_shape[0], config.vector_width, config.vector_layer_norm)
    if len(embedding_shape) == 3:
        rows, columns, channels = embedding_shape
        return SpatialSoftmaxHead(
            (rows, columns),
            channels,
            config.keypoints,
            config.softmax_scale,
            config.keypoint_features,
        )
    raise ValueError(
        f"embedding_shape is {embedding_shape}; a policy reads a grid (gh, gw, C) or a vector (D,)"
    )
