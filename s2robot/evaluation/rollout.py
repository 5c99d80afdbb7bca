"""Rollout loop: each step calls the encoder once and the policy once for all environments."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from s2robot.envs.tasks.real_time import ActionsInTime, RealTime
from s2robot.errors import S2RobotError
from s2robot.evaluation.baselines import baseline_embedding
from s2robot.evaluation.vector_env import VectorEnv, VectorStep
from s2robot.policies.dataset import stack_proprio

STAGES = ("none", "reach", "grasp", "lift", "timeout", "drop")
"""Failure stages of an episode. "none": it ended in success; "reach": the gripper never reached
the cube; "grasp": it reached but never grasped it; "lift": it grasped and lost the cube before the
lift; "timeout": it held the cube, not lifted, at the last step; "drop": it lifted and lost it.
Tasks other than pick-cube have three: "none", "timeout" (never success), "drop" (success, and not
at the end)."""


CUBE_HEIGHT = "cube_height_m"
"""Entry of the info that only pick-cube has."""


class Encoder(Protocol):
    """Interface of an encoder: frames (B, H, W, 3) uint8 to embeddings (B, D) float32.

    That of several cameras takes frames by camera.
    """

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

    @property
    def has_actions(self) -> bool:
        """True if the next action is there already, so that it takes no time."""
        return False

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
        return self.actions(embedding, step.obs).clip(-1.0, 1.0)

    @property
    def counts_clipped(self) -> bool:
        """Whether actions may be beyond [-1, 1], which the loop clips and counts."""
        return False

    def actions(self, embedding: torch.Tensor, obs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return actions (B, A) float32 as the policy computes them.

        Args:
            embedding: (B, D), as ``encode`` returns it.
            obs: low-dimensional observations of the same moment, (B, d) each.

        Raises:
            S2RobotError: an action is not finite.
        """
        proprio = torch.zeros(len(embedding), 0)  # of a policy that sees pictures alone
        if self.proprio_keys:
            proprio = torch.from_numpy(stack_proprio(obs, self.proprio_keys))
        actions = self.policy.act(embedding, proprio).float().cpu().numpy()
        if self.sends_attention:
            self.encoder.look_at(self.policy.attention(embedding))  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        if not np.isfinite(actions).all():
            raise S2RobotError(
                "the policy returned NaN or infinite actions; its training most likely diverged: "
                "train it again with a smaller learning rate"
            )
        return actions


_BEYOND = 1e-5
"""Share of half an action's range by which rounding may lead beyond a bound."""


@dataclass
class Episodes:
    """Episodes of B environments over T steps."""

    actions: np.ndarray
    """(B, T, A) float32; in real time, where an action can begin within a control step, (B, T,
    A + 1) with how late in its step each began [s]."""
    info: dict[str, np.ndarray]
    """The task's ``info_keys`` after every step, (B, T) each."""
    distance_m: np.ndarray | None
    """Distance between tool center point and cube after every step, (B, T); None in other tasks."""
    times_ms: dict[str, list[float]] = field(default_factory=dict)
    """Durations of each step's parts for the whole batch [ms]: encode, policy, env, render."""
    repeated: list[bool] | None = None
    """Whether each step repeated the last action while the next one was computed, (T,); None where
    the simulation waits."""
    measured: bool = False
    """Whether these repetitions follow from measured durations."""
    clipped: np.ndarray | None = None
    """(B, T) whether the action computed in a step was beyond [-1, 1]; None where none can be."""


@dataclass(frozen=True)
class Batch:
    """Episodes that run together."""

    agent: Agent
    """Is reset first; batches that run at the same time need agents with a state of their own."""
    states: np.ndarray
    """Initial states (B, D), as the environments' ``get_state`` returns them."""


def roll_out(
    batches: Iterable[Batch],
    envs: VectorEnv,
    horizon: int,
    on_step: Callable[[], None] = lambda: None,
    realtime: RealTime | None = None,
) -> Iterator[Episodes]:
    """Run batches of episodes from their initial states to the horizon.

    As many batches are under way as ``envs`` has groups: while one is simulated and drawn, another
    is encoded. What a batch computes does not depend on the others.

    Args:
        batches: are taken one by one, when a group is free.
        envs: groups of B environments.
        horizon: control steps T.
        on_step: is called after each control step of a batch.
        realtime: how the simulation moves on while an action is computed; None lets it wait.

    Yields:
        The episodes of each batch, in the order of the batches.

    Raises:
        S2RobotError: an action is not finite, or environment processes hang or die repeatedly.
    """
    waiting, under_way = iter(batches), deque[_BatchRun]()

    def begin(group: int) -> None:
        batch = next(waiting, None)
        if batch is not None:
            under_way.append(_BatchRun(batch, envs, group, horizon, realtime))

    for group in range(envs.groups):
        begin(group)
    while under_way:
        run = under_way.popleft()
        if run.advance():
            under_way.append(run)
            on_step()
        else:
            begin(run.group)
            yield run.episodes()


