"""Rollout loop: each step calls the encoder once and the policy once for all environments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from s2robot.errors import S2RobotError
from s2robot.evaluation.baselines import baseline_embedding
from s2robot.evaluation.vector_env import INFO_KEYS, VectorEnv, VectorStep
from s2robot.policies.dataset import stack_proprio

STAGES = ("none", "reach", "grasp", "lift", "timeout", "drop")
"""Failure stages of an episode. "none": it ended in success; "reach": the gripper never reached
the cube; "grasp": it reached but never grasped it; "lift": it grasped and lost the cube before the
lift; "timeout": it held the cube, not lifted, at the last step; "drop": it lifted and lost it."""


class Encoder(Protocol):
    """Interface of an encoder: frames (B, H, W, 3) uint8 to embeddings (B, D) float32."""

    def __call__(self, frames: Any) -> torch.Tensor:
        """Return the embeddings of frames."""
        ...


class Actor(Protocol):
    """Interface of a policy, as ``s2robot.policies.policy.Policy`` has it."""

    def reset(self, batch_size: int) -> None:
        """Begin ``batch_size`` episodes."""
        ...

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Return actions (B, A) of one control step.

        Args:
            embedding: (B, D).
            proprio: (B, P), as measured.
        """
        ...


@dataclass(frozen=True)
class Agent:
    """A policy with its encoder, or with a baseline that computes embeddings from observations."""

    policy: Actor
    proprio_keys: Sequence[str]
    """Low-dimensional observations of the policy, in order."""
    encoder: Encoder | None = None
    baseline: str = "none"
    """Name of the baseline in files, used without an encoder."""
    yaw: bool = False
    """Whether the level turns the cube; decides the embedding of a baseline."""
    sends_attention: bool = False
    """Whether the encoder gets the policy's attention, for its next choice of tiles."""

    def encode(self, step: VectorStep) -> torch.Tensor:
        """Return the embeddings (B, D) of the environments' present frames."""
        if self.encoder is None:
            return torch.from_numpy(baseline_embedding(self.baseline, step.obs, self.yaw))
        embedding = self.encoder(step.frames)
        if embedding.is_cuda:  # otherwise the duration would not include the work
            torch.cuda.synchronize(embedding.device)
        return embedding

    def select_action(self, embedding: torch.Tensor, step: VectorStep) -> np.ndarray:
        """Return actions (B, A) float32 in [-1, 1].

        Args:
            embedding: (B, D), as ``encode`` returns it.
            step: with the observations of the same moment.

        Raises:
            S2RobotError: an action is not finite.
        """
        proprio = torch.from_numpy(stack_proprio(step.obs, self.proprio_keys))
        actions = self.policy.act(embedding, proprio).float().cpu().numpy()
        if self.sends_attention:
            self.encoder.look_at(self.policy.attention(embedding))  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        if not np.isfinite(actions).all():
            raise S2RobotError(
                "the policy returned NaN or infinite actions; its training most likely diverged: "
                "train it again with a smaller learning rate"
            )
        return actions.clip(-1.0, 1.0)


@dataclass
class Episodes:
    """Episodes of B environments over T steps."""

    actions: np.ndarray
    """(B, T, A) float32."""
    info: dict[str, np.ndarray]
    """``INFO_KEYS`` after every step, (B, T) each."""
    distance_m: np.ndarray
    """Distance between tool center point and cube after every step, (B, T)."""
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    """Durations of each step's parts for the whole batch [ms]: encode, policy, env, render."""


def roll_out(
    agent: Agent,
    envs: VectorEnv,
    states: np.ndarray,
    horizon: int,
    on_step: Callable[[], None] = lambda: None,
) -> Episodes:
    """Run every environment from its initial state to the horizon.

    Args:
        agent: is reset first.
        envs: B environments.
        states: initial states (B, D), as the environments' ``get_state`` returns them.
        horizon: control steps T.
        on_step: is called after each control step.

    Raises:
        S2RobotError: an action is not finite, or an environment process hung or died.
    """
    step = envs.reset(states)
    agent.policy.reset(len(states))
    actions, steps = [], []
    times: dict[str, list[float]] = {"encode": [], "policy": [], "env": [], "render": []}
    for _ in range(horizon):
        start = time.perf_counter()
        embedding = agent.encode(step)
        encoded = time.perf_counter()
        actions.append(agent.select_action(embedding, step))
        selected = time.perf_counter()
        rendered_s = step.render_s
        step = envs.step(actions[-1])
        steps.append(step)
        durations_s = (encoded - start, selected - encoded, step.env_s, rendered_s)
        for series, seconds in zip(times.values(), durations_s, strict=True):
            series.append(round(1000 * seconds, 3))
        on_step()
    info = {key: np.stack([s.info[key] for s in steps], axis=1) for key in INFO_KEYS}
    gaps = [np.linalg.norm(s.obs["ee_pos"] - s.obs["cube_pos"], axis=-1) for s in steps]
    return Episodes(np.stack(actions, axis=1), info, np.stack(gaps, axis=1), times)


def episode_row(episodes: Episodes, index: int) -> dict[str, Any]:
    """Return the row of one episode; the same rollout gives the same row, byte for byte.

    Args:
        episodes: of a batch.
        index: of the episode in the batch.
    """
    info = {key: series[index] for key, series in episodes.info.items()}  # (T,) each
    success = info["is_success"].astype(bool)
    return {
        "success_once": bool(success.any()),
        "success_at_end": bool(success[-1]),
        "stage": failure_stage(info),
        "steps": len(success),
        "steps_to_success": int(success.argmax()) + 1 if success.any() else None,
        "steps_lifted": int(success.sum()),
        "min_distance_m": round(float(episodes.distance_m[index].min()), 6),
        "max_height_m": round(float(info["cube_height_m"].max()), 6),
    }


def failure_stage(info: Mapping[str, np.ndarray]) -> str:
    """Return where an episode failed, one of ``STAGES``.

    Args:
        info: ``is_success``, ``reached`` and ``grasped`` after each step, (T,) each.

    Examples:
        >>> never, last = np.array([0, 0]), np.array([0, 1])
        >>> failure_stage({"is_success": never, "reached": last, "grasped": never})
        'grasp'
        >>> failure_stage({"is_success": last, "reached": last, "grasped": last})
        'none'
    """
    success = info["is_success"].astype(bool)
    if success.any():
        return "none" if success[-1] else "drop"
    if not info["grasped"].any():
        return "grasp" if info["reached"].any() else "reach"
    return "timeout" if info["grasped"][-1] else "lift"
