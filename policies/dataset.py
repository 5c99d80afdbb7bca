"""Training data of a policy as flat tensors, and windows of frames to sample from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from s2robot.policies.config import PolicyConfig

_CHUNK = 64
"""Frames that are checked at once."""


@dataclass(frozen=True, eq=False)
class TrajectoryData:
    """Embeddings, proprioception and actions of all frames of all demonstrations, in order.

    Raises:
        ValueError: lengths disagree, a value is not finite, or episodes overlap or are empty.

    Examples:
        >>> data = TrajectoryData(
        ...     embedding=torch.zeros(5, 8),
        ...     embedding_shape=(8,),
        ...     proprio=torch.zeros(5, 4),
        ...     actions=torch.zeros(5, 4),
        ...     episode_ends=torch.tensor([3, 5]),
        ...     train_episodes=torch.tensor([0]),
        ...     valid_episodes=torch.tensor([1]),
        ... )
        >>> data.frames_of(data.valid_episodes).tolist()
        [3, 4]
        >>> rnn = PolicyConfig(kind="rnn_gmm", context=2)
        >>> training_windows(rnn, data, data.train_episodes).index.tolist()
        [[0, 1], [1, 2], [2, 2]]
    """

    embedding: torch.Tensor
    """``(N, D)`` float16 or float32, flattened; D is 0 for the blind baseline."""
    embedding_shape: tuple[int, ...]
    """Shape of one embedding: a grid ``(gh, gw, C)`` or a vector ``(D,)``."""
    proprio: torch.Tensor
    """``(N, P)`` float32, as measured (not normalized), in m and rad. A channel with a std below
    5e-4 over the training frames is centered and not scaled."""
    actions: torch.Tensor
    """``(N, A)`` float32 in [-1, 1]; the gripper is the last entry."""
    episode_ends: torch.Tensor
    """``(E,)`` int64: one past the last frame of each episode."""
    train_episodes: torch.Tensor
    """Indices of the episodes to train on."""
    valid_episodes: torch.Tensor
    """Indices of the held-out episodes; may be empty."""
    motion_dims: int = 3
    """Number of leading entries of an action that are motion; their errors are reported. Where all
    are, the last entry is no gripper."""
    motion_unit: float = 0.04
    """Motion of an entry of 1 [m, or rad for joints]."""

    def __post_init__(self) -> None:
        frames, width = self.embedding.shape
        if width != math.prod(self.embedding_shape):
            raise ValueError(
                f"embedding has width {width}, but embedding_shape {self.embedding_shape} "
                f"means {math.prod(self.embedding_shape)}"
            )
        for name in ("embedding", "proprio", "actions"):
            _check_frames(name, getattr(self, name), frames)
        self._check_episodes(frames)

    def _check_episodes(self, frames: int) -> None:
        starts = torch.cat([self.episode_ends.new_zeros(1), self.episode_ends])
        if len(starts) < 2 or starts[-1] != frames or not bool((starts.diff() > 0).all()):
            raise ValueError(
                f"episode_ends must rise strictly to the number of frames {frames}; "
                f"got {self.episode_ends.tolist()}"
            )
        both = torch.cat([self.train_episodes, self.valid_episodes])
        if len(both.unique()) != len(both):
            raise ValueError("an episode is used twice by train_episodes and valid_episodes")
        if len(both) and not 0 <= int(both.min()) <= int(both.max()) < len(self.episode_ends):
            raise ValueError(f"episodes go from 0 to {len(self.episode_ends) - 1}; got {both}")
        if not len(self.train_episodes):
            raise ValueError("train_episodes is empty; there is nothing to train on")

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all fields."""
        sha = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                sha.update(f"{field.name} {value.dtype} {tuple(value.shape)}".encode())
                sha.update(value.contiguous().cpu().numpy().data)
            else:
                sha.update(f"{field.name} {value}".encode())
        return sha.hexdigest()

    def frames_of(self, episodes: torch.Tensor) -> torch.Tensor:
        """Return the indices ``(M,)`` of all frames of some episodes."""
        return windows(self.episode_ends, episodes, offsets=(0,)).index[:, 0]


