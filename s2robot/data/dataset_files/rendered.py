"""Demonstrations of this package, with frames drawn from their states, as a recorded data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from s2robot.data.config import CameraConfig
from s2robot.data.datasets.contract import EpisodeDataset, choose, unnamed
from s2robot.data.datasets.opening import check_of_bags, layout_of, open_dataset
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.envs.levels import CAMERAS, get_level
from s2robot.envs.tasks.names import is_foreign
from s2robot.utils.io import digest_of

TASK = "Pick up the cube."
_EE_NAMES = {4: ("dx", "dy", "dz", "gripper"), 5: ("dx", "dy", "dz", "dyaw", "gripper")}


class RenderedDemonstrations:
    """Demonstrations of ``s2robot collect`` with drawn frames; see ``EpisodeDataset``.

    Args:
        demos: the demonstrations, of pick-cube.
        cameras: names of cameras of the scene; None for the camera of the level.
        size: side of the frames [px].
        low_dim: keys of observations; None for all.
        cache: folder of drawn frames.

    Raises:
        ValueError: there is no such camera or observation, or the task is another.
    """

    def __init__(
        self,
        demos: Demonstrations,
        cameras: Sequence[str] | None,
        size: int,
        low_dim: Sequence[str] | None,
        cache: Path,
    ) -> None:
        if is_foreign(demos.level):
            raise ValueError(
                f"{demos.path} is of task {demos.level}; only demonstrations of pick-cube, and "
                "recordings with frames, are written in other formats"
            )
        self.demos = demos
        self.source = str(demos.path)
        chosen = choose("camera", cameras or [get_level(demos.level).camera], CAMERAS, self.source)
        self.cameras: Mapping[str, tuple[int, int]] = dict.fromkeys(chosen, (size, size))
        self._drawn = {
            name: RenderedFrames(demos, CameraConfig(name, size), cache) for name in chosen
        }
        self.episode_ends = demos.episode_ends
        self.actions = demos.actions.astype(np.float32)
        self.action_names = _action_names(demos, self.actions.shape[1])
        keys = choose("observation", low_dim, demos.episodes[0].obs, self.source)
        self._low_dim = {key: demos.low_dim(key).astype(np.float32) for key in keys}
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {
            key: unnamed(f"{key}_", value.shape[1]) for key, value in self._low_dim.items()
        }
        self.rate_hz: float | None = 1 / CONTROL_DT_S
        self.masks: Mapping[str, np.ndarray] = {
            "train": demos.train_episodes,
            "valid": demos.valid_episodes,
        }
        self.task: str | None = TASK
        self.env_name, self.env_kwargs = demos.env_name, demos.env_kwargs
        self.digest = digest_of(
            [demos.identity_digest, *(drawn.digest for drawn in self._drawn.values())]
        )

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._low_dim, self.source)
        return self._low_dim[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of an episode, in order."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        stop = int(self.episode_ends[episode])
        start = stop - len(self.demos.episodes[episode])
        yield from self._drawn[camera].read(start, stop)

    def success_of(self, episode: int) -> np.ndarray:
        """Return whether the task was solved after each action of an episode, ``(T,)`` bool."""
        return self.demos.episodes[episode].success.astype(bool)

    def states_of(self, episode: int) -> np.ndarray | None:
        """Return the states ``(T, D)`` before each action."""
        return self.demos.episodes[episode].states

    def close(self) -> None:
        """Do nothing: frames lie on disk."""


def open_source(
    path: Path,
    cameras: Sequence[str] | None,
    low_dim: Sequence[str] | None,
    size: int | None,
    cache: Path,
    action: Sequence[str] | None = None,
    tolerance_s: float | None = None,
) -> EpisodeDataset:
    """Open what is to be written in another format.

    Args:
        path: demonstrations of ``s2robot collect``, or any data set that ``open_dataset`` reads.
        cameras: keys of cameras; None for the level's camera, or all of a recording.
        low_dim: keys of observations; None for all.
        size: side of drawn frames [px]; None for 384.
        cache: folder of drawn frames.
        action: of bags, the topics of the actions.
        tolerance_s: of bags, the largest distance of a message from its row [s].

    Raises:
        ValueError: a size is given for a recording, whose frames have theirs.
    """
    if path.is_file() and layout_of(path) == "robomimic" and _has_states_of_ours(path):
        check_of_bags("robomimic", path, action=action, tolerance_s=tolerance_s)
        chosen = CameraConfig().size if size is None else size
        return RenderedDemonstrations(Demonstrations(path), cameras, chosen, low_dim, cache)
    if size is not None:
        raise ValueError(
            f"size is {size} px, but {path} has frames of its own, which are written as they are; "
            "leave --size out"
        )
    return open_dataset(path, cameras, low_dim, action, tolerance_s)


def _has_states_of_ours(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            data: Any = file.get("data")
            return data is not None and "s2robot" in data.attrs
    except OSError:
        return False  # the reader says what is wrong with it


def _action_names(demos: Demonstrations, count: int) -> tuple[str, ...]:
    if demos.control == "ee_delta" and count in _EE_NAMES:
        return _EE_NAMES[count]
    return (*(f"joint_{number}" for number in range(1, count)), "gripper")
