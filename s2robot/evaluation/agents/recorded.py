"""Rollout of policies of recorded data: observations of a task by other names, actions in units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.evaluation.rollout import Actor, Agent
from s2robot.evaluation.vector_env import VectorStep
from s2robot.policies.action_space import ActionBounds

Names = Mapping[str, tuple[str, ...]]
"""Key of the data to the task's names for it: a camera has one, an observation one or several,
whose entries are joined in this order."""


class RecordedActor:
    """A policy of recorded data, whose actions are in the units of the data.

    Args:
        policy: as its file holds it.
        bounds: range of the training episodes' actions, in the units of the data.
        scale: bounds of the environment's own actions; None where they are in [-1, 1].
        names: the task's names of the policy's observations.
    """

    def __init__(
        self,
        policy: Actor,
        bounds: ActionBounds,
        scale: ActionScale | None,
        names: Names,
    ) -> None:
        self.policy, self.names = policy, dict(names)
        self._bounds, self._scale = bounds, scale

    def reset(self, batch_size: int) -> None:
        """Begin ``batch_size`` episodes."""
        self.policy.reset(batch_size)

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Return actions (B, A) of one control step for which -1 and 1 are the bounds of the task.

        They are those of ``load_policy``, within the range of the training. Where this range is
        wider than the task's bounds, they may be beyond -1 and 1.

        Args:
            embedding: (B, D).
            proprio: (B, P), as measured.
        """
        found = self.policy.act(embedding, proprio).float().cpu().numpy()
        actions = self._bounds.limited(found)
        if self._scale is not None:
            actions = self._scale.unclipped(actions)
        return torch.from_numpy(actions)

    def attention(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the policy's attention, for an encoder's choice of tiles.

        Args:
            embedding: (B, D).
        """
        return self.policy.attention(embedding)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class RecordedAgent(Agent):
    """A policy of recorded data with its encoder, as the rollout loop takes it."""

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The task's names of the policy's observations."""

    @property
    def counts_clipped(self) -> bool:
        """Whether actions may be beyond [-1, 1], which the loop clips and counts."""
        return True

    def select_action(self, embedding: torch.Tensor, step: VectorStep) -> np.ndarray:
        """Return actions (B, A) float32, for which -1 and 1 are the bounds of the task.

        Args:
            embedding: (B, D), as ``encode`` returns it.
            step: with the observations of the same moment, under the task's names.

        Raises:
            S2RobotError: an action is not finite.
        """
        return self.actions(embedding, observed(step.obs, self.names, self.proprio_keys))


def observed(obs: Mapping[str, Any], names: Names, keys: tuple[str, ...] | Any) -> dict[str, Any]:
    """Return observations of a task under the keys of the data.

    Args:
        obs: of the task, (B, d) each.
        names: the task's names by key.
        keys: that are wanted.

    Examples:
        >>> obs = {"pos": np.zeros((1, 3)), "grip": np.ones((1, 1))}
        >>> observed(obs, {"state": ("pos", "grip")}, ["state"])["state"].tolist()
        [[0.0, 0.0, 0.0, 1.0]]
    """
    return {key: np.concatenate([obs[name] for name in names[key]], axis=-1) for key in keys}
