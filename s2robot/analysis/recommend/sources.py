"""From the user's words to the data of a recommendation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from s2robot.analysis.recommend.episodes import ArrayFrames, EpisodeData
from s2robot.analysis.recommend.recorded import of_task, recorded
from s2robot.data.bag_paths import bag_and_topic
from s2robot.data.collection import collect
from s2robot.data.config import GENERATED, CameraConfig, CollectConfig
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.datasets.opening import HDF5, layout_of
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.frame_sources import frame_shape, frames_from, is_recorded
from s2robot.data.rendered_demonstrations import is_of_collect, task_of_file
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.envs.levels import get_level
from s2robot.envs.tasks.names import is_foreign
from s2robot.experiments.config import CameraChoice
from s2robot.policies.dataset import default_proprio_keys, stack_proprio

TIMED_FRAMES = 16
"""Different frames that are timed, in turn."""
PICK_CUBE, STATES, TASK, RECORDED, FRAMES = "pick-cube", "states", "task", "recorded", "frames"
"""Kinds of sources: a level, demonstrations of ``s2robot collect`` of pick-cube or of another task,
recorded data, bare frames."""
_ALL = DataChoice()


def kind_of(source: str, choice: DataChoice, positions: str | None = None) -> str:
    """Return the kind of a source, without reading more of it than its first bytes.

    Args:
        source: as the user names it.
        choice: what is taken of recorded data; a bag is recorded data where something is chosen.
        positions: as for ``open_source``.

    Raises:
        FileNotFoundError: there is no such file of demonstrations.
        ValueError: something of recorded data is chosen, but the source is none.
    """
    path = Path(source)
    given = [f"--{name.replace('_', '-')}" for name in choice.given]
    given += [] if positions is None else ["--positions"]
    name = source.partition("/")[0]
    if name in GENERATED:
        kind = PICK_CUBE if name == PICK_CUBE else FRAMES
    elif path.suffix.lower() in HDF5:
        layout_of(path)  # which says what is wrong
        kind = _kind_of_file(path)
    elif bag_and_topic(source) is not None:
        kind = RECORDED if given else FRAMES
    else:
        kind = RECORDED if given or is_recorded(source, choice) else FRAMES
    if given and kind not in (RECORDED, TASK):
        raise ValueError(
            f"{given[0]} chooses from recorded data or demonstrations of another task, and "
            f"{source} is neither: its camera and observations are fixed; leave it out"
        )
    if given:
        layout_of(path)
    return kind


def _kind_of_file(path: Path) -> str:
    if not is_of_collect(path):
        return RECORDED
    return TASK if is_foreign(task_of_file(path) or "") else STATES


def open_source(
    source: str,
    data_dir: Path,
    choice: DataChoice = _ALL,
    positions: str | None = None,
) -> EpisodeData:
    """Return the data that a user names.

    Args:
        source: a file of demonstrations of ``s2robot collect`` (``.hdf5``), "pick-cube/LEVEL"
            (demonstrations of that level, collected where they are missing), recorded data as
            ``open_dataset`` takes it, or what ``frames_from`` takes: a folder of pictures, a video,
            a bag.
        data_dir: folder of demonstrations and frames.
        choice: cameras and observations of recorded data, or of demonstrations of another task than
            pick-cube.
        positions: observation of them with positions to be localized [m]; None for ``cube_pos``
            where there is one.

    Returns:
        The data; of bare frames only the first few, which are timed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the level is unknown, the file is of an unknown kind, or the data lacks what is
            chosen, has several cameras of which none is named, or too few episodes.
        CorruptFileError: a file cannot be read.
    """
    kind = kind_of(source, choice, positions)
    if kind == PICK_CUBE:
        level = source.partition("/")[2] or "easy"
        get_level(level)
        return demonstrations(collect(CollectConfig(level=level, data_dir=data_dir)), data_dir)
    if kind == STATES:
        return demonstrations(Demonstrations(source), data_dir)
    if kind == TASK:
        return of_task(Demonstrations(source), data_dir, choice, positions)
    if kind == RECORDED:
        return recorded(source, data_dir, choice, positions)
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