class _BatchRun:
    """A batch on its way through one group of environments."""

    def __init__(
        self, batch: Batch, envs: VectorEnv, group: int, horizon: int, realtime: RealTime | None
    ) -> None:
        self.group = group
        self._agent, self._envs, self._horizon = batch.agent, envs, horizon
        self._realtime = realtime
        self._in_time = None if realtime is None else ActionsInTime(realtime)
        self._actions: list[np.ndarray] = []
        self._repeated: list[bool] = []
        self._clipped: list[np.ndarray] = []
        self._steps: list[VectorStep] = []
        self._times: dict[str, list[float]] = {p: [] for p in ("encode", "policy", "env", "render")}
        self._batch_size = len(batch.states)
        self._agent.policy.reset(self._batch_size)
        envs.reset_async(batch.states, group)

    @property
    def finished(self) -> bool:
        return len(self._steps) == self._horizon

    def advance(self) -> bool:
        """Take the result of a step and begin the next; return whether there is a next one."""
        step = self._envs.wait(self.group)
        if self._actions:
            self._steps.append(dataclasses.replace(step, frames=None))
            self._times["env"].append(_milliseconds(step.env_s))
        if self.finished:
            return False
        self._clipped.append(np.zeros(self._batch_size, bool))
        actions = self._computed(step)[0] if self._in_time is None else self._present(step)
        self._actions.append(actions)
        is_last = len(self._actions) == self._horizon
        self._envs.step_async(actions, self.group, render=not is_last)
        self._times["render"].append(_milliseconds(step.render_s))
        return True

    def _computed(self, step: VectorStep) -> tuple[np.ndarray, float]:
        """Return the actions from an observation, and how long they took [ms].

        Actions of a chunk that are there already are not timed: nothing is computed.
        """
        ready = self._agent.has_actions
        start = time.perf_counter()
        embedding = self._agent.encode(step)
        encoded = time.perf_counter()
        actions = self._agent.select_action(embedding, step)
        selected = time.perf_counter()
        if not ready:
            self._times["encode"].append(_milliseconds(encoded - start))
            self._times["policy"].append(_milliseconds(selected - encoded))
        if self._agent.counts_clipped:
            self._clipped[-1] = np.asarray((np.abs(actions) > 1.0 + _BEYOND).any(axis=1))
            actions = actions.clip(-1.0, 1.0)
        return actions, 1000 * (selected - start)

    def _present(self, step: VectorStep) -> np.ndarray:
        """Return the rows of the actions that begin in a step, in real time."""
        assert self._in_time is not None
        assert self._realtime is not None
        ready = self._agent.has_actions
        actions, delay_s, is_new = self._in_time.next(ready, lambda: self._computed(step))
        self._repeated.append(not is_new)
        if not self._realtime.within_steps:
            return actions
        delays = np.full((len(actions), 1), delay_s, actions.dtype)
        return np.concatenate([actions, delays], axis=1)

    def episodes(self) -> Episodes:
        steps = self._steps
        keys = steps[0].info
        info = {key: np.stack([s.info[key] for s in steps], axis=1) for key in keys}
        distance_m = None
        if CUBE_HEIGHT in keys:
            gaps = [np.linalg.norm(s.obs["ee_pos"] - s.obs["cube_pos"], axis=-1) for s in steps]
            distance_m = np.stack(gaps, axis=1)
        found = Episodes(np.stack(self._actions, axis=1), info, distance_m, self._times)
        if self._agent.counts_clipped:
            found.clipped = np.stack(self._clipped, axis=1)
        if self._realtime is not None:
            found.repeated = self._repeated
            found.measured = self._realtime.latency_ms is None
        return found


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


def episode_row(episodes: Episodes, index: int) -> dict[str, Any]:
    """Return the row of one episode; the same rollout gives the same row, byte for byte.

    Args:
        episodes: of a batch.
        index: of the episode in the batch.
    """
    info = {key: series[index] for key, series in episodes.info.items()}  # (T,) each
    if "over" in info:  # nothing changes after the end of an episode
        live = int(info["over"].argmax()) + 1 if info["over"].any() else len(info["over"])
        info = {key: series[:live] for key, series in info.items()}
    success, gaps_m = info["is_success"].astype(bool), episodes.distance_m
    height_m = info.get(CUBE_HEIGHT)
    return {
        "success_once": bool(success.any()),
        "success_at_end": bool(success[-1]),
        "stage": failure_stage(info),
        "steps": len(success),
        "steps_to_success": int(success.argmax()) + 1 if success.any() else None,
        "steps_lifted": int(success.sum()),
        "min_distance_m": None if gaps_m is None else round(float(gaps_m[index].min()), 6),
        "max_height_m": None if height_m is None else round(float(height_m.max()), 6),
        **_realtime_entries(episodes, len(success)),
        **_clipped_entry(episodes, index, len(success)),
    }


def _realtime_entries(episodes: Episodes, steps: int) -> dict[str, Any]:
    """Return what a row says of real time: nothing where the simulation waited."""
    if episodes.repeated is None:
        return {}
    latency = "measured" if episodes.measured else "given"
    return {"realtime": latency, "steps_repeated": sum(episodes.repeated[:steps])}


def _clipped_entry(episodes: Episodes, index: int, steps: int) -> dict[str, Any]:
    """Return how many actions were clipped: nothing for policies that compute in [-1, 1]."""
    if episodes.clipped is None:
        return {}
    return {"actions_clipped": int(episodes.clipped[index][:steps].sum())}


def failure_stage(info: Mapping[str, np.ndarray]) -> str:
    """Return where an episode failed, one of ``STAGES``.

    Args:
        info: ``is_success`` after each step, (T,), and in pick-cube ``reached`` and ``grasped``.

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
    if "grasped" not in info:
        return "timeout"
    if not info["grasped"].any():
        return "grasp" if info["reached"].any() else "reach"
    return "timeout" if info["grasped"][-1] else "lift"
