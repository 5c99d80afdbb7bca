"""Training data on the device: from demonstrations to batches of frames."""

from __future__ import annotations

import contextlib
import contextvars
import math
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
from s2robot.training.precision import fits_in_float32

# Bytes of frames that are normalized at once: glibc keeps blocks of up to 32 MB.
_CHUNK_BYTES = 16 << 20


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

    In bfloat16 that is always so: they need as much memory as what was stored as float16.

    On a CPU each thread gathers its batches into the same memory: glibc returns blocks of more than
    32 MB to the system at once, so that a new one for every batch costs its page faults again.

    Args:
        data: all frames of all demonstrations.
        policy: whose normalizers are used.
        device: of the training.
        dtype: of the normalized embeddings, "float32" or "bfloat16"; see ``precision.resolved``.
    """

    def __init__(
        self,
        data: TrajectoryData,
        policy: Policy,
        device: torch.device,
        dtype: str = "float32",
    ) -> None:
        self.data = data
        self.policy = policy
        low = dtype == "bfloat16"
        self.prepared = low or fits_in_float32(data.embedding.numel())
        if low:
            self.embedding = self._in_bfloat16(device)
        elif self.prepared:
            self.embedding = policy.normalize_embedding(data.embedding.to(device)).flatten(1)
        else:
            self.embedding = data.embedding.to(device)
        self.proprio = policy.normalize_proprio(data.proprio.to(device))
        self.actions = data.actions.to(device)
        if policy.config.reads_past_actions:
            before = previous_actions(data).to(device)
            self.proprio = torch.cat([self.proprio, before], dim=1)
        self._batches = threading.local()

    def _in_bfloat16(self, device: torch.device) -> torch.Tensor:
        """Return normalized embeddings ``(N, D)``; no more than a few are in float32 at once."""
        stored = self.data.embedding
        found = torch.empty(stored.shape, dtype=torch.bfloat16, device=device)
        rows = max(1, _CHUNK_BYTES // (4 * max(1, stored.shape[1])))
        memory = torch.empty(min(rows, len(stored)), stored.shape[1], device=device)
        for own, chunk in zip(found.split(rows), stored.split(rows), strict=True):
            normalized = memory[: len(chunk)]
            self.policy.normalize_embedding(chunk.to(device), normalized)
            own.copy_(normalized)
        return found

    def gather(self, windows: Windows, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return embedding, proprioception, actions and mask, as ``Policy.loss`` takes them.

        The embedding is float32 or bfloat16, and valid until the same thread gathers again.

        Args:
            windows: of frames.
            rows: indices of windows ``(B,)``.
        """
        index = windows.index[rows].to(self.embedding.device)
        embedding = self._select(index.flatten())
        if not self.prepared:
            out = self._own("normalized", embedding.shape, torch.float32)
            embedding = self.policy.normalize_embedding(embedding, out)
        embedding = embedding.reshape(*index.shape, *self.data.embedding_shape)
        mask = windows.mask[rows].to(self.embedding.device)
        targets = windows.targets[rows].to(self.embedding.device)
        return embedding, self.proprio[index], self.actions[targets], mask

    def _select(self, index: torch.Tensor) -> torch.Tensor:
        """Return embeddings ``(B, D)`` of frames, on a CPU in the thread's own memory."""
        shape = (len(index), self.embedding.shape[1])
        rows = self._own("selected", shape, self.embedding.dtype)
        if rows is None:
            return self.embedding.index_select(0, index)
        return torch.index_select(self.embedding, 0, index, out=rows)

    def _own(self, use: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor | None:
        """Return the calling thread's memory for a use in a shape; None on a GPU."""
        if self.embedding.device.type != "cpu":
            return None
        size = math.prod(shape)
        memory = getattr(self._batches, use, None)
        if memory is None or memory.numel() < size:
            memory = torch.empty(size, dtype=dtype)
            setattr(self._batches, use, memory)
        return memory[:size].view(*shape)


_Key = tuple[int, bool, torch.device, str]
_shared: contextvars.ContextVar[dict[_Key, DeviceFrames] | None]
_shared = contextvars.ContextVar("shared_frames", default=None)


@contextlib.contextmanager
def sharing_frames() -> Iterator[None]:
    """Let all trainings inside the block that have the same data share its normalized frames.

    Preparing them costs about as much as some epochs. Their memory is free at the block's end, or
    once a training on other data begins.
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
    data: TrajectoryData, config: PolicyConfig, device: torch.device, dtype: str
) -> DeviceFrames | None:
    """Return frames that an earlier training inside ``sharing_frames`` prepared, if there are any.

    Those of other data are forgotten, so that memory holds one copy of large embeddings.

    Args:
        data: of the training.
        config: of the policy, which may read past actions.
        device: of the training.
        dtype: of the training.
    """
    found = _shared.get()
    if found is None:
        return None
    for key in [key for key in found if key[0] != id(data)]:
        del found[key]
    return found.get((id(data), config.reads_past_actions, device, dtype))


def share_frames(frames: DeviceFrames, device: torch.device, dtype: str) -> None:
    """Keep frames for the trainings to come inside ``sharing_frames``; outside, do nothing.

    Args:
        frames: of a training.
        device: as the training names it.
        dtype: of the training.
    """
    found = _shared.get()
    if found is not None:
        found[id(frames.data), frames.policy.config.reads_past_actions, device, dtype] = frames
