"""Writer of robomimic HDF5 files with images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from s2robot.data.datasets.contract import EpisodeDataset, Simulated
from s2robot.data.demonstrations import ENV_TYPE_GYM
from s2robot.utils.io import atomic_path
from s2robot.utils.progress import progress_bar

NO_ENVIRONMENT = "recorded-"
"""Beginning of ``env_name`` in files of recordings, which have no environment."""
_IMAGE = "_image"


def write_robomimic(data: EpisodeDataset, path: Path) -> None:
    """Write a data set as a robomimic file; it appears only when it is complete.

    Frames are ``obs/CAMERA_image``. ``env_args`` name the task's environment, which robomimic makes
    after ``import s2robot.plugins.robomimic``; of recordings they say that there is none. Of
    demonstrations and rollouts of this package, rewards are 1 where the task was solved after the
    action, the attribute ``success`` of an episode says whether it ever was, and states are there
    where they are full ones. Recordings of others have none of it: their rewards are 0. The last
    step of each episode is done.

    Args:
        data: the demonstrations.
        path: the file.
    """
    ends = data.episode_ends
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w") as file,
        progress_bar(f"writing {path.name}", len(ends)) as bar,
    ):
        group = file.create_group("data")
        group.attrs["total"] = int(ends[-1])
        group.attrs["env_args"] = json.dumps(_env_args(data))
        if data.task:
            group.attrs["problem_info"] = json.dumps({"language_instruction": data.task})
        told = {"digest": data.digest, "rate_hz": data.rate_hz}
        group.attrs["s2robot_export"] = json.dumps(told)
        for number in range(len(ends)):
            _write_episode(group.create_group(f"demo_{number}"), data, number)
            bar.advance()
        for name, episodes in data.masks.items():
            names = [f"demo_{number}" for number in episodes]
            file[f"mask/{name}"] = np.array(names, dtype="S16")


def _env_args(data: EpisodeDataset) -> dict[str, Any]:
    if isinstance(data, Simulated):
        sizes = list(data.cameras.values())
        drawn = {
            "camera_names": list(data.cameras),
            "camera_heights": _one_or_each([height for height, _ in sizes]),
            "camera_widths": _one_or_each([width for _, width in sizes]),
        }
        own = {"own_actions": True} if data.own_actions else {}
        kwargs = {**data.env_kwargs, **drawn, **own}
        return {"env_name": data.env_name, "type": ENV_TYPE_GYM, "env_kwargs": kwargs}
    rate = {} if data.rate_hz is None else {"control_freq": data.rate_hz}
    name = f"{NO_ENVIRONMENT}{Path(data.source).stem}"
    return {"env_name": name, "type": ENV_TYPE_GYM, "env_kwargs": rate}


def _one_or_each(sizes: list[int]) -> int | list[int]:
    """Return the one size of all cameras, as robosuite has it, or the size of each."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _image_keys(data: EpisodeDataset) -> dict[str, str]:
    """Return the names of images in the file by the keys of their cameras.

    Those of a task keep its names, by which its environment draws them; those of a recording lose
    what LeRobot puts before them.
    """
    whole = {camera: _plain(camera).removesuffix(_IMAGE) + _IMAGE for camera in data.cameras}
    short = {camera: name.rsplit(".", 1)[-1] for camera, name in whole.items()}
    alike = len(set(short.values())) < len(short)
    return whole if alike or isinstance(data, Simulated) else short


def _write_episode(group: Any, data: EpisodeDataset, number: int) -> None:
    stop = int(data.episode_ends[number])
    start = int(data.episode_ends[number - 1]) if number else 0
    steps = stop - start
    group.attrs["num_samples"] = steps
    group["actions"] = data.actions[start:stop]
    rewards, dones = np.zeros(steps, np.float32), np.zeros(steps, np.int64)
    dones[-1] = 1
    if isinstance(data, Simulated):
        rewards, states = data.success_of(number).astype(np.float32), data.states_of(number)
        group.attrs["success"] = bool(rewards.any())
        if states is not None:
            group["states"] = states
    group["rewards"], group["dones"] = rewards, dones
    for key in data.low_dim_names:
        group[f"obs/{_plain(key)}"] = data.low_dim(key)[start:stop]
    names = _image_keys(data)
    for key, (height, width) in data.cameras.items():
        name = names[key]
        stored = group.create_dataset(
            f"obs/{name}",
            (steps, height, width, 3),
            np.uint8,
            chunks=(1, height, width, 3),
            compression="gzip",
            compression_opts=1,
        )
        for row, frame in enumerate(data.frames(key, number)):
            stored[row] = frame


def _plain(key: str) -> str:
    """Return a key without the separators of ROS topics, which in HDF5 are those of groups."""
    return key.strip("/").replace("/", "_").replace(":", "_")
