"""Camera frames of demonstrations, rendered once from their simulator states."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.config import CameraConfig, frame_size
from s2robot.data.demonstrations import Demonstrations, Episode
from s2robot.envs import gl
from s2robot.envs.gl import select_gl
from s2robot.envs.tasks.loading import make_env, trust, trusted_tasks
from s2robot.envs.tasks.names import is_foreign
from s2robot.errors import CorruptFileError, MismatchError
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
    """Frames ``(N, H, W, 3)`` uint8 RGB of demonstrations, stored on disk episode by episode.

    Those of pick-cube are drawn from its states, square. Those of another task are drawn while the
    executed actions are repeated from the episode's start, in the size that the task gives them.

    Args:
        demos: the demonstrations whose states are rendered.
        camera: the camera and the size of the frames; of another task, its name or "".
        cache: folder for the frames; a rendering that was killed continues where it stopped.
    """

    def __init__(self, demos: Demonstrations, camera: CameraConfig, cache: str | Path) -> None:
        self._demos = demos
        self._camera = dataclasses.asdict(camera)
        if is_foreign(demos.level):
            self._camera = own_camera(demos.env_kwargs, camera.name, camera.size)
        self._folder = Path(cache) / digest_of({"demos": demos.digest, **self.source})[:24]
        self._episodes: list[np.ndarray] = []

    @property
    def source(self) -> dict[str, Any]:
        """Description of what determines the pixels: camera, environment and renderer."""
        return {
            "kind": "gymnasium" if is_foreign(self._demos.level) else "mujoco",
            "camera": self._camera,
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
            ``(stop - start, H, W, 3)`` uint8 RGB.

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
        height, width = frame_size(self._camera)
        return frames, height, width, 3

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
        tasks = [(self._path(i), self._demos.episodes[i]) for i in missing]
        prepare = _drawer_without_torch if workers else _drawer
        given = (self._demos.env_kwargs, self._camera, trusted_tasks())
        drawn = in_order(prepare, given, tasks, workers)
        with (
            contextlib.closing(drawn),
            progress_bar(f"rendering {self._camera['name']}", len(missing)) as bar,
        ):
            for _ in drawn:
                bar.advance()

    def _open(self, episode: int, remedy: str = "delete it and rerun") -> np.ndarray:
        expected = self._shape(len(self._demos.episodes[episode]))
        return read_array(self._path(episode), remedy, np.uint8, expected, mapped=True)


def own_camera(env_kwargs: Mapping[str, Any], name: str, size: int) -> dict[str, Any]:
    """Return name and size [px] of a camera of another task than pick-cube.

    Args:
        env_kwargs: of the task's environment.
        name: of the camera; "" takes the first one.
        size: side of the frames [px] where the task draws any.
    """
    env = make_env(env_kwargs)
    try:
        name = name or env.cameras[0]
        height, width = env.frame_shape(name) or (size, size)
    finally:
        env.close()
    return {"name": name, "height": height, "width": width}


_Drawer = Callable[[tuple[Path, Episode]], None]


def _drawer(
    env_kwargs: Mapping[str, Any], camera: Mapping[str, Any], trusted: tuple[str, ...] = ()
) -> _Drawer:
    """Return a function that writes the frames of an episode to a file."""
    trust(trusted)
    env = make_env(env_kwargs)
    env.reset(seed=0)
    fill = _repeat if is_foreign(str(env_kwargs["level"])) else _draw_states
    height, width = frame_size(camera)

    def draw(task: tuple[Path, Episode]) -> None:
        path, episode = task
        frames = np.empty((len(episode), height, width, 3), dtype=np.uint8)
        fill(env, str(camera["name"]), episode, frames)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, frames, allow_pickle=False)

    return draw


def _draw_states(env: Any, camera: str, episode: Episode, frames: np.ndarray) -> None:
    """Draw the states of an episode into `frames`."""
    for frame, state in zip(frames, episode.states, strict=True):
        env.set_state(state)
        env.render_frame(camera, *frame.shape[:2], out=frame)


def _repeat(env: Any, camera: str, episode: Episode, frames: np.ndarray) -> None:
    """Draw an episode into `frames` while its executed actions are repeated from its start.

    Raises:
        MismatchError: the observations are not those that were recorded.
    """
    obs, _ = env.reset(options={"state": episode.states[0]})
    for step, (frame, action) in enumerate(zip(frames, episode.executed, strict=True)):
        for key, recorded in episode.obs.items():
            if not np.allclose(obs[key], recorded[step], rtol=1e-4, atol=1e-5):
                raise MismatchError(
                    f"task {env.env_kwargs()['level']}: observation {key!r} at step {step} of a "
                    "repeated demonstration is not the recorded one, so frames and actions would "
                    "not belong together. The environment gives other episodes from equal seeds "
                    "and actions, or has another version than the one of the recording: collect "
                    "again here, and let reset() pass its seed on"
                )
        env.render_frame(camera, *frame.shape[:2], out=frame)
        obs = env.step(action)[0]


def _drawer_without_torch(
    env_kwargs: Mapping[str, Any], camera: Mapping[str, Any], trusted: tuple[str, ...]
) -> _Drawer:
    """Return the function of ``_drawer`` in a process that will not import PyTorch."""
    gl.torch_follows = False
    return _drawer(env_kwargs, camera, trusted)
