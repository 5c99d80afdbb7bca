"""robomimic's HDF5 files with images, such as those of ``dataset_states_to_obs.py`` and LIBERO.

Read are ``data/EPISODE/actions`` and ``data/EPISODE/obs/KEY``. Entries of ``obs`` that are uint8
(T, H, W, 3) are cameras, numbers (T,) and (T, d) are low-dimensional observations; others are left
out. ``next_obs``, ``states``, ``rewards`` and ``model_file`` are not needed. ``mask/NAME`` are
divisions.

Frames are taken as they are stored: robomimic turns the pictures of robosuite upright before it
writes them. Only where the file itself says that they are bottom-up (LIBERO's attribute
``macros_image_convention`` is "opengl") are the rows reversed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.contract import (
    by_number,
    checked_rows,
    choose,
    unnamed,
)
from s2robot.data.hdf5_files import open_hdf5
from s2robot.errors import CorruptFileError
from s2robot.utils.io import sha256_file

_READING = (AttributeError, KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError)
"""What h5py and NumPy raise for damaged content."""
_IMAGE = "_image"


def open_robomimic(
    path: Path,
    cameras: Sequence[str] | None,
    low_dim: Sequence[str] | None,
    need_actions: bool = True,
) -> RobomimicFile:
    """Open a robomimic file; see ``opening.open_dataset``.

    Args:
        path: the file.
        cameras: keys of ``obs`` with images, "_image" at their ends may be left out; None for all.
        low_dim: keys of ``obs`` with numbers; None for all.
        need_actions: whether a file without actions is refused.
    """
    return RobomimicFile(path, cameras, low_dim, need_actions)


class RobomimicFile:
    """A robomimic file with images; see ``EpisodeDataset``.

    Args:
        path: the file.
        cameras: as for ``open_robomimic``.
        low_dim: as for ``open_robomimic``.
        need_actions: as for ``open_robomimic``.

    Raises:
        CorruptFileError: it is no HDF5 file, open for writing elsewhere, or damaged.
        ValueError: it has no such camera or observation.
    """

    def __init__(
        self,
        path: Path,
        cameras: Sequence[str] | None,
        low_dim: Sequence[str] | None,
        need_actions: bool = True,
    ) -> None:
        self.source = str(path)
        self._need_actions = need_actions
        self.digest = sha256_file(path)
        self._file: Any = open_hdf5(path)
        try:
            with self._naming_damage():
                self._read(cameras, low_dim)
        except BaseException:
            self._file.close()
            raise

    def _read(self, cameras: Sequence[str] | None, low_dim: Sequence[str] | None) -> None:
        data = self._file["data"]
        acting = [name for name in data if "actions" in data[name]]
        seen = [] if self._need_actions else [name for name in data if "obs" in data[name]]
        names = sorted(acting or seen, key=by_number)
        if not names:
            raise CorruptFileError(
                f"{self.source} has no episodes: none of {sorted(data)[:5]} in its group 'data' "
                "has actions"
            )
        self._episodes: list[Any] = [data[name] for name in names]
        self._names = [f"data/{name}" for name in names]
        self._read_actions()
        self._read_observations(cameras, low_dim)
        self.masks: Mapping[str, np.ndarray] = self._read_masks(names)
        attributes = {key: _plain(data.attrs[key]) for key in data.attrs}
        kwargs = _mapping(_mapping(attributes.get("env_args")).get("env_kwargs"))
        told = _mapping(attributes.get("s2robot_export"))
        rate = kwargs.get("control_freq", told.get("rate_hz"))
        self.rate_hz = float(rate) if isinstance(rate, (int, float)) and rate > 0 else None
        words = _mapping(attributes.get("problem_info")).get("language_instruction")
        self.task = " ".join(words.split()) if isinstance(words, str) else None
        self.bottom_up: bool = attributes.get("macros_image_convention") == "opengl"
        """Whether the file says that its pictures are stored bottom-up, so rows are reversed."""

    def _read_actions(self) -> None:
        parts: list[np.ndarray] = []
        for name, group in zip(self._names, self._episodes, strict=True):
            entries = parts[0].shape[1] if parts else None
            where = f"{self.source}: {name}/actions"
            stored = group["actions"][:] if "actions" in group else _no_actions(group)
            steps = int(group.attrs.get("num_samples", len(stored)))
            parts.append(checked_rows(where, stored, steps, entries))
            if not steps:
                raise CorruptFileError(f"{where} has no rows; leave that episode out")
        self.actions = np.concatenate(parts)
        self.action_names = unnamed("a", self.actions.shape[1])
        self.episode_ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def _read_observations(
        self, cameras: Sequence[str] | None, low_dim: Sequence[str] | None
    ) -> None:
        first: Any = self._episodes[0]["obs"] if "obs" in self._episodes[0] else {}
        pictures = {key: value.shape[1:3] for key, value in first.items() if _is_video(value)}
        tables = [key for key, value in first.items() if _is_table(value)]
        if cameras is not None:
            cameras = [key if key in pictures else _full_name(key, pictures) for key in cameras]
            for key in cameras:
                if key in first and key not in pictures:
                    raise ValueError(_no_video(self.source, key, first[key]))
        wanted = choose("camera", cameras, pictures, self.source)
        self.cameras: Mapping[str, tuple[int, int]] = {
            key: (int(pictures[key][0]), int(pictures[key][1])) for key in wanted
        }
        self._low_dim = {
            key: self._table(key) for key in choose("observation", low_dim, tables, self.source)
        }
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {
            key: unnamed(f"{key}_", value.shape[1]) for key, value in self._low_dim.items()
        }
        for key in self.cameras:
            for number in range(len(self._episodes)):
                self._video(key, number)

    def _table(self, key: str) -> np.ndarray:
        parts: list[np.ndarray] = []
        for number, group in enumerate(self._episodes):
            where = f"{self.source}: {self._names[number]}/obs/{key}"
            if key not in group["obs"]:
                raise CorruptFileError(f"{where} is missing; other episodes have it")
            entries = parts[0].shape[1] if parts else None
            rows = self._length(number)
            parts.append(checked_rows(where, group["obs"][key][:], rows, entries))
        return np.concatenate(parts)

    def _video(self, key: str, episode: int) -> Any:
        """Return the stored frames of an episode, checked but not read."""
        group, rows = self._episodes[episode], self._length(episode)
        where = f"{self.source}: {self._names[episode]}/obs/{key}"
        if key not in group["obs"]:
            raise CorruptFileError(f"{where} is missing; other episodes have it")
        found, shape = group["obs"][key], (rows, *self.cameras[key], 3)
        if found.shape != shape or found.dtype != np.uint8:
            raise CorruptFileError(
                f"{where} is {found.dtype} {found.shape}; it must be uint8 {shape}, as many frames "
                "as actions and the size of the first episode's"
            )
        return found

    def _length(self, episode: int) -> int:
        start = int(self.episode_ends[episode - 1]) if episode else 0
        return int(self.episode_ends[episode]) - start

    def _read_masks(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        numbers = {name: number for number, name in enumerate(names)}
        found = {}
        for mask in self._file["mask"] if "mask" in self._file else ():
            wanted = [_text(name) for name in self._file["mask"][mask][:]]
            unknown = [name for name in wanted if name not in numbers]
            if unknown:
                raise CorruptFileError(
                    f"{self.source}: mask/{mask} names {unknown[0]!r}, which is no episode; the "
                    f"episodes are {names[0]} to {names[-1]}"
                )
            found[mask] = np.array([numbers[name] for name in wanted], dtype=np.int64)
        return found

    @property
    def episode_names(self) -> tuple[str, ...]:
        """Paths of the episodes in the file, in order."""
        return tuple(self._names)

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._low_dim, self.source)
        return self._low_dim[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of an episode, upright and in order."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        stored = self._video(camera, episode)
        step = (stored.chunks or (1,))[0]
        for start in range(0, len(stored), step):
            with self._naming_damage():
                block = stored[start : start + step]
            yield from (np.ascontiguousarray(block[:, ::-1]) if self.bottom_up else block)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Turn the errors of h5py for damaged content into one that names the file."""
        try:
            yield
        except CorruptFileError:
            raise
        except ValueError as error:
            if str(error).startswith(("unknown ", self.source)):
                raise
            raise self._damaged(error) from None
        except _READING as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> CorruptFileError:
        text = str(error.args[0] if error.args else error).splitlines()[0]
        return CorruptFileError(
            f"{self.source} is HDF5, but not robomimic's layout, or damaged ({text}); expected: "
            "data/EPISODE/actions and data/EPISODE/obs/KEY. If it was copied, copy it again"
        )


def _no_actions(group: Any) -> np.ndarray:
    """Return (T, 0) of an episode that has observations alone."""
    return np.zeros((len(next(iter(group["obs"].values()), ())), 0), np.float32)


def _is_video(value: Any) -> bool:
    shape = getattr(value, "shape", ())
    return len(shape) == 4 and shape[-1] == 3 and value.dtype == np.uint8


def _is_table(value: Any) -> bool:
    shape = getattr(value, "shape", ())
    return len(shape) in (1, 2) and value.dtype.kind in "fiub"


def _full_name(key: str, pictures: Mapping[str, Any]) -> str:
    return f"{key}{_IMAGE}" if f"{key}{_IMAGE}" in pictures else key


def _no_video(source: str, key: str, value: Any) -> str:
    shape = getattr(value, "shape", "no array")
    kind = getattr(value, "dtype", "a group")
    return f"{source}: obs/{key} is {kind} {shape}; a camera is uint8 (T, H, W, 3), RGB"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """Return an attribute; the content of one that is JSON."""
    text = _text(value) if isinstance(value, (str, bytes)) else value
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return json.loads(text)
    return text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
