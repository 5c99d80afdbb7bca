"""Roll-out of a policy that is not ours: episodes side by side, chunks of actions, checks."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from s2robot.errors import S2RobotError
from s2robot.evaluation.agents.external import NamedPolicy, guarded
from s2robot.evaluation.rollout import Agent
from s2robot.evaluation.vector_env import VectorStep

Chunk = np.ndarray
"""Actions (T, A) of one environment."""


@dataclass(frozen=True)
class ExternalHeader:
    """What an evaluation asks of a policy that is not ours, as ``PolicyHeader`` has it of ours."""

    env_kwargs: dict[str, Any]
    """Arguments of the environment, which include the level."""
    proprio_keys: tuple[str, ...]
    """Low-dimensional observations that the policy gets."""
    encoder: dict[str, Any]
    """``backbone``, the name of the policy in files, and what else tells it from others."""
    frames: dict[str, Any]
    """``camera``, or ``cameras`` where they are several: name and size; empty without frames."""
    sha256: str
    """Digest of all that is known of the policy."""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """Name of the task in files."""
        return str(self.env_kwargs["level"])


class Source(Protocol):
    """Gives chunks of actions, from one observation of each of some environments."""

    def reset(self, batch_size: int) -> None:
        """Begin `batch_size` episodes."""
        ...

    def chunks(
        self,
        which: Sequence[int],
        frames: Mapping[str, np.ndarray],
        proprio: Mapping[str, np.ndarray],
    ) -> list[Any]:
        """Return what the policy returns for each of some environments.

        Args:
            which: numbers of the environments.
            frames: (B, H, W, 3) uint8 of all environments, by camera.
            proprio: (B, d) float32 of all environments, by name.
        """
        ...

    def close(self) -> None:
        """End a connection, where there is one."""
        ...


class ObjectSource:
    """Objects in this process: one an environment, or one for all.

    Args:
        policy: as it was named.
        name: for messages.

    Raises:
        ValueError: in ``reset``, one object is to serve several environments.
    """

    def __init__(self, policy: NamedPolicy, name: str) -> None:
        self._policy, self._name = policy, name
        self._own = [policy.one]

    def reset(self, batch_size: int) -> None:
        """Begin `batch_size` episodes."""
        if self._policy.batched:
            guarded(self._policy.one.reset, self._name, "reset()")
            return
        if batch_size > 1 and self._policy.make is None:
            raise ValueError(
                f"policy={self._name} is one object for one robot, and rollout.num_envs is "
                f"{batch_size}; set rollout.num_envs=1, name a function that makes one, or let it "
                "have batched = True and take batches"
            )
        while len(self._own) < batch_size and self._policy.make is not None:
            self._own.append(self._policy.make())
        for each in self._own[:batch_size]:
            guarded(each.reset, self._name, "reset()")

    def chunks(
        self,
        which: Sequence[int],
        frames: Mapping[str, np.ndarray],
        proprio: Mapping[str, np.ndarray],
    ) -> list[Any]:
        """Return what the policy returns for each of some environments."""
        if self._policy.batched:
            copies = [{k: v.copy() for k, v in each.items()} for each in (frames, proprio)]
            found = guarded(lambda: self._policy.one(*copies), self._name, "the policy")
            array = numbers(found, self._name)
            size = len(which)
            if array.ndim not in (2, 3) or len(array) != size:
                raise S2RobotError(
                    f"policy={self._name} returned actions of shape {array.shape} for a batch of "
                    f"{size}; allowed: ({size}, A) or ({size}, T, A)"
                )
            return list(array)
        return [self._one(index, frames, proprio) for index in which]

    def close(self) -> None:
        """Do nothing: objects of this process have no connection."""

    def _one(
        self, index: int, frames: Mapping[str, np.ndarray], proprio: Mapping[str, np.ndarray]
    ) -> Any:
        own = [{k: v[index].copy() for k, v in each.items()} for each in (frames, proprio)]
        return guarded(lambda: self._own[index](*own), self._name, "the policy")


class ExternalActor:
    """A policy that is not ours, for a batch of environments; chunks are carried out in turn.

    Args:
        source: of the actions.
        name: of the policy, for messages.
        camera: name of the camera, where it is one; None for several, or a policy without frames.
        action_names: meaning of the A entries of an action.
        execute: actions of a chunk that are carried out; None for all.
        equal_chunks: refuse chunks of different lengths: in real time, an environment whose chunk
            is used up would delay the others of its batch.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        camera: str | None,
        action_names: Sequence[str],
        execute: int | None = None,
        equal_chunks: bool = False,
    ) -> None:
        self._equal_chunks = equal_chunks
        self.source, self.name, self.camera = source, name, camera
        self._action_names, self._execute = tuple(action_names), execute
        self._queues: list[deque[np.ndarray]] = []
        self._clipped = False

    def reset(self, batch_size: int) -> None:
        """Begin `batch_size` episodes."""
        self._queues = [deque() for _ in range(batch_size)]
        self.source.reset(batch_size)

    @property
    def has_actions(self) -> bool:
        """True if all environments have an action of their last chunk left."""
        return all(self._queues)

    def forget_chunks(self) -> None:
        """Drop the rest of all chunks, so that the next actions are computed."""
        for queue in self._queues:
            queue.clear()

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        """Refuse to act on an embedding, which such a policy does not have."""
        raise TypeError("a policy that is not ours acts on frames: call actions()")

    def actions(self, step: VectorStep, keys: Sequence[str]) -> np.ndarray:
        """Return the actions (B, A) float32 in [-1, 1] of one control step.

        Args:
            step: with frames and observations of the same moment.
            keys: observations that the policy gets.

        Raises:
            S2RobotError: actions have another size, or are not finite.
        """
        which = [number for number, queue in enumerate(self._queues) if not queue]
        if which:
            frames: dict[str, np.ndarray] = {}
            if isinstance(step.frames, Mapping):
                frames = dict(step.frames)
            elif self.camera is not None and isinstance(step.frames, np.ndarray):
                frames[self.camera] = step.frames
            proprio = {key: np.asarray(step.obs[key], np.float32) for key in keys}
            found = self.source.chunks(which, frames, proprio)
            for number, chunk in zip(which, found, strict=True):
                self._queues[number].extend(self._checked(chunk)[: self._execute])
            lengths = {len(queue) for queue in self._queues}
            if self._equal_chunks and len(lengths) > 1:
                raise S2RobotError(
                    f"policy={self.name} returned chunks of {min(lengths)} to {max(lengths)} "
                    "actions, and in real time one environment would wait for another; set "
                    "rollout.num_envs=1, or external.execute to the shortest"
                )
        return np.stack([queue.popleft() for queue in self._queues])

    def _checked(self, found: Any) -> Chunk:
        """Return a chunk (T, A) float32 in [-1, 1]."""
        array = numbers(found, self.name)
        chunk = array[None] if array.ndim == 1 else array
        size = len(self._action_names)
        if chunk.ndim != 2 or chunk.shape[1] != size or not len(chunk):
            raise S2RobotError(
                f"policy={self.name} returned an action of shape {array.shape}; the task takes "
                f"{size} numbers ({', '.join(self._action_names)}): allowed are ({size},) and a "
                f"chunk (T, {size})"
            )
        if not np.isfinite(chunk).all():
            raise S2RobotError(
                f"policy={self.name} returned NaN or infinite actions: {_short(chunk)}; find in "
                "the policy where they come from"
            )
        largest = float(np.abs(chunk).max())
        if largest > 1.0 + _ROUNDING and not self._clipped:
            self._clipped = True
            warnings.warn(
                f"policy={self.name} returned an action of {largest:.3g}; actions of a task are in "
                "[-1, 1], so it is clipped, as later ones are. Scale the policy's units to that",
                UserWarning,
                stacklevel=2,
            )
        return np.clip(chunk, -1.0, 1.0).astype(np.float32)


