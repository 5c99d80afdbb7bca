"""From the user's words to the data of a recommendation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from s2robot.analysis.recommend.episodes import ArrayFrames, EpisodeData
from s2robot.data.collection import collect
from s2robot.data.config import CameraConfig, CollectConfig
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.frame_sources import frame_shape, frames_from
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.envs.levels import get_level
from s2robot.experiments.config import CameraChoice
from s2robot.policies.dataset import default_proprio_keys, stack_proprio

TIMED_FRAMES = 16
"""Different frames that are timed, in turn."""
DEMONSTRATIONS = (".hdf5", ".h5")
"""Endings of files of demonstrations."""


def open_source(source: str, data_dir: Path) -> EpisodeData:
    """Return the data that a user names.

    Args:
        source: a file of demonstrations (``.hdf5``), "pick-cube/LEVEL" (demonstrations of that
            level, collected where they are missing), or what ``frames_from`` takes: a folder of
            pictures, a video, a bag.
        data_dir: folder of demonstrations and frames.

    Returns:
        The data; of bare frames only the first few, which are timed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the level is unknown, or the file is of an unknown kind.
        CorruptFileError: a file cannot be read.
    """
    task, _, level = source.partition("/")
    if task == "pick-cube":
        get_level(level or "easy")
        demos = collect(CollectConfig(level=level or "easy", data_dir=data_dir))
        return demonstrations(demos, data_dir)
    if Path(source).suffix.lower() in DEMONSTRATIONS:
        return demonstrations(Demonstrations(source), data_dir)
    found = frames_from(source, *frame_shape(source), TIMED_FRAMES)
    return EpisodeData(
        source, ArrayFrames(found), hashlib.sha256(np.ascontiguousarray(found).data).hexdigest()
    )


def demonstrations(demos: Demonstrations, data_dir: Path) -> EpisodeData:
    """Return the data of pick-cube's demonstrations, as the level's own camera sees them.

    Args:
        demos: the demonstrations.
        data_dir: folder of frames.
    """
    yaw = float(demos.env_kwargs.get("yaw_range_rad", 0.0)) > 0
    keys = default_proprio_keys(demos.control, yaw)
    camera = CameraConfig(get_level(demos.level).camera, CameraChoice().size)
    lengths = np.diff(demos.episode_ends, prepend=0)
    return EpisodeData(
        str(demos.path),
        RenderedFrames(demos, camera, data_dir / "frames"),
        demos.digest,
        np.repeat(np.arange(len(lengths)), lengths),
        demos.actions,
        stack_proprio({key: demos.low_dim(key) for key in keys}, keys),
        demos.low_dim("cube_pos")[:, :2].astype(float),
        str(demos.path),
    )
