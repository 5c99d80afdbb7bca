"""Policies: normalization, a trainable readout head, a network."""

from __future__ import annotations

import contextlib
import copy
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional

from s2robot.policies.action_chunks import ChunkExecution
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.policies.networks import build_network
from s2robot.policies.pooling import (
    SMALLEST_MEASURED_STD,
    Normalizer,
    SpatialSoftmaxHead,
    make_head,
)

_STORED_NAMES = {
    "embedding_normalizer.": "embedding_standardiser.",
    "proprio_normalizer.": "proprio_standardiser.",
}
"""Prefix of a weight's name in files by its prefix in the module."""


def _renamed(state: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    """Return a state dictionary with other prefixes, in the same order."""
    found = {}
    for name, tensor in state.items():
        prefix = next((p for p in prefixes if name.startswith(p)), "")
        found[prefixes.get(prefix, prefix) + name.removeprefix(prefix)] = tensor
    return found


class Policy(nn.Module):
    """Policy from an embedding and proprioception to actions.

    An episode is a ``reset`` and one ``act`` per control step.

    Args:
        config: network and readout.
        embedding_shape: a grid ``(gh, gw, C)`` or a vector ``(D,)``; D = 0 for a blind policy.
        proprio_dim: width P of the proprioception.
        action_dim: entries A of an action, in [-1, 1].
    """

    def __init__(
        self,
        config: PolicyConfig,
        embedding_shape: tuple[int, ...],
        proprio_dim: int,
        action_dim: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding_shape = tuple(embedding_shape)
        self.embedding_dim = math.prod(embedding_shape)
        self.proprio_dim = proprio_dim
        self.action_dim = action_dim
        self.embedding_normalizer = Normalizer(embedding_shape[-1])
        self.proprio_normalizer = Normalizer(proprio_dim)
        self.head = make_head(self.embedding_shape, config) if self.embedding_dim else None
        own = action_dim if config.reads_past_actions else 0
        widths = {"proprio": proprio_dim + own}
        if self.head is not None:
            widths["embedding"] = self.head.width
        self.network: Any = build_network(config, widths, action_dim)
        self.action_units: ActionUnits | None = None
        """Units of the actions that ``act`` returns; None for [-1, 1], in which losses and
        ``predict`` always are."""
        self._batch_size: int | None = None
        self._step = 0
        self._rnn_state: Any = None
        self._history: deque[dict[str, torch.Tensor]] = deque(maxlen=config.context)
        self._chunks = ChunkExecution(config)
        self._last_action: torch.Tensor | None = None

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the weights under their names in policy files."""
        return _renamed(super().state_dict(*args, **options), _STORED_NAMES)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights under their names in policy files.

        Args:
            state_dict: as ``state_dict`` returns it.
            strict: raise an error for missing or further names.
            assign: use the given tensors instead of copying them.
        """
        own = {stored: name for name, stored in _STORED_NAMES.items()}
        return super().load_state_dict(_renamed(state_dict, own), strict, assign)

    @classmethod
    def for_data(
        cls, config: PolicyConfig, data: TrajectoryData, normalized_like: Policy | None = None
    ) -> Policy:
        """Return an untrained policy with the normalization of the training episodes.

        Args:
            config: network and readout.
            data: gives the shapes and the statistics.
            normalized_like: policy for the same data, whose statistics are copied.
        """
        policy = cls(config, data.embedding_shape, data.proprio.shape[1], data.actions.shape[1])
        if normalized_like is not None:
            policy.proprio_normalizer = copy.deepcopy(normalized_like.proprio_normalizer)
            policy.embedding_normalizer = copy.deepcopy(normalized_like.embedding_normalizer)
            return policy
        frames = data.frames_of(data.train_episodes)
        policy.proprio_normalizer.fit(data.proprio, SMALLEST_MEASURED_STD, rows=frames)
        if policy.embedding_dim:
            policy.embedding_normalizer.fit(policy._shaped(data.embedding), rows=frames)
        return policy

    def _shaped(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding.unflatten(-1, self.embedding_shape)

    def normalize_embedding(
        self, embedding: torch.Tensor, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return normalized embeddings, float32 ``(B, *shape)``, from flat ones ``(B, D)``.

        Args:
            embedding: as the encoder returns it.
            out: memory ``(B, D)`` float32 for the result; None takes new memory.
        """
        own = None if out is None else self._shaped(out)
        return self.embedding_normalizer(self._shaped(embedding), own)

    def normalize_proprio(self, proprio: torch.Tensor) -> torch.Tensor:
        """Return normalized proprioception, float32 ``(B, P)``."""
        return self.proprio_normalizer(proprio)

    def loss(
        self,
        embedding: torch.Tensor,
        proprio: torch.Tensor,
        actions: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean imitation loss over unmasked frames (scalar).

        Args:
            embedding: normalized, ``(B, *shape)``; ``(B, T, *shape)`` for a sequence policy.
                float32; grids also bfloat16, see ``TrainConfig.dtype``.
            proprio: normalized, ``(B, P)`` or ``(B, T, P)``.
            actions: ``(B, A)`` or ``(B, T, A)``.
            mask: bool ``(B,)`` or ``(B, T)``, False where a frame only pads.

        Of a policy with chunks of K actions, actions are ``(B, K, A)`` and the mask ``(B, K)``.
        Proprioception holds also the action before each step, if the policy reads it.
        """
        errors = self.frame_losses(self.outputs(embedding, proprio), actions)
        return (errors * mask).sum() / mask.sum()

    def predict(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Return deterministic actions, ``(B, A)``, ``(B, T, A)`` or chunks ``(B, K, A)``.

        Args:
            embedding: normalized, in the shapes of ``loss``.
            proprio: normalized, in the shapes of ``loss``.
        """
        return self.actions_of(self.outputs(embedding, proprio))

    def outputs(self, embedding: torch.Tensor, proprio: torch.Tensor) -> Any:
        """Return actions of a deterministic policy, else the distribution of actions.

        Args:
            embedding: normalized, in the shapes of ``loss``.
            proprio: normalized, in the shapes of ``loss``.
        """
        observation = self._observe(embedding, proprio)
        if self._is_deterministic:
            return self.network(observation)
        with _unchecked():
            return self.network.forward_train(observation)

    def frame_losses(self, outputs: Any, actions: torch.Tensor) -> torch.Tensor:
        """Return the imitation loss of each frame, ``(..., A)`` to ``(...)``.

        Args:
            outputs: as ``outputs`` returns them.
            actions: of the demonstrations ``(..., A)``.
        """
        if self._is_deterministic:
            return _regression_loss(self.config.loss, outputs, actions)
        with _unchecked():
            return -outputs.log_prob(actions)

    def actions_of(self, outputs: Any) -> torch.Tensor:
        """Return the deterministic actions ``(..., A)`` of ``outputs``."""
        return outputs if self._is_deterministic else _likeliest_mean(outputs)

    @property
    def _is_deterministic(self) -> bool:
        return self.config.kind == "mlp" or self.config.is_chunked

    def _observe(self, embedding: torch.Tensor, proprio: torch.Tensor) -> dict[str, torch.Tensor]:
        observation = {"proprio": proprio}
        if self.head is not None:
            lead = proprio.shape[:-1]  # (B,) or (B, T)
            flat = self.head(embedding.flatten(0, len(lead) - 1))
            observation["embedding"] = flat.unflatten(0, lead)
        return observation

    def reset(self, batch_size: int) -> None:
        """Begin ``batch_size`` episodes: forget the past and switch to evaluation mode."""
        self.eval()
        self._batch_size, self._step, self._rnn_state = batch_size, 0, None
        self._last_action = None
        self._history.clear()
        self._chunks.clear()

    @torch.inference_mode()
    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Return deterministic actions of one control step for every episode.

        Args:
            embedding: ``(B, D)`` as the encoder returns it, flattened.
            proprio: ``(B, P)`` as measured.

        Returns:
            ``(B, A)`` float32 on the policy's device: in [-1, 1], or in ``action_units``.

        Raises:
            ValueError: a shape differs from the policy's, or ``reset`` was not called.
        """
        device = self.proprio_normalizer.mean.device
        embedding, proprio = embedding.to(device), proprio.to(device)
        self._check_step(embedding, proprio)
        proprio = self._with_last_action(self.normalize_proprio(proprio))
        observation = self._observe(self.normalize_embedding(embedding), proprio)
        action = self._last_action = self._act_on(observation)
        self._step += 1
        return action if self.action_units is None else self.action_units(action)

    def _with_last_action(self, proprio: torch.Tensor) -> torch.Tensor:
        if not self.config.reads_past_actions:
            return proprio
        last = self._last_action
        last = proprio.new_zeros(len(proprio), self.action_dim) if last is None else last
        return torch.cat([proprio, last], dim=-1)

    @torch.inference_mode()
    def attention(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the attention of the readout head, for ``SelectiveEncoder.look_at``.

        Args:
            embedding: ``(B, D)`` as the encoder returns it, flattened.

        Returns:
            ``(B, gh, gw)`` float32 on the embedding's grid; each map sums to 1.

        Raises:
            ValueError: the embedding of the policy is not a grid.
        """
        if not isinstance(self.head, SpatialSoftmaxHead):
            raise ValueError(
                f"a policy with embeddings of shape {self.embedding_shape} has no attention "
                "map; train one on the readout spatial_softmax"
            )
        embedding = embedding.to(self.proprio_normalizer.mean.device)
        return self.head.attention(self.normalize_embedding(embedding))

    def _act_on(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.config.kind == "mlp":
            return self.network(observation)
        if self.config.kind == "gmm":
            return self._likeliest(observation)
        if self.config.kind == "rnn_gmm":
            return self._act_rnn(observation)
        stacked = self._remember(observation)
        if self.config.is_chunked:
            return self._chunks.action(self._step, lambda: self.network(stacked))
        return self._likeliest(stacked)[:, -1]

    def _act_rnn(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        if self._step % self.config.context == 0:  # trained on windows from an empty state
            self._rnn_state = None
        with _unchecked():
            mixture, self._rnn_state = self.network.forward_train(
                {key: value[:, None] for key, value in observation.items()},
                rnn_init_state=self._rnn_state,
                return_state=True,
            )
        return _likeliest_mean(mixture)[:, 0]

    def _remember(self, observation: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the last observations ``(B, T, ...)``; the first one stands for those before."""
        copies = 1 if self._history else self.config.context
        self._history.extend([observation] * copies)
        return {k: torch.stack([o[k] for o in self._history], dim=1) for k in observation}

    def _likeliest(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        with _unchecked():
            return _likeliest_mean(self.network.forward_train(observation))

    def _check_step(self, embedding: torch.Tensor, proprio: torch.Tensor) -> None:
        if self._batch_size is None:
            raise ValueError("call reset(batch_size) before the first act of an episode")
        size = self._batch_size
        expected = (size, self.embedding_dim), (size, self.proprio_dim)
        seen = tuple(embedding.shape), tuple(proprio.shape)
        if seen != expected:
            raise ValueError(
                f"act got embedding {seen[0]} and proprio {seen[1]}; this policy, reset for a "
                f"batch of {size}, takes {expected[0]} and {expected[1]}"
            )


def _regression_loss(name: str, predicted: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the loss of each frame, the mean over the action: ``(..., A)`` to ``(...)``."""
    squared = functional.mse_loss(predicted, actions, reduction="none")
    if name == "l2":
        return squared.mean(dim=-1)
    if name == "smooth_l1":  # quadratic below a tenth of a full step
        return functional.smooth_l1_loss(predicted, actions, reduction="none", beta=0.1).mean(-1)
    return (squared + functional.l1_loss(predicted, actions, reduction="none")).mean(dim=-1)


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Disable the checks of distributions: they are slow, and ``fit`` reports a loss of NaN."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _likeliest_mean(mixture: Any) -> torch.Tensor:
    """Return the mean ``(..., A)`` of the Gaussian with the largest weight."""
    means = mixture.component_distribution.base_dist.loc  # (..., modes, A)
    mode = mixture.mixture_distribution.logits.argmax(dim=-1)
    return means.take_along_dim(mode[..., None, None], dim=-2).squeeze(-2)
