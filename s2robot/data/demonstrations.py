"""Demonstrations on disk in robomimic's HDF5 layout with simulator states."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from s2robot.data.hdf5_files import open_hdf5
from s2robot.envs.controllers import EE_STEP_M, JOINT_STEP_RAD
from s2robot.envs.tasks.contract import NATIVE
from s2robot.envs.tasks.names import check_stored
from s2robot.errors import CorruptFileError, unknown
from s2robot.utils.io import atomic_path, digest_of, sha256_bytes
from s2robot.utils.provenance import change_since
from s2robot.utils.records import record_of

FORMAT = 1
ENV_TYPE_GYM = 2
"""robomimic's ``EnvType.GYM_TYPE``."""
_REMEDY = "collect it again (`s2robot collect`), or copy it again from where it was made"
_READING = (AttributeError, KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError)
"""What h5py and NumPy raise for damaged content."""
_MOTION = {"ee_delta": (3, EE_STEP_M), "joint_delta": (7, JOINT_STEP_RAD)}


@dataclass(frozen=True)
class Episode:
    """One demonstration of T steps; row t holds the moment before action t."""

    actions: np.ndarray
    """(T, A) float32: the expert's actions without noise, in [-1, 1]; the labels."""
    executed: np.ndarray
    """(T, A) float32: the executed actions, which are the labels plus noise."""
    states: np.ndarray
    """(T, S) float64: full simulator states."""
    obs: Mapping[str, np.ndarray]
    """Low-dimensional observations, each (T + 1, d) float32: before each action and at the end."""
    success: np.ndarray
    """(T,) bool: success of the task after each action."""

    def __len__(self) -> int:
        return len(self.actions)


def write_demonstrations(
    path: str | Path,
    episodes: Sequence[Episode],
    *,
    env_name: str,
    env_kwargs: Mapping[str, Any],
    model_xml: str,
    valid: Sequence[int],
    provenance: Mapping[str, Any],
) -> None:
    """Write a robomimic data set; the file appears only when it is complete.

    Args:
        path: the file to write.
        episodes: the demonstrations, one or more.
        env_name: name of the environment.
        env_kwargs: arguments that build the environment again; JSON-able.
        model_xml: MuJoCo model of the environment.
        valid: numbers of the episodes held out for validation.
        provenance: further entries of the record beside the format and the digest; JSON-able.

    Raises:
        ValueError: there are no episodes.
    """
    if not episodes:
        raise ValueError("there are no episodes to write; collect at least one")
    meta = {"format": FORMAT, "digest": digest_episodes(episodes), **provenance}
    env_args = {"env_name": env_name, "type": ENV_TYPE_GYM, "env_kwargs": dict(env_kwargs)}
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(len(episode) for episode in episodes)
        data.attrs["env_args"] = json.dumps(env_args)
        data.attrs["s2robot"] = json.dumps(meta)
        for i, episode in enumerate(episodes):
            _write_episode(data.create_group(f"demo_{i}"), episode, model_xml)
        held_out = set(valid)
        train = [i for i in range(len(episodes)) if i not in held_out]
        _write_mask(file, "train", train)
        _write_mask(file, "valid", sorted(held_out))


def _write_episode(group: h5py.Group, episode: Episode, model_xml: str) -> None:
    group.attrs["num_samples"] = len(episode)
    group.attrs["model_file"] = model_xml
    group["actions"] = episode.actions
    group["executed_actions"] = episode.executed
    group["states"] = episode.states
    group["rewards"] = episode.success.astype(np.float32)
    dones = np.zeros(len(episode), dtype=np.int64)
    dones[-1] = 1
    group["dones"] = dones
    for key, value in episode.obs.items():
        group[f"obs/{key}"] = value[:-1]
        group[f"next_obs/{key}"] = value[1:]


def _write_mask(file: h5py.File, key: str, numbers: Sequence[int]) -> None:
    file[f"mask/{key}"] = np.array([f"demo_{i}" for i in numbers], dtype="S16")


