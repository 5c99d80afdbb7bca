"""robomimic's HDF5 files with images, such as those of ``dataset_states_to_obs.py`` and LIBERO.

Read are ``data/EPISODE/actions`` and ``data/EPISODE/obs/KEY``. Entries of ``obs`` that are uint8
(T, H, W, 3) are cameras, numbers (T,) and (T, d) are low-dimensional observations; others are left
out, with a warning where they look like images. ``next_obs``, ``states``, ``rewards`` and
``model_file`` are not needed. ``mask/NAME`` are divisions.

Frames are taken as they are stored: robomimic turns the pictures of robosuite upright before it
writes them. Only where the file itself says that they are bottom-up (LIBERO's attribute
``macros_image_convention`` is "opengl") are the rows reversed.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.contract import (
    CAMERA,
    OTHER_CAMERAS,
    OTHER_OBSERVATIONS,
    by_number,
    checked_rows,
    choose,
    is_like_images,
    no_camera,
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
        names = self._find_episodes(data)
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

    def _find_episodes(self, data: Any) -> list[str]:
        """Return the names of the episodes; one that lacks what the others have is refused."""
        names = sorted((name for name in data if hasattr(data[name], "keys")), key=by_number)
        acting = [name for name in names if "actions" in data[name]]
        if not acting and (self._need_actions or not any("obs" in data[name] for name in names)):
            raise CorruptFileError(
                f"{self.source} has no episodes: none of {sorted(data)[:5]} in its group 'data' "
                "has actions"
            )
        wanted = "actions" if self._need_actions else "obs"
        lacking = [name for name in names if wanted not in data[name]]
        if lacking and (self._need_actions or acting != names):
            raise CorruptFileError(
                f"{self.source}: data/{lacking[0]} has no {wanted} ({len(lacking)} of {len(names)} "
                f"episodes); write data/{lacking[0]}/{wanted}, or leave that episode out: with "
                f"h5py, del file['data/{lacking[0]}']"
            )
        self._has_actions = acting == names
        if acting and not self._has_actions:
            _warn_of_actions(self.source, next(name for name in names if name not in acting))
        return names

    def _read_actions(self) -> None:
        parts: list[np.ndarray] = []
        for name, group in zip(self._names, self._episodes, strict=True):
            entries = parts[0].shape[1] if parts else None
            where = f"{self.source}: {name}/{'actions' if self._has_actions else 'obs'}"
            stored = group["actions"][:] if self._has_actions else _no_actions(group)
            told = int(group.attrs.get("num_samples", len(stored)))
            if told != len(stored):
                raise CorruptFileError(
                    f"{where} has {len(stored)} rows; the attribute num_samples of {name} says "
                    f"{told}; write the rows that are missing, correct num_samples, or leave that "
                    f"episode out: with h5py, del file[{name!r}]"
                )
            parts.append(checked_rows(where, stored, entries=entries))
            if not told:
                raise CorruptFileError(f"{where} has no rows; leave that episode out")
        self.actions = np.concatenate(parts)
        self.action_names = unnamed("a", self.actions.shape[1])
        self.episode_ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def _read_observations(
        self, cameras: Sequence[str] | None, low_dim: Sequence[str] | None
    ) -> None:
        first = self._observed()
        pictures = {key: value.shape[1:3] for key, value in first.items() if _is_video(value)}
        tables = [key for key, value in first.items() if _is_table(value)]
        if cameras is None:
            self._warn_of_images({key: first[key] for key in first if key not in pictures})
        else:
            cameras = [key if key in pictures else _full_name(key, first) for key in cameras]
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

    def _observed(self) -> dict[str, Any]:
        """Return the arrays of each observation in the first episode that has it."""
        found: dict[str, Any] = {}
        for group in self._episodes:
            obs = group["obs"] if "obs" in group else {}
            found.update({key: obs[key] for key in obs if key not in found})
        return found

    def _warn_of_images(self, others: Mapping[str, Any]) -> None:
        """Warn of images that are no cameras because of their type or layout."""
        for key, value in others.items():
            if is_like_images(key, getattr(value, "shape", ())[1:]):
                warnings.warn(f"left out: {_no_video(self.source, key, value)}", stacklevel=2)

    def _stored(self, key: str, episode: int, remedy: str) -> tuple[str, Any]:
        """Return where an observation of an episode lies, for messages, and the stored array."""
        group, where = self._episodes[episode], f"{self._names[episode]}/obs/{key}"
        if "obs" not in group or key not in group["obs"]:
            raise CorruptFileError(
                f"{self.source}: {where} is missing; other episodes have it; {remedy}"
            )
        return f"{self.source}: {where}", group["obs"][key]

    def _table(self, key: str) -> np.ndarray:
        parts: list[np.ndarray] = []
        for number in range(len(self._episodes)):
            where, stored = self._stored(key, number, OTHER_OBSERVATIONS)
            entries = parts[0].shape[1] if parts else None
            rows = self._length(number)
            parts.append(checked_rows(where, stored[:], rows, entries, OTHER_OBSERVATIONS))
        return np.concatenate(parts)

    def _video(self, key: str, episode: int) -> Any:
        """Return the stored frames of an episode, checked but not read."""
        where, found = self._stored(key, episode, OTHER_CAMERAS)
        shape = (self._length(episode), *self.cameras[key], 3)
        if found.shape != shape or found.dtype != np.uint8:
            raise CorruptFileError(
                f"{where} is {found.dtype} {found.shape}; it must be uint8 {shape}, as many frames "
                f"as actions and the size of the first episode's; {OTHER_CAMERAS}"
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
            if str(error).startswith(("unknown ", "camera ", "observation ", self.source)):
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


def _full_name(key: str, there: Mapping[str, Any]) -> str:
    return f"{key}{_IMAGE}" if f"{key}{_IMAGE}" in there else key


def _no_video(source: str, key: str, value: Any) -> str:
    if not hasattr(value, "shape"):
        return f"{source}: obs/{key} is a group and no array; {CAMERA}"
    return no_camera(f"{source}: obs/{key}", value.dtype, value.shape)


def _warn_of_actions(source: str, episode: str) -> None:
    warnings.warn(
        f"{source}: {episode} has no actions, so those of the other episodes are not used either; "
        f"write data/{episode}/actions, or leave that episode out",
        stacklevel=2,
    )


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
