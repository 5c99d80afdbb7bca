"""One-step policies of many seeds, with stacked weights: one product serves all of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import distributions, nn
from torch.nn import functional

from s2robot.policies.policy import Policy
from s2robot.policies.pooling import SpatialSoftmaxHead
from s2robot.utils.process_state import join_one_thread_an_operation

STACKABLE_KINDS = ("mlp", "gmm")


class StackedPolicy:
    """Policies of equal shape, whose weights are stacked along a first axis of seeds.

    The policies stay usable: their parameters become views of the stacked weights.

    Args:
        policies: G policies of one configuration of ``STACKABLE_KINDS``.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policy = policies[0]
        self.weights: dict[str, torch.Tensor] = {}
        """Stacked parameters ``(G, ...)`` by their name in the policy."""
        for name, _ in self._policy.named_parameters():
            own = [policy.get_parameter(name) for policy in policies]
            self.weights[name] = torch.stack([each.detach() for each in own])
            for each, view in zip(own, self.weights[name], strict=True):
                each.data = view

    def losses(
        self, embedding: torch.Tensor, proprio: torch.Tensor, actions: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean imitation loss of each seed ``(G,)``.

        Args:
            embedding: normalized ``(G, B, *shape)``, float32; grids also bfloat16.
            proprio: normalized ``(G, B, P)``.
            actions: ``(G, B, A)``.
        """
        nets = self._policy.network.nets
        hidden = self._apply(
            nets["mlp"]._model, "network.nets.mlp._model", self._observe(embedding, proprio)
        )
        decoder = nets["decoder"].nets
        raw = {key: self._linear(f"network.nets.decoder.nets.{key}", hidden) for key in decoder}
        if self._policy.config.kind == "mlp":
            return self._policy.frame_losses(raw["action"].tanh(), actions).mean(dim=1)
        # One by one: the last digits of exponentials depend on where they stand in a tensor.
        seeds = zip(*raw.values(), actions, strict=True)
        mixtures = ((self._mixture(dict(zip(raw, own, strict=True))), each) for *own, each in seeds)
        return torch.stack([self._policy.frame_losses(*each).mean() for each in mixtures])

    def _observe(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Return the input of the network ``(G, B, P + width of the head)``."""
        head = self._policy.head
        if head is None:
            return proprio
        if isinstance(head, SpatialSoftmaxHead):
            pooled = self._pool(head, embedding)
        else:
            pooled = self._apply(head, "head", embedding)
        return torch.cat([proprio, pooled], dim=-1)  # in the order of robomimic's observations

    def _pool(self, head: SpatialSoftmaxHead, tokens: torch.Tensor) -> torch.Tensor:
        """Return keypoints ``(G, B, K·(2 + F))`` of tokens ``(G, B, gh, gw, C)``.

        The bias of a map does not change its softmax, and that of a feature is added after the
        average, whose weights sum to 1.
        """
        keypoints = head.keypoints
        weight, bias = self.weights["head.project.weight"], self.weights["head.project.bias"]
        scale = self.weights["head.log_scale"].exp()[:, None, None]
        weight = torch.cat([weight[:, :keypoints] * scale, weight[:, keypoints:]], dim=1)
        pooled = _PooledTokens.apply(tokens.flatten(2, 3), weight, head.positions, keypoints)
        shift = functional.pad(bias[:, keypoints:], (2, 0))
        return (pooled + shift[:, None, None]).flatten(2)

    def _mixture(self, raw: Mapping[str, torch.Tensor]) -> distributions.Distribution:
        """Return the distribution of actions of one seed, as robomimic's GMM network does."""
        config = self._policy.config
        modes = (config.gmm_modes, self._policy.action_dim)
        std = functional.softplus(raw["scale"].unflatten(-1, modes)) + config.gmm_min_std
        mean = raw["mean"].unflatten(-1, modes).tanh()
        normal = distributions.Normal(mean, std, validate_args=False)
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=raw["logits"], validate_args=False),
            distributions.Independent(normal, 1, validate_args=False),
            validate_args=False,
        )

    def _apply(self, layers: nn.Module, name: str, values: torch.Tensor) -> torch.Tensor:
        """Apply a sequence of layers to values ``(G, B, width)``."""
        for child, layer in layers.named_children():
            if isinstance(layer, nn.Linear):
                values = self._linear(f"{name}.{child}", values)
            elif isinstance(layer, nn.LayerNorm):
                weight, bias = self._pair(f"{name}.{child}")
                values = functional.layer_norm(values, layer.normalized_shape, eps=layer.eps)
                values = torch.addcmul(bias[:, None], values, weight[:, None])
            else:  # an activation, which has no weights
                values = layer(values)
        return values

    def _linear(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return _StackedLinear.apply(values, *self._pair(name))

    def _pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]


