"""Demonstrations of this package, with drawn frames, as a recorded data set."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from s2robot.data.config import CameraConfig
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.datasets.contract import EpisodeDataset, choose, unnamed
from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.data.datasets.kept_frames import KeptFrames
from s2robot.data.datasets.opening import check_of_bags, layout_of, open_dataset
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.data.task_facts import facts_of
from s2robot.envs.tasks.loading import make_env
from s2robot.utils.io import digest_of


class RenderedDemonstrations:
    """Demonstrations of ``s2robot collect`` with drawn frames; see ``EpisodeDataset``.

    Frames of pick-cube are drawn from its states, those of another task while its episodes are
    repeated. Actions are in the units of the environment.

    Args:
        demos: the demonstrations.
        cameras: names of the task's cameras; None for its first.
        size: side of the frames [px] where the task draws any; None for 384.
        low_dim: keys of observations; None for the robot's own, of pick-cube for all.
        cache: folder of drawn frames.

    Raises:
        MismatchError: the task's module was not named by the user.
        ValueError: there is no such camera or observation, or the frames have their own size.
    """

    def __init__(
        self,
        demos: Demonstrations,
        cameras: Sequence[str] | None,
        size: int | None,
        low_dim: Sequence[str] | None,
        cache: Path,
    ) -> None:
        self.demos = demos
        self.source = str(demos.path)
        with contextlib.closing(make_env(demos.env_kwargs)) as env:
            facts = facts_of(env)
        self.cameras: Mapping[str, tuple[int, int]] = facts.sizes(cameras, size, self.source)
        self._drawn = {
            name: RenderedFrames(demos, CameraConfig(name, max(shape)), cache)
            for name, shape in self.cameras.items()
        }
        self.episode_ends = demos.episode_ends
        self.actions = facts.in_own_units(demos.actions)
        self.action_names = facts.action_names
        keys = facts.keys(low_dim, demos.episodes[0].obs, self.source)
        self._low_dim = {key: demos.low_dim(key).astype(np.float32) for key in keys}
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {
            key: unnamed(f"{key}_", value.shape[1]) for key, value in self._low_dim.items()
        }
        self.privileged, self.own_actions = facts.privileged(keys), facts.own_actions
        self.rate_hz: float | None = facts.rate_hz
        self.masks: Mapping[str, np.ndarray] = {
            "train": demos.train_episodes,
            "valid": demos.valid_episodes,
        }
        self.task: str | None = facts.task
        self.env_name, self.env_kwargs = demos.env_name, demos.env_kwargs
        self._full_states = facts.full_states
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

    def reader(self, camera: str, folder: Path) -> RenderedFrames:
        """Return the reader of all frames of a camera, as a training on the task has it.

        Args:
            camera: one of ``cameras``.
            folder: in which drawn frames are kept.
        """
        size = max(self.cameras[camera])
        return RenderedFrames(self.demos, CameraConfig(camera, size), folder)

    def success_of(self, episode: int) -> np.ndarray:
        """Return whether the task was solved after each action of an episode, ``(T,)`` bool."""
        return self.demos.episodes[episode].success.astype(bool)

    def states_of(self, episode: int) -> np.ndarray | None:
        """Return the full states ``(T, D)`` before each action; None where there are none."""
        return self.demos.episodes[episode].states if self._full_states else None

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
        cameras: keys of cameras; None for the task's first, or all of a recording.
        low_dim: keys of observations; None for all, of another task than pick-cube for the
            robot's own.
        size: side of drawn frames [px]; None for 384, or what the task gives.
        cache: folder of drawn frames.
        action: of bags, the topics of the actions.
        tolerance_s: of bags, the largest distance of a message from its row [s].

    Raises:
        ValueError: a size is given for a recording, whose frames have theirs.
    """
    if is_of_collect(path):
        check_of_bags("robomimic", path, action=action, tolerance_s=tolerance_s)
        return RenderedDemonstrations(Demonstrations(path), cameras, size, low_dim, cache)
    if size is not None:
        raise ValueError(
            f"size is {size} px, but {path} has frames of its own, which are written as they are; "
            "leave --size out"
        )
    return open_dataset(path, cameras, low_dim, action, tolerance_s)


def open_chosen(source: str | Path, choice: DataChoice, cache: Path) -> EpisodeDataset:
    """Open recorded data, or demonstrations of ``s2robot collect`` as data with drawn frames.

    Args:
        source: file or folder.
        choice: of demonstrations, the cameras (the task's first where none are named) and
            observations.
        cache: folder of drawn frames.

    Raises:
        MismatchError: the task's module was not named by the user.
        ValueError: there is no such camera or observation, or something of bags is chosen of
            demonstrations.
    """
    if not is_of_collect(Path(source)):
        return choice.open(source)  # with actions or without
    return open_source(
        Path(source),
        choice.cameras or None,
        choice.low_dim or None,
        None,
        cache,
        choice.action or None,
        choice.tolerance_s,
    )


def frames_of(data: EpisodeDataset, camera: str, folder: Path) -> RenderedFrames | KeptFrames:
    """Return the reader of a camera's frames: drawn ones are stored, decoded ones are kept.

    Args:
        data: as ``open_chosen`` returned it.
        camera: one of its cameras.
        folder: of drawn frames, or of decoded ones for the time of the work.
    """
    if isinstance(data, RenderedDemonstrations):
        return data.reader(camera, folder)
    return KeptFrames(RecordedFrames(data, camera), folder)


def task_of_file(path: Path) -> str | None:
    """Return the name of the task whose states an HDF5 file of ``s2robot collect`` holds.

    Args:
        path: the file.

    Returns:
        The task's name in files; None where the file is not of ``s2robot collect``, or damaged.
    """
    if not has_own_states(path):
        return None
    with contextlib.suppress(AttributeError, KeyError, OSError, TypeError, ValueError):
        with h5py.File(path, "r") as file:
            told: Any = file["data"].attrs["env_args"]
        return str(json.loads(told)["env_kwargs"]["level"])
    return None


def is_of_collect(path: Path) -> bool:
    """Return whether a path is a file of demonstrations of ``s2robot collect``.

    Args:
        path: a file or folder.

    Raises:
        ValueError: it is of no known layout.
    """
    return path.is_file() and layout_of(path) == "robomimic" and has_own_states(path)


def has_own_states(path: Path) -> bool:
    """Return whether an HDF5 file holds simulator states of ``s2robot collect``.

    Args:
        path: the file.
    """
    try:
        with h5py.File(path, "r") as file:
            data: Any = file.get("data")
            return data is not None and "s2robot" in data.attrs
    except OSError:
        return False  # the reader says what is wrong with it