_ROUNDING = 1e-4


@dataclass(frozen=True)
class ExternalAgent(Agent):
    """A policy that is not ours, as the rollout loop takes it; it encodes frames itself."""

    policy: ExternalActor  # pyright: ignore[reportIncompatibleVariableOverride]
    keeps_chunks: bool = True
    """Whether actions of a chunk are carried out before the next is asked for; False, to measure
    how long one takes."""

    @property
    def has_actions(self) -> bool:
        """True if the next action is there already, so that it takes no time."""
        return self.policy.has_actions

    def encode(self, step: VectorStep) -> torch.Tensor:
        """Return embeddings of no width."""
        return torch.zeros(len(next(iter(step.obs.values()))), 0)

    def select_action(self, embedding: torch.Tensor, step: VectorStep) -> np.ndarray:
        """Return actions (B, A) float32 in [-1, 1]."""
        del embedding
        if not self.keeps_chunks:
            self.policy.forget_chunks()
        return self.policy.actions(step, self.proprio_keys)


def numbers(found: Any, name: str) -> np.ndarray:
    """Return what a policy returned as an array of numbers.

    Args:
        found: an array, a tensor, or lists of numbers.
        name: of the policy.

    Raises:
        S2RobotError: it is none of these.
    """
    if isinstance(found, torch.Tensor):
        found = found.detach().cpu().float().numpy()
    try:
        return np.asarray(found, dtype=np.float64)
    except (RuntimeError, TypeError, ValueError):
        raise S2RobotError(
            f"policy={name} returned {_short(found)} of type {type(found).__name__}; allowed: an "
            "array of numbers (A,) or (T, A)"
        ) from None


def _short(value: Any) -> str:
    text = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:60]}…"