def _check_frames(name: str, value: torch.Tensor, frames: int) -> None:
    if len(value) != frames:
        raise ValueError(f"{name} has {len(value)} frames, embedding has {frames}")
    if not all(map(_is_finite, value.split(_CHUNK))):
        raise ValueError(f"{name} holds NaN or infinite values; encode or collect it again")


def _is_finite(values: torch.Tensor) -> bool:
    """Return whether no value is NaN or infinite: a NaN is the smallest and largest value."""
    return not values.numel() or bool(torch.isfinite(torch.stack(values.aminmax())).all())


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of frames, as indices of frames; ``mask`` is False where an action only pads."""

    index: torch.Tensor
    """``(M,)`` for one-step policies, ``(M, T)`` for sequence policies; int64."""
    mask: torch.Tensor
    """Bool, in the shape of ``targets``."""
    chunk: torch.Tensor | None = None
    """``(M, K)`` int64: frames whose actions are predicted; None: those of ``index``."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def targets(self) -> torch.Tensor:
        """Frames whose actions are predicted: ``(M,)``, ``(M, T)`` or ``(M, K)`` int64."""
        return self.index if self.chunk is None else self.chunk


def windows(
    episode_ends: torch.Tensor, episodes: torch.Tensor, offsets: Sequence[int], stride: int = 1
) -> Windows:
    """Return a window of frames for every ``stride``-th frame of each episode.

    A window that exceeds its episode repeats the episode's first or last frame, masked.

    Args:
        episode_ends: ``(E,)`` int64.
        episodes: indices of episodes.
        offsets: T offsets from the anchor frame.
        stride: distance between anchors; the first is the episode's first frame.
    """
    starts = torch.cat([episode_ends.new_zeros(1), episode_ends[:-1]])
    steps = torch.as_tensor(list(offsets), dtype=torch.int64)
    index, mask = [], []
    for episode in episodes.tolist():
        start, end = int(starts[episode]), int(episode_ends[episode])
        wanted = torch.arange(start, end, stride)[:, None] + steps  # (anchors, T)
        mask.append((wanted >= start) & (wanted < end))
        index.append(wanted.clamp(start, end - 1))
    none = torch.zeros(0, len(steps), dtype=torch.int64)
    return Windows(torch.cat([none, *index]), torch.cat([none.bool(), *mask]))


def training_windows(config: PolicyConfig, data: TrajectoryData, episodes: torch.Tensor) -> Windows:
    """Return the windows that a policy is trained on.

    An RNN's windows start at any frame, with an empty state. A transformer's windows end at any
    frame, and its history begins with copies of the first frame, as in robomimic's frame stack.
    A chunk begins at its window's last frame; what lies beyond the episode's end is masked.

    Args:
        config: kind and context of the policy.
        data: with the episodes.
        episodes: their indices.
    """
    return _windows(config, data, episodes, stride=1)


def acting_windows(config: PolicyConfig, data: TrajectoryData, episodes: torch.Tensor) -> Windows:
    """Return windows whose unmasked predictions are those of ``Policy.act`` along the episodes.

    Chunks are whole; the first action of each is what a policy without ensembling does.

    Args:
        config: kind and context of the policy.
        data: with the episodes.
        episodes: their indices.
    """
    if config.kind == "rnn_gmm":  # the state is reset every `context` steps
        return _windows(config, data, episodes, stride=config.context)
    found = _windows(config, data, episodes, stride=1)
    if config.kind == "transformer":  # only the last step is acted on
        found.mask[:, :-1] = False
    return found


def _windows(
    config: PolicyConfig, data: TrajectoryData, episodes: torch.Tensor, stride: int
) -> Windows:
    if config.kind == "rnn_gmm":
        return windows(data.episode_ends, episodes, range(config.context), stride)
    if config.kind == "transformer":
        return windows(data.episode_ends, episodes, range(1 - config.context, 1), stride)
    if config.is_chunked:
        seen = windows(data.episode_ends, episodes, range(1 - config.context, 1), stride)
        ahead = windows(data.episode_ends, episodes, range(config.chunk), stride)
        return Windows(seen.index, ahead.mask, ahead.index)
    found = windows(data.episode_ends, episodes, (0,), stride)
    return Windows(found.index[:, 0], found.mask[:, 0])


