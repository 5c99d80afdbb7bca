"""Data of a recommendation: frames, and where there are any, episodes, actions and positions."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.data.feature_store import ChosenFrames, FrameReader
from s2robot.utils.io import digest_of

LEAST_EPISODES = 8
"""Episodes that a comparison on held-out episodes takes at least."""


@dataclass(frozen=True)
class EpisodeArrays:
    """One episode in memory, with T frames."""

    frames: np.ndarray
    """``(T, H, W, 3)`` uint8 RGB."""
    actions: np.ndarray | None = None
    """``(T, A)``: the action at each frame."""
    proprio: np.ndarray | None = None
    """``(T, P)``: further inputs of the policy, such as the position of the gripper."""
    positions_m: np.ndarray | None = None
    """``(T, K)``: what is to be localized, such as (x, y) of an object [m]."""


@dataclass(frozen=True, eq=False)
class EpisodeData:
    """FrameReader of N moments, and what is known of them; a reader of any format makes one.

    Raises:
        ValueError: lengths disagree, a value is not finite, or there are actions or positions but
            too few episodes to hold some out.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> episodes = [
        ...     EpisodeArrays(np.zeros((3, 32, 32, 3), np.uint8), rng.normal(size=(3, 4)))
        ...     for _ in range(8)
        ... ]
        >>> data = EpisodeData.from_episodes("random", episodes)
        >>> data.num_frames, data.actions.shape, int(data.episode[-1])
        (24, (24, 4), 7)
    """

    name: str
    """For messages."""
    frames: FrameReader
    digest: str
    """Identifies the frames in a feature store."""
    episode: np.ndarray | None = None
    """``(N,)`` number of each frame's episode; None where it is not known."""
    actions: np.ndarray | None = None
    """``(N, A)``."""
    proprio: np.ndarray | None = None
    """``(N, P)``."""
    positions_m: np.ndarray | None = None
    """``(N, K)`` [m]."""
    demos_path: str | None = None
    """File of demonstrations of ``s2robot collect``, which rollouts can be made for."""
    more_cameras: tuple[FrameReader, ...] = ()
    """FrameReader of further cameras, of the same moments; their embeddings lie side by side."""
    camera_names: tuple[str, ...] = ()
    """Of recorded data, the names of all cameras, in order."""
    notes: tuple[str, ...] = ()
    """Sentences on what was taken of the data, for the reader of the result."""

    def __post_init__(self) -> None:
        if not len(self.frames):
            raise ValueError(f"{self.name} has no frames; give at least one")
        for number, other in enumerate(self.more_cameras, start=2):
            if len(other) != len(self.frames):
                raise ValueError(
                    f"{self.name}: camera {number} has {len(other)} frames, the first one "
                    f"{len(self.frames)}; all cameras need the same moments"
                )
        for name in ("actions", "proprio", "positions_m"):
            self._check(name)
        if self.actions is None and self.positions_m is None:
            return
        if self.episode is None:
            raise ValueError(
                f"{self.name} has actions or positions, but the episodes of its frames are not "
                "known, so none can be held out; give the number of each frame's episode"
            )
        if len(self.episode) != len(self.frames):
            raise ValueError(
                f"{self.name}: episode has {len(self.episode)} entries for {len(self.frames)} "
                "frames; give one for each frame"
            )
        found = len(np.unique(self.episode))
        if found < LEAST_EPISODES:
            raise ValueError(
                f"{self.name} has {found} episode{'s' * (found > 1)}; candidates are compared on "
                f"held-out episodes, which takes at least {LEAST_EPISODES}: "
                f"{LEAST_EPISODES - found} more. Latency alone needs none: `s2robot recommend "
                "noise --frame HEIGHTxWIDTH`"
            )

    def _check(self, name: str) -> None:
        values = getattr(self, name)
        if values is None:
            return
        if values.ndim != 2 or len(values) != len(self.frames) or not values.shape[1]:
            raise ValueError(
                f"{self.name}: {name} has shape {values.shape}; allowed: ({len(self.frames)}, n), "
                "one row for each frame"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{self.name}: {name} holds NaN or infinite values; leave them out")

    @property
    def num_frames(self) -> int:
        """Number of frames N."""
        return len(self.frames)

    @property
    def cameras(self) -> tuple[FrameReader, ...]:
        """FrameReader of all cameras."""
        return (self.frames, *self.more_cameras)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Height and width of the first camera's frames [px]."""
        height, width = self.frames.read(0, 1).shape[1:3]
        return int(height), int(width)

    @classmethod
    def from_episodes(cls, name: str, episodes: Sequence[EpisodeArrays]) -> EpisodeData:
        """Return the data of episodes in memory.

        Args:
            name: for messages.
            episodes: with frames of one size, and with actions, proprioception and positions of one
                width, or without any of them.

        Raises:
            ValueError: a size varies between episodes, or one lacks what others have.
        """
        if not episodes:
            raise ValueError(f"{name} has no episodes; give at least {LEAST_EPISODES}")
        columns = {
            kind: _joined(name, kind, [getattr(episode, kind) for episode in episodes])
            for kind in ("frames", "actions", "proprio", "positions_m")
        }
        frames = columns.pop("frames")
        if frames is None:
            raise ValueError(f"{name} has no frames; give (T, H, W, 3) uint8 for each episode")
        lengths = [len(episode.frames) for episode in episodes]
        return cls(
            name,
            ArrayFrames(frames),
            hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest(),
            np.repeat(np.arange(len(episodes)), lengths),
            columns["actions"],
            columns["proprio"],
            columns["positions_m"],
        )

    def at_most(self, count: int) -> EpisodeData:
        """Return data with some frames only, spread evenly over all.

        Args:
            count: largest number of frames.
        """
        if count >= self.num_frames:
            return self
        return self.take(np.linspace(0, self.num_frames - 1, count).round().astype(int))

    def take(self, chosen: np.ndarray) -> EpisodeData:
        """Return data with some frames only.

        Args:
            chosen: numbers of the frames, rising.
        """
        if len(chosen) == self.num_frames:
            return self
        rows = {
            name: None if values is None else values[chosen]
            for name in ("episode", "actions", "proprio", "positions_m")
            for values in [getattr(self, name)]
        }
        digest = digest_of([self.digest, chosen.tolist()])
        frames, *others = (ChosenFrames(camera, chosen) for camera in self.cameras)
        more = {"frames": frames, "more_cameras": tuple(others), "digest": digest}
        return dataclasses.replace(self, **more, **rows)


def _joined(name: str, kind: str, parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the arrays of all episodes as one, or None where no episode has one."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    if len(there) < len(parts):
        number = next(i for i, part in enumerate(parts) if part is None)
        raise ValueError(f"{name}: episode {number} has no {kind}, but others have")
    for number, part in enumerate(there):
        if part.shape[1:] != there[0].shape[1:]:
            raise ValueError(
                f"{name}: {kind} of episode {number} have shape {part.shape[1:]} each, those of "
                f"episode 0 {there[0].shape[1:]}; all episodes need the same size"
            )
    return np.concatenate(there)


@dataclass(frozen=True, eq=False)
class ArrayFrames:
    """FrameReader in memory, as a reader."""

    frames: np.ndarray
    """``(N, H, W, 3)`` uint8 RGB."""

    def __post_init__(self) -> None:
        shape, kind = self.frames.shape, self.frames.dtype
        if len(shape) != 4 or shape[3] != 3 or kind != np.uint8:
            raise ValueError(f"frames are {kind} {shape}; allowed: uint8 (N, H, W, 3), RGB")

    @property
    def source(self) -> dict[str, Any]:
        """Description of the frames for a feature store."""
        return {"kind": "frames in memory", "size": list(self.frames.shape[1:3])}

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames ``(stop - start, H, W, 3)`` uint8 RGB."""
        return self.frames[start:stop]
