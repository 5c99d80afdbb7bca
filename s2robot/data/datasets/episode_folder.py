"""A folder of episodes: a table and the frames of each camera, in plain files.

::

    DATASET/
      dataset.json          may be missing: rate_hz, task, action_names, masks
      EPISODE/              one folder an episode, in the order of the numbers in their names
        table.csv           or table.jsonl or table.npz: a row for each frame
        CAMERA.mp4          a video, or a folder CAMERA/ of pictures

Columns of a CSV are ``action.NAME``, ``KEY.NAME`` or ``KEY``; lines of JSON are objects whose
values are numbers, lists or objects of numbers; arrays of an npz are ``action`` and KEY, (T, d).
``time_s`` [s] is no observation: it tells the control rate.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from s2robot.data.datasets.contract import (
    LIKE_OTHERS,
    OTHER_CAMERAS,
    OTHER_OBSERVATIONS,
    EpisodeDataset,
    by_number,
    check_times,
    checked_rows,
    choose,
)
from s2robot.data.datasets.episode_tables import (
    ACTION,
    REMEDY,
    TIME,
    Table,
    read_table,
    tables_in,
    without_actions,
)
from s2robot.data.datasets.opening import TABLES
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import PICTURES, read_picture
from s2robot.preprocessing.video_files import VIDEOS, read_video
from s2robot.utils.io import sha256_file
from s2robot.utils.records import read_record

DESCRIPTION = "dataset.json"


@dataclass(frozen=True)
class Description:
    """Content of ``dataset.json``."""

    rate_hz: float | None = None
    """Control steps per second."""
    task: str | None = None
    """What the demonstrations do, in a sentence."""
    action_names: list[str] = field(default_factory=list)
    """Names of the entries of an action, where the tables have none."""
    masks: dict[str, list[str]] = field(default_factory=dict)
    """Names of episodes by the name of the division: ``train``, ``valid``."""

    def __post_init__(self) -> None:
        if self.rate_hz is not None and self.rate_hz <= 0:
            raise ValueError(f"rate_hz is {self.rate_hz}; it must be positive")


def open_episode_folder(
    path: Path,
    cameras: Sequence[str] | None,
    low_dim: Sequence[str] | None,
    need_actions: bool = True,
) -> EpisodeDataset:
    """Open a folder of episodes; see ``opening.open_dataset``.

    Args:
        path: the folder.
        cameras: names of videos without their endings, or of folders of pictures; None for all.
        low_dim: keys of the tables; None for all.
        need_actions: whether tables without actions are refused.
    """
    return EpisodeFolder(path, cameras, low_dim, need_actions)


class EpisodeFolder:
    """A folder of episodes; see ``EpisodeDataset``.

    Args:
        path: the folder.
        cameras: as for ``open_episode_folder``.
        low_dim: as for ``open_episode_folder``.
        need_actions: as for ``open_episode_folder``.

    Raises:
        CorruptFileError: a table or a camera is missing in an episode, or does not fit the others.
        ValueError: there is no such camera or observation.
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
        self._folders = _episodes_in(path)
        there = path / DESCRIPTION
        told = read_record(Description, there, REMEDY) if there.is_file() else Description()
        self.task = told.task
        self.digest = _digest(path, self._folders)
        self._read_tables(told, low_dim)
        self._find_cameras(cameras)
        self.masks: Mapping[str, np.ndarray] = {
            name: self._numbers(name, wanted) for name, wanted in told.masks.items()
        }

    def _read_tables(self, told: Description, low_dim: Sequence[str] | None) -> None:
        tables = [read_table(folder, self._need_actions) for folder in self._folders]
        if not self._need_actions:
            tables = without_actions(self._folders, tables)
        first = {key: value for table in reversed(tables) for key, value in table.items()}
        keys = choose("observation", low_dim, first.keys() - {ACTION, TIME}, self.source)
        timed = (TIME,) if TIME in first else ()
        for folder, table in zip(self._folders, tables, strict=True):
            _check_like(folder, table, {key: first[key] for key in (ACTION, *timed, *keys)})
        lengths = [len(table[ACTION][1]) for table in tables]
        self.episode_ends = np.cumsum(lengths, dtype=np.int64)
        self.actions = self._joined(tables, ACTION)
        self.action_names = _names(self.source, told, first[ACTION][0])
        for folder, table in zip(self._folders, tables, strict=True) if timed else ():
            _check_times(folder, table)
        self.rate_hz = told.rate_hz or _rate(tables)
        self._low_dim = {key: self._joined(tables, key) for key in keys}
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {key: first[key][0] for key in keys}

    def _joined(self, tables: Sequence[Table], key: str) -> np.ndarray:
        parts = []
        for folder, table in zip(self._folders, tables, strict=True):
            where = f"{folder}: {key} of its table"
            rows, entries = len(table[ACTION][1]), tables[0][key][1].shape[1]
            remedy = LIKE_OTHERS if key == ACTION else OTHER_OBSERVATIONS
            parts.append(checked_rows(where, table[key][1], rows, entries, remedy))
        return np.concatenate(parts)

    def _find_cameras(self, cameras: Sequence[str] | None) -> None:
        found = [_videos_of(folder) for folder in self._folders]
        wanted = choose("camera", cameras, {name for own in found for name in own}, self.source)
        self._videos = found
        for number, folder in enumerate(self._folders):
            for camera in wanted:
                if camera not in found[number]:
                    raise CorruptFileError(
                        f"{folder} has no camera {camera!r}, which other episodes have; give "
                        f"{camera}.mp4 or a folder {camera} of pictures, or leave the episode out, "
                        "or name the cameras to use by cameras="
                    )
                found[number][camera].check_count(self._length(number))
        self.cameras: Mapping[str, tuple[int, int]] = {
            camera: self._size(camera) for camera in wanted
        }

    def _size(self, camera: str) -> tuple[int, int]:
        for frame in self._videos[0][camera].frames():
            return frame.shape[0], frame.shape[1]
        raise CorruptFileError(f"{self._videos[0][camera].path} has no frames; {REMEDY}")

    def _length(self, episode: int) -> int:
        start = int(self.episode_ends[episode - 1]) if episode else 0
        return int(self.episode_ends[episode]) - start

    def _numbers(self, mask: str, wanted: Sequence[str]) -> np.ndarray:
        numbers = {folder.name: number for number, folder in enumerate(self._folders)}
        for name in wanted:
            if name not in numbers:
                raise CorruptFileError(
                    f"{self.source}: the mask {mask} in {DESCRIPTION} names {name!r}, which is no "
                    f"episode; there are {', '.join([*numbers][:5])}"
                )
        return np.array([numbers[name] for name in wanted], dtype=np.int64)

    @property
    def episode_names(self) -> tuple[str, ...]:
        """Names of the episodes' folders, in order."""
        return tuple(folder.name for folder in self._folders)

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._low_dim, self.source)
        return self._low_dim[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of an episode, upright and in order."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        video, size, count = self._videos[episode][camera], self.cameras[camera], 0
        for frame in video.frames():
            count += 1
            if frame.shape[:2] != size:
                raise CorruptFileError(
                    f"{video.path} has frames of {frame.shape[0]} x {frame.shape[1]} px, those of "
                    f"the first episode have {size[0]} x {size[1]}; all need one size: "
                    f"{OTHER_CAMERAS}"
                )
            yield frame
        video.check_count(self._length(episode), count)

    def close(self) -> None:
        """Close nothing: files are open only while they are read."""


@dataclass(frozen=True)
class _Video:
    """Frames of a camera in an episode: a video, or a folder of pictures."""

    path: Path
    pictures: tuple[Path, ...] | None

    def frames(self) -> Iterator[np.ndarray]:
        if self.pictures is None:
            return read_video(self.path)
        return map(read_picture, self.pictures)

    def check_count(self, rows: int, count: int | None = None) -> None:
        """Raise an error unless there are as many frames as rows; videos are counted by reading."""
        if count is None and self.pictures is not None:
            count = len(self.pictures)
        if count is not None and count != rows:
            raise CorruptFileError(
                f"{self.path} has {count} frames, but the table of its episode has {rows} rows; "
                "each row needs the frame that was seen before its action"
            )


def _episodes_in(path: Path) -> list[Path]:
    """Return the folders of the episodes in order; one without a table is refused.

    A folder counts as an episode where it has a table, frames, or a name like the others'.
    """
    shown = [each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")]
    shown.sort(key=lambda each: by_number(each.name))
    found = [each for each in shown if tables_in(each)]
    names = {re.sub(r"\d+", "0", each.name) for each in found}
    for each in shown:
        if each in found:
            continue
        if re.sub(r"\d+", "0", each.name) in names or _videos_of(each):
            inside = ", ".join(sorted(file.name for file in each.iterdir())[:5]) or "nothing"
            raise CorruptFileError(
                f"{each} has no table (it holds {inside}); an episode needs {' or '.join(TABLES)}. "
                f"Copy its table there, or move that folder out of {path}"
            )
    return found


def _videos_of(folder: Path) -> dict[str, _Video]:
    """Return the cameras of an episode by name."""
    found: dict[str, _Video] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        pictures = None
        if path.is_dir():
            files = [each for each in path.iterdir() if each.suffix.lower() in PICTURES]
            shown = [each for each in files if not each.name.startswith(".")]
            pictures = tuple(sorted(shown, key=lambda each: by_number(each.name)))
            if not pictures:
                continue
        elif path.suffix.lower() not in VIDEOS:
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise CorruptFileError(
                f"{folder} has two of the camera {name!r}: {found[name].path.name} and {path.name};"
                " leave one"
            )
        found[name] = _Video(path, pictures)
    return found


def _check_like(folder: Path, table: Table, first: Table) -> None:
    """Raise an error where a table lacks columns, or has them in another order than the first."""
    for key, (names, _) in first.items():
        if key not in table:
            remedy = LIKE_OTHERS if key in (ACTION, TIME) else OTHER_OBSERVATIONS
            raise CorruptFileError(
                f"{folder}: its table has no {key}, which other episodes have; {remedy}"
            )
        own = table[key][0]
        if own != names:
            raise CorruptFileError(
                f"{folder}: {key} has the entries {', '.join(own)} instead of {', '.join(names)}, "
                "as in the first episode; all episodes need the same in the same order"
            )


def _check_times(folder: Path, table: Table) -> None:
    """Refuse times that are not those of a recording: the control rate comes from them."""
    where, (_, values) = f"{folder}: {TIME} of its table", table[TIME]
    remedy = f"correct it, or leave {TIME} out and give rate_hz in {DESCRIPTION}"
    if len(values) != len(table[ACTION][1]):
        raise CorruptFileError(
            f"{where} has {len(values)} rows; the episode has {len(table[ACTION][1])} actions; "
            f"{remedy}"
        )
    check_times(where, values[:, 0].astype(np.float64), remedy)


def _names(source: str, told: Description, names: tuple[str, ...]) -> tuple[str, ...]:
    if not told.action_names:
        return names
    if len(told.action_names) != len(names):
        raise CorruptFileError(
            f"{source}: {DESCRIPTION} names {len(told.action_names)} entries of an action, the "
            f"tables have {len(names)}"
        )
    return tuple(told.action_names)


def _rate(tables: Sequence[Table]) -> float | None:
    """Return the control rate [Hz] from the times in the tables; None without any."""
    steps = [np.diff(table[TIME][1][:, 0]) for table in tables if TIME in table]
    joined = np.concatenate(steps) if steps else np.zeros(0)
    middle = float(np.median(joined)) if len(joined) else 0.0
    return 1 / middle if middle > 0 else None


def _digest(path: Path, folders: Sequence[Path]) -> str:
    """Return the SHA-256 of the names and contents of all files that are read."""
    sha = hashlib.sha256()
    files = [path / DESCRIPTION] if (path / DESCRIPTION).is_file() else []
    for folder in folders:
        videos = _videos_of(folder).values()
        files += [*tables_in(folder), *(f for v in videos for f in v.pictures or (v.path,))]
    for file in files:
        name = file.relative_to(path).as_posix()
        sha.update(f"{name}\0{sha256_file(file)}\n".encode())
    return sha.hexdigest()