def previous_actions(data: TrajectoryData) -> torch.Tensor:
    """Return the action before each frame ``(N, A)``; zeros at an episode's first frame."""
    before = data.actions.roll(1, dims=0)
    before[0] = 0
    before[data.episode_ends[:-1]] = 0
    return before


def default_proprio_keys(control: str, yaw: bool) -> tuple[str, ...]:
    """Return the keys of a policy's proprioception: position and width of the gripper, and more.

    Args:
        control: ``joint_delta`` adds the joint positions.
        yaw: whether actions turn the gripper, which adds its orientation.
    """
    keys = ("ee_pos", "gripper_width")
    keys += ("joint_pos",) if control == "joint_delta" else ()
    return keys + (("ee_quat",) if yaw else ())


def stack_proprio(low_dim: Mapping[str, Any], keys: Sequence[str]) -> np.ndarray:
    """Return proprioception, concatenated in the order of ``keys``.

    Keys of four entries that end in ``_quat`` (wxyz) become the first two columns of their rotation
    matrix: a quaternion and its negative are one rotation, and the columns are continuous in it
    (Zhou et al. 2019, arXiv 1812.07035). Recorded quaternions in another order (xyzw) give other
    six numbers, of which the same is true.

    Args:
        low_dim: arrays ``(N, d)`` or ``(N,)`` by key.
        keys: of the arrays to use.

    Returns:
        ``(N, P)`` float32.

    Raises:
        KeyError: a key is missing.
    """
    missing = [key for key in keys if key not in low_dim]
    if missing:
        raise KeyError(f"no proprioception {missing}; available: {sorted(low_dim)}")
    columns = []
    for key in keys:
        value = np.asarray(low_dim[key], dtype=np.float64)
        value = value.reshape(len(value), -1)  # (N, d)
        turns = key.endswith("_quat") and value.shape[1] == 4
        columns.append(_rotation_columns(value) if turns else value)
    return np.concatenate(columns, axis=1).astype(np.float32)


def joined_shape(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return the shape of the embeddings of several cameras as one; see ``side_by_side``.

    Args:
        shapes: of one embedding by camera: a grid ``(gh, gw, C)`` or a vector ``(D,)``.

    Raises:
        ValueError: the cameras have other grids.

    Examples:
        >>> joined_shape({"far": (8, 8, 384), "wrist": (8, 8, 192)})
        (8, 8, 576)
    """
    grids = {name: tuple(shape[:-1]) for name, shape in shapes.items()}
    if len(set(grids.values())) > 1:
        listed = ", ".join(f"{name} {'x'.join(map(str, grid))}" for name, grid in grids.items())
        raise ValueError(
            f"the cameras' embeddings are grids of other sizes: {listed}; they lie side by side "
            "only on one grid, which the first of a camera's scales has unless "
            "resize_output_to_idx says otherwise. Give cameras the same first scale"
        )
    return (*next(iter(grids.values())), sum(shape[-1] for shape in shapes.values()))


def side_by_side(embeddings: Sequence[torch.Tensor], *shapes: Sequence[int]) -> torch.Tensor:
    """Return embeddings of several cameras as one: at each place, the channels of all of them.

    Args:
        embeddings: ``(N, D)`` of each camera, in the policy's order.
        shapes: of one embedding: a grid ``(gh, gw, C)`` or a vector ``(D,)``; one for all cameras,
            or one of each.

    Returns:
        ``(N, K·D)`` for K cameras: grids ``(gh, gw, K·C)`` or vectors ``(K·D,)``, flattened.

    Examples:
        >>> grids = [torch.zeros(1, 4), torch.ones(1, 4)]  # 2 x 2 places, one channel
        >>> side_by_side(grids, (2, 2, 1)).tolist()
        [[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]]
    """
    if len(embeddings) == 1:
        return embeddings[0]
    each = [*shapes] * (len(embeddings) // len(shapes))
    parts = [one.unflatten(1, tuple(s)) for one, s in zip(embeddings, each, strict=True)]
    return torch.cat(parts, dim=-1).flatten(1)


def _rotation_columns(quaternion: np.ndarray) -> np.ndarray:
    """Return two columns ``(N, 6)`` of the rotation matrices of quaternions ``(N, 4)``, wxyz."""
    w, x, y, z = (quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)).T
    first = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    second = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    return np.stack([*first, *second], axis=1)