def digest_episodes(episodes: Sequence[Episode]) -> str:
    """Return the SHA-256 of labels, states and observations, which identifies a data set."""
    digest = hashlib.sha256()
    for episode in episodes:
        for array in (episode.actions, episode.states):
            digest.update(repr((array.shape, str(array.dtype))).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        for key in sorted(episode.obs):
            digest.update(key.encode() + np.ascontiguousarray(episode.obs[key]).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Meta:
    """Record of ``s2robot collect`` in the file."""

    format: int
    digest: str


@dataclass(frozen=True)
class _EnvArgs:
    """Environment in robomimic's words."""

    env_name: str
    env_kwargs: dict[str, Any]


@dataclass(frozen=True)
class _EnvKwargs:
    """Those arguments of the environment that are read here."""

    level: str
    control: str
    yaw_range_rad: float = 0.0

    def __post_init__(self) -> None:
        check_stored(self.level)
        if self.control not in (*_MOTION, NATIVE):
            raise unknown("control", self.control, (*_MOTION, NATIVE))


class Demonstrations:
    """Contents of a robomimic HDF5 file that ``s2robot collect`` wrote, checked when opened.

    Arrays hold the frames of all episodes one after another: N frames of E episodes.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: the file is truncated, altered, or holds no simulator states of this
            package's environments.

    Examples:
        >>> demos = Demonstrations("data/demos/precise.hdf5")  # doctest: +SKIP
        >>> demos.num_episodes, demos.control  # doctest: +SKIP
        (120, 'ee_delta')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder; give a file of demonstrations")
        if not self.path.exists():
            raise FileNotFoundError(
                f"no demonstrations at {self.path}; make them with "
                f"`s2robot collect out={self.path}`"
            )
        with open_hdf5(self.path) as file:
            self._read(file)
        if digest_episodes(self.episodes) != self.digest:
            raise CorruptFileError(
                f"{self.path}: its content does not have the recorded digest, so it was altered or "
                f"damaged; {_REMEDY}"
            )

    def _read(self, file: Any) -> None:
        try:
            data = file["data"]
            if "s2robot" not in data.attrs and any("obs" in data[name] for name in data):
                raise CorruptFileError(
                    f"{self.path} is of another program, not of `s2robot collect`, and has no "
                    "states of this simulator; if it has images, train on it with `s2robot train "
                    f"data={self.path}`"
                )
            meta = _json_attribute(data, "s2robot")
            if meta.get("format", FORMAT) != FORMAT:
                raise CorruptFileError(
                    f"{self.path} has format {meta['format']}; this version reads {FORMAT}"
                )
            self.meta: dict[str, Any] = meta
            self.digest: str = record_of(_Meta, meta, self.path, _REMEDY).digest
            env = record_of(_EnvArgs, _json_attribute(data, "env_args"), self.path, _REMEDY)
            self.env_name: str = env.env_name
            self.env_kwargs: dict[str, Any] = env.env_kwargs
            record_of(_EnvKwargs, env.env_kwargs, self.path, _REMEDY)
            self.episodes = [_read_episode(data, name) for name in _names(data)]
            self.train_episodes = _read_mask(file, "train", len(self.episodes))
            self.valid_episodes = _read_mask(file, "valid", len(self.episodes))
            _check_division(self.train_episodes, self.valid_episodes)
            self._join()
            if int(data.attrs.get("total", self.num_frames)) != self.num_frames:
                raise ValueError(f"total is {data.attrs['total']}, not {self.num_frames} steps")
        except CorruptFileError:
            raise
        except _READING as error:
            raise CorruptFileError(
                f"{self.path} is HDF5, but not as `s2robot collect` writes it: it is damaged, or "
                f"of another program, which has no states of this simulator ({error}); {_REMEDY}"
            ) from None

    def _join(self) -> None:
        lengths = [len(episode) for episode in self.episodes]
        self.episode_ends: np.ndarray = np.cumsum(lengths, dtype=np.int64)
        """(E,) one past each episode's last frame."""
        self.actions: np.ndarray = np.concatenate([e.actions for e in self.episodes])
        """(N, A) float32 labels."""
        self.states: np.ndarray = np.concatenate([e.states for e in self.episodes])
        """(N, S) float64 full simulator states."""

    @functools.cached_property
    def identity_digest(self) -> str:
        """SHA-256 of everything that can change a policy or its evaluation.

        Besides the content of ``digest``, which names stored frames and features, it covers the
        division into training and validation, the settings of the environment, the executed
        actions and the rewards.
        """
        arrays = [(episode.executed, episode.success) for episode in self.episodes]
        content = [
            [str(array.dtype), list(array.shape), sha256_bytes(array.tobytes())]
            for pair in arrays
            for array in pair
        ]
        masks = [self.train_episodes.tolist(), self.valid_episodes.tolist()]
        return digest_of([self.digest, self.env_name, self.env_kwargs, masks, content])

    @property
    def simulation_change(self) -> str | None:
        """What separates the MuJoCo that simulated them from the installed one; None if nothing.

        None also where the file does not name a version.
        """
        return change_since(self.meta.get("provenance"))

    @property
    def level(self) -> str:
        """Name of the level, or of another task, on which they were collected."""
        return self.env_kwargs["level"]

    @property
    def control(self) -> str:
        """Action space: ``ee_delta``, ``joint_delta`` or ``native``."""
        return self.env_kwargs["control"]

    @property
    def motion_dims(self) -> int:
        """Number of leading action entries that move the arm."""
        return _MOTION[self.control][0] if self.control in _MOTION else self.actions.shape[1]

    @property
    def motion_unit(self) -> float:
        """Size of a full step (an action entry of 1) [m for ``ee_delta``, rad for joints].

        It is 1 for ``native``, whose errors are shares of half an entry's range.
        """
        return _MOTION[self.control][1] if self.control in _MOTION else 1.0

    @property
    def num_episodes(self) -> int:
        """Number of demonstrations, E."""
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """Number of frames of all demonstrations, N."""
        return int(self.episode_ends[-1])

    def low_dim(self, key: str) -> np.ndarray:
        """Return one low-dimensional observation before every action, (N, d) float32.

        Raises:
            KeyError: there is no such observation; the message lists the available ones.
        """
        keys = sorted(self.episodes[0].obs)
        if key not in keys:
            raise KeyError(f"no observation {key!r} in {self.path}; available: {', '.join(keys)}")
        return np.concatenate([episode.obs[key][:-1] for episode in self.episodes])


def _json_attribute(data: Any, name: str) -> dict[str, Any]:
    value = data.attrs[name]
    found = json.loads(value) if isinstance(value, (str, bytes)) else value
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds no named entries")
    return found


def _names(data: Any) -> list[str]:
    """Return the names of the episodes in order; they are numbered without gaps."""
    names = [f"demo_{number}" for number in range(len(data))]
    if set(data) != set(names) or not names:
        raise ValueError(f"episodes {sorted(data)[:8]} instead of demo_0, demo_1, ...")
    return names


def _read_episode(data: Any, name: str) -> Episode:
    group = data[name]
    obs, following, rewards = group["obs"], group["next_obs"], group["rewards"][:]
    for key in obs:
        if obs[key].shape != following[key].shape:
            raise ValueError(f"{name}: obs/{key} and next_obs/{key} have different shapes")
    episode = Episode(
        actions=group["actions"][:],
        executed=group["executed_actions"][:],
        states=group["states"][:],
        obs={key: np.concatenate([obs[key][:], following[key][-1:]]) for key in obs},
        success=rewards > 0,
    )
    _check_episode(name, episode, int(group.attrs.get("num_samples", len(episode))))
    if not np.isfinite(rewards).all():
        raise ValueError(f"{name}/rewards has NaN or infinities")
    return episode


def _check_episode(name: str, episode: Episode, steps: int) -> None:
    arrays = {
        "actions": (episode.actions, steps),
        "executed_actions": (episode.executed, steps),
        "states": (episode.states, steps),
        **{f"obs/{key}": (value, steps + 1) for key, value in episode.obs.items()},
    }
    for key, (array, rows) in arrays.items():
        if array.ndim != 2 or len(array) != rows or array.dtype.kind not in "fiu" or not rows:
            raise ValueError(
                f"{name}/{key} is {array.dtype} {array.shape} instead of {rows} rows of numbers"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name}/{key} has NaN or infinities")
    if episode.executed.shape != episode.actions.shape or episode.success.shape != (steps,):
        raise ValueError(f"{name} has executed_actions or rewards of other lengths than actions")


def _read_mask(file: Any, key: str, episodes: int) -> np.ndarray:
    names = [name.decode() for name in np.asarray(file[f"mask/{key}"][:], dtype="S")]
    allowed = {f"demo_{number}": number for number in range(episodes)}
    unknown_names = [name for name in names if name not in allowed]
    if unknown_names:
        raise ValueError(f"mask/{key} names {unknown_names[0]!r}, which is no episode")
    return np.array([allowed[name] for name in names], dtype=np.int64)


def _check_division(train: np.ndarray, valid: np.ndarray) -> None:
    """Check that some episodes are for training, and that each has one use."""
    both = np.concatenate([train, valid])
    if not len(train) or len(np.unique(both)) < len(both):
        raise ValueError("mask/train is empty, or the masks name an episode twice")
