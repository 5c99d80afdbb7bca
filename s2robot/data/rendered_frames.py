"""Camera frames of demonstrations, rendered once from their simulator states."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.config import CameraConfig
from s2robot.data.demonstrations import Demonstrations
from s2robot.envs import gl
from s2robot.envs.gl import select_gl
from s2robot.errors import CorruptFileError
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import RESULTS_VERSION, simulation
from s2robot.utils.records import read_array
from s2robot.utils.workers import in_order, worthwhile_workers

_LEAST_FRAMES = 400  # which a worker draws in about the time that it takes to start


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

    @property
    def digest(self) -> str:
        """Digest of what determines the frames: demonstrations and ``source``."""
        return self._folder.name

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
        frames = sum(len(self._demos.episodes[i]) for i in missing)
        workers = worthwhile_workers(frames, _LEAST_FRAMES)
        tasks = [(self._path(i), self._demos.episodes[i].states) for i in missing]
        prepare = _drawer_without_torch if workers else _drawer
        drawn = in_order(prepare, (self._demos.env_kwargs, self._camera), tasks, workers)
        with (
            contextlib.closing(drawn),
            progress_bar(f"rendering {self._camera.name}", len(missing)) as bar,
        ):
            for _ in drawn:
                bar.advance()

    def _open(self, episode: int, remedy: str = "delete it and rerun") -> np.ndarray:
        expected = self._shape(len(self._demos.episodes[episode]))
        return read_array(self._path(episode), remedy, np.uint8, expected, mapped=True)


def _drawer(
    env_kwargs: Mapping[str, Any], camera: CameraConfig
) -> Callable[[tuple[Path, np.ndarray]], None]:
    """Return a function that writes the frames of states (T, S) to a file."""
    from s2robot.envs.pick_cube import PickCubeEnv

    env = PickCubeEnv(**env_kwargs)
    env.reset(seed=0)

    def draw(task: tuple[Path, np.ndarray]) -> None:
        path, states = task
        frames = np.empty((len(states), camera.size, camera.size, 3), dtype=np.uint8)
        for frame, state in zip(frames, states, strict=True):
            env.set_state(state)
            env.render_frame(camera.name, camera.size, camera.size, out=frame)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, frames, allow_pickle=False)

    return draw


def _drawer_without_torch(
    env_kwargs: Mapping[str, Any], camera: CameraConfig
) -> Callable[[tuple[Path, np.ndarray]], None]:
    """Return the function of ``_drawer`` in a process that will not import PyTorch."""
    gl.torch_follows = False
    return _drawer(env_kwargs, camera)