class _StackedLinear(torch.autograd.Function):
    """Linear layers ``(G, out, in)``; their gradients have the memory layout of the weights."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(values, weight)
        return torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore
        values, weight = ctx.saved_tensors
        below = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return below, torch.bmm(grad.transpose(1, 2), values), grad.sum(dim=1)


class _PooledTokens(torch.autograd.Function):
    """Positions and features of frozen tokens, averaged by softmax maps.

    Tokens ``(G, B, T, C)`` and weights ``(G, K + F, C)`` give ``(G, B, K, 2 + F)``. Only the
    weights have a gradient, so backward has one product with the tokens, without copies of them.
    Tokens may be bfloat16: both products are then computed in it, and all else in float32. On a
    processor each half of the batch is a product of its own, so that two cores share them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        tokens: torch.Tensor,
        weight: torch.Tensor,
        positions: torch.Tensor,
        keypoints: int,
    ) -> torch.Tensor:
        across = weight.to(tokens.dtype).transpose(1, 2)
        parts = _of_halves(lambda own: torch.bmm(own.flatten(1, 2), across), tokens)
        projected = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).to(weight.dtype)
        projected = projected.unflatten(1, tokens.shape[1:3])  # (G, B, T, K + F)
        maps = projected[..., :keypoints].softmax(dim=2)
        features = projected[..., keypoints:]
        place = positions.expand(*features.shape[:2], -1, -1)
        values = torch.cat([place, features], dim=-1)  # (G, B, T, 2 + F)
        ctx.save_for_backward(tokens, maps, values)
        return maps.transpose(2, 3) @ values

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore
        tokens, maps, values = ctx.saved_tensors
        back = values @ grad.transpose(2, 3)  # to the maps (G, B, T, K)
        logits = torch._softmax_backward_data(back, maps, 2, maps.dtype)
        projected = torch.cat([logits, maps @ grad[..., 2:]], dim=-1)  # (G, B, T, K + F)
        across = projected.to(tokens.dtype)
        parts = _of_halves(
            lambda left, right: torch.bmm(left.flatten(1, 2).transpose(1, 2), right.flatten(1, 2)),
            across,
            tokens,
        )
        whole = parts[0] if len(parts) == 1 else parts[0].to(projected.dtype) + parts[1]
        return None, whole.to(projected.dtype), None, None


def _of_halves(product: Callable[..., torch.Tensor], *values: torch.Tensor) -> list[torch.Tensor]:
    """Return a product of both halves of a batch, the second by another thread if one is free.

    The halves do not depend on who computes them, nor do the results. float32 is not divided, so
    that its results are those of before; nor is a batch on a GPU.

    Args:
        product: of values.
        values: ``(G, B, ...)`` each.
    """
    size = values[0].shape[1]
    if values[0].dtype != torch.bfloat16 or values[0].device.type != "cpu" or size < 2:
        return [product(*values)]
    first = [value[:, : size // 2] for value in values]
    second = [value[:, size // 2 :] for value in values]
    waiting = _helper(os.getpid()).submit(torch.no_grad()(product), *second)
    done = product(*first)
    return [done, product(*second) if waiting.cancel() else waiting.result()]


@functools.lru_cache(maxsize=1)
def _helper(_process: int) -> ThreadPoolExecutor:
    """Return a thread that computes halves; a forked process has one of its own."""
    return ThreadPoolExecutor(1, "halves", initializer=join_one_thread_an_operation)
