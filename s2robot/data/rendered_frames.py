"""Camera frames of demonstrations, rendered once from their simulator states."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.demonstrations import Demonstrations
from s2robot.envs.gl import select_gl
from s2robot.errors import CorruptFileError
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.progress import tracked
from s2robot.utils.provenance import RESULTS_VERSION, simulation
from s2robot.utils.records import read_array

LEAST_CAMERA_SIZE = 16
"""Smallest side of a camera's frames [px]."""


@dataclass(frozen=True)
class CameraConfig:
    """Camera of the policy and the size of its frames."""

    name: str = "front"
    size: int = 384
    """Side of the square frames that the camera delivers [px], whatever the scales are."""

    def __post_init__(self) -> None:
        if self.size < LEAST_CAMERA_SIZE:
            raise ValueError(
                f"camera size is {self.size} px; it must be at least {LEAST_CAMERA_SIZE} px"
            )


def drawn_with() -> dict[str, Any]:
    """Return what decides a picture of a state beside the scene: a part of the key of pictures.

    Returns:
        ``mujoco``: generation of the simulator; ``gl``: backend of the renderer; ``scene``: version
        of this package's own code.
    """
    return {"mujoco": simulation(), "gl": select_gl(), "scene": RESULTS_VERSION}


class RenderedFrames:
    """Frames ``(N, S, S, 3)`` uint8 RGB of demonstrations, stored on disk episode by episode.

    Args:
        demos: the demonstrations whose states are rendered.
        camera: the camera and the size of the frames.
        cache: folder for the frames; a rendering that was killed continues where it stopped.
    """

    def __init__(self, demos: Demonstrations, camera: CameraConfig, cache: str | Path) -> None:
        self._demos = demos
        self._camera = camera
        self._folder = Path(cache) / digest_of({"demos": demos.digest, **self.source})[:24]
        self._episodes: list[np.ndarray] = []

    @property
    def source(self) -> dict[str, Any]:
        """Description of what determines the pixels: camera, environment and renderer."""
        return {
            "kind": "mujoco",
            "camera": dataclasses.asdict(self._camera),
            "env": self._demos.env_kwargs,
            **drawn_with(),
        }

    def __len__(self) -> int:
        return self._demos.num_frames

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return some frames; the first call renders the episodes that are missing on disk.

        Args:
            start: number of the first frame.
            stop: number after the last frame.

        Returns:
            ``(stop - start, S, S, 3)`` uint8 RGB.

        Raises:
            ValueError: ``start`` or ``stop`` is out of range.
            CorruptFileError: a file of frames is damaged and cannot be rendered again.
        """
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"frames are {start} to {stop}; allowed: 0 to {len(self)}")
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
            missing = [i for i in numbers if not self._is_whole(i)]
            if missing:
                self._render(missing)
        return [self._open(i) for i in numbers]

    def _is_whole(self, episode: int) -> bool:
        """Return whether an episode's frames are there; damaged ones are named in a warning."""
        if not self._path(episode).exists():
            return False
        try:
            self._open(episode, "its frames are rendered again now")
        except CorruptFileError as error:
            warnings.warn(str(error), stacklevel=2)
            return False
        return True

    def _render(self, missing: list[int]) -> None:
        with _replayer(self._demos) as env:
            for i in tracked(missing, f"rendering {self._camera.name}"):
                states = self._demos.episodes[i].states
                frames = np.empty(self._shape(len(states)), dtype=np.uint8)
                for t, state in enumerate(states):
                    env.set_state(state)
                    frames[t] = env.render_frame(
                        self._camera.name, self._camera.size, self._camera.size
                    )
                with atomic_path(self._path(i)) as temporary, temporary.open("wb") as file:
                    np.save(file, frames, allow_pickle=False)

    def _open(self, episode: int, remedy: str = "delete it and rerun") -> np.ndarray:
        expected = self._shape(len(self._demos.episodes[episode]))
        return read_array(self._path(episode), remedy, np.uint8, expected, mapped=True)


@contextmanager
def _replayer(demos: Demonstrations) -> Iterator[Any]:
    from s2robot.envs.pick_cube import PickCubeEnv

    env = PickCubeEnv(**demos.env_kwargs)
    env.reset(seed=0)
    try:
        yield env
    finally:
        env.close()
