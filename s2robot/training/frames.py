"""Training data on the device: from demonstrations to batches of frames."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import (
    TrajectoryData,
    Windows,
    previous_actions,
    stack_proprio,
)
from s2robot.policies.policy import Policy

# Embeddings are normalized once, as float32, if they need no more memory; else batch by batch.
_PREPARED_BYTES = 3 << 30


class DemonstrationTensors(Protocol):
    """Interface of demonstrations, as ``s2robot.data.demonstrations.Demonstrations`` has it."""

    @property
    def actions(self) -> np.ndarray:
        """Actions ``(N, A)`` in [-1, 1]."""
        ...

    @property
    def episode_ends(self) -> np.ndarray:
        """One past the last frame of each episode, ``(E,)``."""
        ...

    train_episodes: np.ndarray
    """Indices of the episodes to train on."""
    valid_episodes: np.ndarray
    """Indices of the held-out episodes."""

    @property
    def motion_dims(self) -> int:
        """Number of leading entries of an action that are motion."""
        ...

    @property
    def motion_unit(self) -> float:
        """Motion of an entry of 1 [m, or rad for joints]."""
        ...

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)``."""
        ...


def assemble(
    demos: DemonstrationTensors,
    embedding: torch.Tensor,
    embedding_shape: Sequence[int],
    proprio_keys: Sequence[str],
) -> TrajectoryData:
    """Return training data from demonstrations and the embeddings of their frames.

    Args:
        demos: actions, proprioception and episodes of N frames.
        embedding: ``(N, D)``.
        embedding_shape: a grid ``(gh, gw, C)`` or a vector ``(D,)``.
        proprio_keys: low-dimensional observations to use, in order.

    Raises:
        ValueError: lengths disagree, or a value is not finite.
        KeyError: the demonstrations have no such observation.
    """
    low_dim = {key: demos.low_dim(key) for key in proprio_keys}
    return TrajectoryData(
        embedding=embedding,
        embedding_shape=tuple(embedding_shape),
        proprio=torch.from_numpy(stack_proprio(low_dim, proprio_keys)),
        actions=torch.as_tensor(demos.actions, dtype=torch.float32),
        episode_ends=torch.as_tensor(demos.episode_ends, dtype=torch.int64),
        train_episodes=torch.as_tensor(demos.train_episodes, dtype=torch.int64),
        valid_episodes=torch.as_tensor(demos.valid_episodes, dtype=torch.int64),
        motion_dims=demos.motion_dims,
        motion_unit=demos.motion_unit,
    )


class DeviceFrames:
    """All frames on the training device, normalized beforehand where memory allows.

    On a CPU each thread gathers its batches into the same memory: glibc returns blocks of more than
    32 MB to the system at once, so that a new one for every batch costs its page faults again.

    Args:
        data: all frames of all demonstrations.
        policy: whose normalizers are used.
        device: of the training.
    """

    def __init__(self, data: TrajectoryData, policy: Policy, device: torch.device) -> None:
        self.data = data
        self.policy = policy
        self.embedding = data.embedding.to(device)
        self.prepared = 4 * data.embedding.numel() <= _PREPARED_BYTES
        if self.prepared:
            self.embedding = policy.normalize_embedding(self.embedding).flatten(1)
        self.proprio = policy.normalize_proprio(data.proprio.to(device))
        self.actions = data.actions.to(device)
        if policy.config.reads_past_actions:
            before = previous_actions(data).to(device)
            self.proprio = torch.cat([self.proprio, before], dim=1)
        self._batches = threading.local()

    def gather(self, windows: Windows, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return embedding, proprioception, actions and mask, as ``Policy.loss`` takes them.

        The embedding is valid until the same thread gathers again.

        Args:
            windows: of frames.
            rows: indices of windows ``(B,)``.
        """
        index = windows.index[rows].to(self.embedding.device)
        embedding = self._select(index.flatten())
        if not self.prepared:
            embedding = self.policy.normalize_embedding(embedding)
        embedding = embedding.reshape(*index.shape, *self.data.embedding_shape)
        mask = windows.mask[rows].to(self.embedding.device)
        targets = windows.targets[rows].to(self.embedding.device)
        return embedding, self.proprio[index], self.actions[targets], mask

    def _select(self, index: torch.Tensor) -> torch.Tensor:
        """Return embeddings ``(B, D)`` of frames, on a CPU in the thread's own memory."""
        if self.embedding.device.type != "cpu":
            return self.embedding.index_select(0, index)
        shape = (len(index), self.embedding.shape[1])
        batch = getattr(self._batches, "memory", None)
        if batch is None or batch.numel() < shape[0] * shape[1]:
            batch = self.embedding.new_empty(shape[0] * shape[1])
            self._batches.memory = batch
        rows = batch[: shape[0] * shape[1]].view(shape)
        return torch.index_select(self.embedding, 0, index, out=rows)


_Key = tuple[int, bool, torch.device]
_shared: contextvars.ContextVar[dict[_Key, DeviceFrames] | None]
_shared = contextvars.ContextVar("shared_frames", default=None)


@contextlib.contextmanager
def sharing_frames() -> Iterator[None]:
    """Let all trainings inside the block that have the same data share its normalized frames.

    Preparing them costs about as much as some epochs; their memory is free at the block's end.
    """
    if _shared.get() is not None:  # inside another block
        yield
        return
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def shared_frames(
    data: TrajectoryData, config: PolicyConfig, device: torch.device
) -> DeviceFrames | None:
    """Return frames that an earlier training inside ``sharing_frames`` prepared, if there are any.

    Args:
        data: of the training.
        config: of the policy, which may read past actions.
        device: of the training.
    """
    return (_shared.get() or {}).get((id(data), config.reads_past_actions, device))


def share_frames(frames: DeviceFrames, device: torch.device) -> None:
    """Keep frames for the trainings to come inside ``sharing_frames``; outside, do nothing.

    Args:
        frames: of a training.
        device: as the training names it.
    """
    found = _shared.get()
    if found is not None:
        found[id(frames.data), frames.policy.config.reads_past_actions, device] = frames
