"""Network that predicts a chunk of actions, and how chunks become the action of each step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import nn

from s2robot.policies.config import PolicyConfig


class ChunkTransformer(nn.Module):
    """Transformer from some steps of observations to a chunk of actions, after ACT.

    Each step of the context gives one token. A transformer encoder reads them; one decoder block
    of learned queries, one for each action of the chunk, attends to the result (Zhao et al. 2023,
    arXiv 2304.13705; without its variational encoder). A token is the output of a hidden layer:
    after a linear one, the encoder's LayerNorm would leave little of small differences in position.

    Even so a transformer takes some four times the steps of an MLP to read positions from images.
    So an MLP of the newest step is added to its output, unless ``shortcut_width`` is 0.

    Args:
        config: sizes.
        widths: width of each observation, by key.
        action_dim: entries of an action; outputs are in [-1, 1].
    """

    def __init__(self, config: PolicyConfig, widths: dict[str, int], action_dim: int) -> None:
        super().__init__()
        width = config.transformer_width
        self.token = nn.Sequential(
            nn.Linear(sum(widths.values()), 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.steps = _small(config.context, width)
        self.queries = _small(config.chunk, width)
        block = {
            "d_model": width,
            "nhead": config.transformer_heads,
            "dim_feedforward": 4 * width,
            "dropout": config.dropout,
            "activation": "gelu",
            "batch_first": True,
            "norm_first": True,
        }
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**block),
            config.transformer_layers,
            norm=nn.LayerNorm(width),
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**block), 1, norm=nn.LayerNorm(width)
        )
        self.action = nn.Linear(width, action_dim)
        self.shortcut = self._shortcut(config, sum(widths.values()), action_dim)

    @staticmethod
    def _shortcut(config: PolicyConfig, width: int, action_dim: int) -> nn.Module | None:
        hidden = config.shortcut_width
        if not hidden:
            return None
        return nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, config.chunk * action_dim),
            nn.Unflatten(-1, (config.chunk, action_dim)),
        )

    def forward(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return chunks ``(B, K, A)`` of observations ``(B, T, width)`` by key."""
        seen = torch.cat(list(observation.values()), dim=-1)
        memory = self.encoder(self.token(seen) + self.steps)  # (B, T, width)
        queries = self.queries.expand(len(memory), -1, -1)
        actions = self.action(self.decoder(queries, memory))
        if self.shortcut is not None:
            actions = actions + self.shortcut(seen[:, -1])
        return actions.tanh()


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(shape))


class ChunkExecution:
    """Chunks of one batch of episodes as they are carried out, step by step.

    Args:
        config: how many actions of a chunk are carried out, or the weight of ensembling.
    """

    def __init__(self, config: PolicyConfig) -> None:
        self._config = config
        kept = 1 if config.ensemble is None else config.chunk
        self._chunks: deque[torch.Tensor] = deque(maxlen=kept)

    def clear(self) -> None:
        """Forget all chunks, as where episodes begin."""
        self._chunks.clear()

    def action(self, step: int, predict: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the actions ``(B, A)`` of a step.

        Args:
            step: number of the step in the episode, from 0.
            predict: returns chunks ``(B, K, A)`` that begin at this step.
        """
        config = self._config
        if config.ensemble is None:
            place = step % config.action_steps
            if place == 0:
                self._chunks.append(predict())
            return self._chunks[-1][:, place]
        self._chunks.append(predict())
        return ensembled(list(self._chunks), config.ensemble)


def ensembled(chunks: list[torch.Tensor], coefficient: float) -> torch.Tensor:
    """Return the weighted mean of all predictions for the present step, ``(B, A)``.

    Args:
        chunks: ``(B, K, A)`` each, the oldest first; the last one begins at the present step, each
            other one a step before its follower.
        coefficient: the i-th oldest chunk has the weight exp(-coefficient · i), from 0.

    Examples:
        >>> old, new = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[3.0], [9.0]]])
        >>> ensembled([old, new], 0.0)  # (1 + 3) / 2
        tensor([[2.]])
    """
    last = len(chunks) - 1
    found = torch.stack([chunk[:, last - i] for i, chunk in enumerate(chunks)])  # (n, B, A)
    weights = torch.exp(-coefficient * torch.arange(len(chunks), device=found.device))
    return (found * (weights / weights.sum())[:, None, None]).sum(dim=0)
