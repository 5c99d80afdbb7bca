"""The loop itself: one encoder call and one policy call a step for all environments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from s2robot.errors import S2RobotError
from s2robot.evaluation.baselines import baseline_embedding
from s2robot.evaluation.vector_env import INFO_KEYS, VectorEnv, VectorStep
from s2robot.policies.dataset import stack_proprio

STAGES = ("none", "reach", "grasp", "lift", "timeout", "drop")
"""Where an episode failed: the hand never reached the cube; reached but never grasped it; grasped
but never lifted it; was still holding it, not lifted, when time was up; lifted it and lost it."""


class Encoder(Protocol):
    """Frames (B, H, W, 3) uint8 to embeddings (B, D) float32."""

    def __call__(self, frames: Any) -> torch.Tensor: ...


class Actor(Protocol):
    """A policy as `s2robot.policies` makes it."""

    def reset(self, batch_size: int) -> None: ...

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Agent:
    """Policy and eyes: an encoder, or a control that reads its embedding off the observation."""

    policy: Actor
    proprio_keys: Sequence[str]
    encoder: Encoder | None = None
    baseline: str = "none"
    yaw: bool = False
    tells_attention: bool = False
    """Whether the encoder is told where the policy looked, for its next choice of tiles."""

    def encode(self, snapshot: VectorStep) -> torch.Tensor:
        """Return the embeddings (B, D) of what the environments show."""
        if self.encoder is None:
            return torch.from_numpy(baseline_embedding(self.baseline, snapshot.obs, self.yaw))
        embedding = self.encoder(snapshot.frames)
        if embedding.is_cuda:  # else the clock would stop before the work is done
            torch.cuda.synchronize(embedding.device)
        return embedding

    def select_action(self, embedding: torch.Tensor, snapshot: VectorStep) -> np.ndarray:
        """Return actions (B, A) float32 in [-1, 1]."""
        proprio = torch.from_numpy(stack_proprio(snapshot.obs, self.proprio_keys))
        actions = self.policy.act(embedding, proprio).float().cpu().numpy()
        if self.tells_attention:
            self.encoder.look_at(self.policy.attention(embedding))  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        if not np.isfinite(actions).all():
            raise S2RobotError(
                "the policy gave NaN or infinite actions; its training most likely diverged: "
                "train it again with a smaller learning rate"
            )
        return actions.clip(-1.0, 1.0)


@dataclass
class Episodes:
    """What happened to B environments over T steps."""

    actions: np.ndarray
    """(B, T, A) float32."""
    info: dict[str, np.ndarray]
    """INFO_KEYS after every step, (B, T) each."""
    distance_m: np.ndarray
    """Between tool centre point and cube after every step, (B, T)."""
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of each step for the whole batch: encode, policy, env, render."""


def roll_out(agent: Agent, envs: VectorEnv, states: np.ndarray, horizon: int) -> Episodes:
    """Run every environment from its row of `states` for `horizon` steps."""
    snapshot = envs.reset(states)
    agent.policy.reset(len(states))
    actions, snapshots = [], []
    times: dict[str, list[float]] = {"encode": [], "policy": [], "env": [], "render": []}
    for _ in range(horizon):
        start = time.perf_counter()
        embedding = agent.encode(snapshot)
        seen = time.perf_counter()
        actions.append(agent.select_action(embedding, snapshot))
        decided = time.perf_counter()
        rendered_s = snapshot.render_s
        snapshot = envs.step(actions[-1])
        snapshots.append(snapshot)
        step_s = (seen - start, decided - seen, snapshot.env_s, rendered_s)
        for series, seconds in zip(times.values(), step_s, strict=True):
            series.append(round(1000 * seconds, 3))
    info = {key: np.stack([s.info[key] for s in snapshots], axis=1) for key in INFO_KEYS}
    gaps = [np.linalg.norm(s.obs["ee_pos"] - s.obs["cube_pos"], axis=-1) for s in snapshots]
    return Episodes(np.stack(actions, axis=1), info, np.stack(gaps, axis=1), times)


def episode_row(episodes: Episodes, slot: int) -> dict[str, Any]:
    """Describe one episode; the same rollout gives the same row, byte for byte."""
    info = {key: series[slot] for key, series in episodes.info.items()}  # (T,) each
    success = info["is_success"].astype(bool)
    return {
        "success_once": bool(success.any()),
        "success_at_end": bool(success[-1]),
        "stage": failure_stage(info),
        "steps": len(success),
        "steps_to_success": int(success.argmax()) + 1 if success.any() else None,
        "min_distance_m": round(float(episodes.distance_m[slot].min()), 6),
        "max_height_m": round(float(info["cube_height_m"].max()), 6),
    }


def failure_stage(info: Mapping[str, np.ndarray]) -> str:
    """Return where an episode failed (STAGES), from its INFO_KEYS over time, (T,) each."""
    success = info["is_success"].astype(bool)
    if success.any():
        return "none" if success[-1] else "drop"
    if not info["grasped"].any():
        return "grasp" if info["reached"].any() else "reach"
    return "timeout" if info["grasped"][-1] else "lift"
