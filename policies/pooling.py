"""Trainable readout heads between a frozen embedding and a policy network."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from s2robot.policies.config import PolicyConfig

SMALLEST_STD = 1e-6
"""Of embeddings, which have no unit."""
SMALLEST_MEASURED_STD = 5e-4
"""Of positions [m], angles [rad] and cosines of directions: half a millimeter, 0.03°. What
pick-cube's tasks move varies by 1.6e-3 and more; what its controller leaves behind, the tilt of the
gripper on ``easy``, by 3e-4 and less (``benchmarks/channels.py``). robomimic adds 1e-3 to every
such std."""
_CHUNK = 256
_COLUMNS = 64
"""Channels that are summed at once; their numbers in float64 fit into a core's caches."""


class Normalizer(nn.Module):
    """Normalizer of the last axis to zero mean and unit variance, by stored statistics.

    A channel that hardly varies over the training frames is centered and not scaled: with unit
    variance its noise would count as much as what the robot does, and a small change of it later
    would be far from all that was trained on.

    Args:
        width: size C of the last axis.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def fit(
        self,
        values: torch.Tensor,
        smallest_std: float = SMALLEST_STD,
        *,
        rows: torch.Tensor | None = None,
    ) -> None:
        """Store the statistics of values ``(N, ..., C)`` over all but the last axis.

        Args:
            values: of the training frames.
            smallest_std: channels with a lower one are not scaled, nor those that vary by no more
                than their own rounding (half a step of ``values.dtype`` at their root mean square).
            rows: indices ``(M,)`` of the values that count; None for all N.
        """
        width = values.shape[-1]
        if not width:
            return
        rows = torch.arange(len(values)) if rows is None else rows
        total = torch.zeros(width, dtype=torch.float64)
        squares = torch.zeros_like(total)
        memory = values.new_empty(min(_CHUNK, len(rows)), *values.shape[1:])
        for own in rows.to(values.device).split(_CHUNK):
            chunk = torch.index_select(values, 0, own, out=memory[: len(own)])
            for start in range(0, width, _COLUMNS):
                part = slice(start, start + _COLUMNS)
                # Sums in float64, since values may be float16.
                wide = chunk[..., part].to(torch.float64, copy=True).flatten(0, -2)
                total[part] += wide.sum(dim=0).cpu()
                squares[part] += wide.square_().sum(dim=0).cpu()
        count = len(rows) * math.prod(values.shape[1:-1])
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        rounding = torch.finfo(values.dtype).eps / 2 * (squares / count).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > rounding.clamp(min=smallest_std), std, 1.0))

    def forward(self, values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return normalized values, float32, in the same shape.

        Args:
            values: ``(..., C)``.
            out: memory for the result, float32 of the same shape; None takes new memory.
        """
        # All frames at once: only one copy.
        copy = values.to(torch.float32, copy=True) if out is None else out.copy_(values)
        return copy.sub_(self.mean).div_(self.std)


class SpatialSoftmaxHead(nn.Module):
    """Spatial softmax of a token grid: expected positions under learned attention maps.

    After Levine et al. 2016 (arXiv 1504.00702), with a trained temperature. A position among tokens
    is coarse; the position inside a token is in the token's content. So each map also averages a
    few local features.

    Args:
        grid: rows and columns of the grid.
        channels: channels C of a token.
        keypoints: number K of maps.
        softmax_scale: initial factor on the logits.
        features: number F of local features per keypoint; 0 for positions alone.
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
        """Return keypoints ``(B, K·(2 + F))`` float32 of normalized tokens ``(B, gh, gw, C)``.

        Args:
            tokens: float32, or bfloat16, in which the projection is then computed.
        """
        projected = self._projected(tokens)
        maps = self._maps(projected)
        values = torch.cat(
            [self.positions.expand(len(tokens), -1, -1), projected[..., self.keypoints :]], dim=-1
        )  # (B, gh·gw, 2 + F)
        return (maps.transpose(1, 2) @ values).flatten(1)

    def _projected(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits of the maps and local features ``(B, gh·gw, K + F)``, float32."""
        flat = tokens.flatten(1, 2)
        if flat.dtype == torch.float32:
            return self.project(flat)
        product = functional.linear(flat, self.project.weight.to(flat.dtype))
        return product.float() + self.project.bias

    def attention(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the mean of the attention maps on normalized tokens ``(B, gh, gw, C)``.

        Returns:
            ``(B, gh, gw)``; each sums to 1.
        """
        maps = self._maps(self._projected(tokens))
        return maps.mean(dim=2).unflatten(1, tokens.shape[1:3])

    def _maps(self, projected: torch.Tensor) -> torch.Tensor:
        return (projected[..., : self.keypoints] * self.log_scale.exp()).softmax(dim=1)


def _positions(rows: int, columns: int) -> torch.Tensor:
    """Return the centers ``(rows·columns, 2)`` of tokens as (x, y) in (-1, 1), y downwards."""
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    x = (torch.arange(columns) + 0.5) / columns * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flip(-1)
    return grid.reshape(-1, 2)


class VectorHead(nn.Sequential):
    """Readout head of a vector embedding: optional LayerNorm, then an optional hidden layer.

    Args:
        width: of the embedding.
        hidden: width of the hidden layer; 0 for none.
        layer_norm: whether to apply LayerNorm.
    """

    def __init__(self, width: int, hidden: int, layer_norm: bool) -> None:
        layers: list[nn.Module] = [nn.LayerNorm(width)] if layer_norm else []
        if hidden:
            layers += [nn.Linear(width, hidden), nn.GELU()]
        super().__init__(*layers)
        self.width = hidden or width


def make_head(
    embedding_shape: tuple[int, ...], config: PolicyConfig
) -> SpatialSoftmaxHead | VectorHead:
    """Return the readout head for embeddings of a shape.

    Args:
        embedding_shape: a grid ``(gh, gw, C)`` or a vector ``(D,)``.
        config: sizes of the head.

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
        f"embedding_shape is {embedding_shape}; a policy needs a grid (gh, gw, C) or a vector (D,)"
    )
