"""Frames of demonstrations, rendered from their simulator states once and kept on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from s2robot.data.demonstrations import Demonstrations
from s2robot.errors import CorruptFileError
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.provenance import versions


@dataclass(frozen=True)
class CameraConfig:
    """Which camera the policy sees through, and how many pixels it has."""

    name: str = "front"
    size: int = 384
    """Side of a square native frame [px]: what the camera delivers, whatever the scales."""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(f"camera size must be at least 16 px; got {self.size}")


class RenderedFrames:
    """A demonstration file's frames ``(N, S, S, 3)`` uint8 RGB, episode by episode on disk.

    Args:
        demos: whose states are rendered.
        camera: from where and how large.
        cache: folder that keeps the frames; a killed rendering goes on where it stopped.
    """

    def __init__(self, demos: Demonstrations, camera: CameraConfig, cache: str | Path) -> None:
        self._demos = demos
        self._camera = camera
        self._folder = Path(cache) / digest_of({"demos": demos.digest, **self.source})[:24]
        self._episodes: list[np.ndarray] = []

    @property
    def source(self) -> dict[str, Any]:
        """What decides the pixels besides the states: camera, size, quality, renderer version."""
        return {
            "kind": "mujoco",
            "camera": dataclasses.asdict(self._camera),
            "env": self._demos.env_kwargs,
            "mujoco": versions()["mujoco"],
        }

    def __len__(self) -> int:
        return self._demos.num_frames

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive); the first call renders what is missing."""
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"frames {start} to {stop} asked of {len(self)}")
        if not self._episodes:
            self._episodes = self._ensure()
        ends = self._demos.episode_ends
        parts = []
        for i in range(int(np.searchsorted(ends, start, side="right")), len(ends)):
            first = int(ends[i - 1]) if i else 0
            if first >= stop:
                break
            parts.append(self._episodes[i][max(start - first, 0) : stop - first])
        return np.concatenate(parts) if parts else np.zeros(self._shape(0), dtype=np.uint8)

    def _shape(self, frames: int) -> tuple[int, int, int, int]:
        return frames, self._camera.size, self._camera.size, 3

    def _path(self, episode: int) -> Path:
        return self._folder / f"episode_{episode:05d}.npy"

    def _ensure(self) -> list[np.ndarray]:
        with locked(self._folder / "render"):
            numbers = range(self._demos.num_episodes)
            missing = [i for i in numbers if not self._path(i).exists()]
            if missing:
                self._render(missing)
        return [self._open(i) for i in numbers]

    def _render(self, missing: list[int]) -> None:
        with _replayer(self._demos) as env:
            for i in track(missing, description=f"rendering {self._camera.name}"):
                states = self._demos.episodes[i].states
                frames = np.empty(self._shape(len(states)), dtype=np.uint8)
                for t, state in enumerate(states):
                    env.set_state(state)
                    frames[t] = env.render_frame(
                        self._camera.name, self._camera.size, self._camera.size
                    )
                with atomic_path(self._path(i)) as temporary, temporary.open("wb") as file:
                    np.save(file, frames, allow_pickle=False)

    def _open(self, episode: int) -> np.ndarray:
        path = self._path(episode)
        expected = self._shape(len(self._demos.episodes[episode]))
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CorruptFileError(f"{path} is damaged ({error}); delete {self._folder}") from None
        if frames.shape != expected:
            raise CorruptFileError(
                f"{path} holds {frames.shape} instead of {expected}; delete {self._folder}"
            )
        return frames


@contextmanager
def _replayer(demos: Demonstrations) -> Iterator[Any]:
    from s2robot.envs.pick_cube import PickCubeEnv

    env = PickCubeEnv(**demos.env_kwargs)
    env.reset(seed=0)
    try:
        yield env
    finally:
        env.close()
