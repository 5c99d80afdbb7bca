"""LeRobot v3 folders: videos or images, tables of rows and episodes; needs the extra `lerobot`.

LeRobot itself is not needed. Cameras are the features of type "video" and "image"; the action is
the feature ``action``. Low-dimensional observations are the other features with one row of numbers
a frame, without LeRobot's own columns (``timestamp``, ...) and without ``next.*``.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.contract import (
    EpisodeDataset,
    check_times,
    checked_rows,
    choose,
    is_like_images,
)
from s2robot.data.datasets.lerobot_tables import (
    INFO,
    OWN,
    REMEDY,
    Feature,
    damaged_table,
    entry_names,
    library,
    numbers,
    read_episodes,
    read_info,
    read_table,
    read_tasks,
)
from s2robot.data.datasets.lerobot_video import video_frames
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import PictureError, read_picture
from s2robot.utils.io import digest_of, read_json, sha256_file

ACTION = "action"
OWN_COLUMNS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns of every LeRobot data set, which are no observations."""
IMAGES, OBSERVATION = "observation.images.", "observation."
"""Beginnings of keys, which may be left out."""


def open_lerobot(
    path: Path,
    cameras: Sequence[str] | None,
    low_dim: Sequence[str] | None,
    need_actions: bool = True,
) -> EpisodeDataset:
    """Open a LeRobot v3 folder; see ``opening.open_dataset``.

    Args:
        path: the folder, with meta/info.json.
        cameras: keys of cameras, "observation.images." may be left out; None for all.
        low_dim: keys of observations, "observation." may be left out; None for all.
        need_actions: whether a folder without actions is refused.
    """
    return LeRobotFolder(path, cameras, low_dim, need_actions)


class LeRobotFolder:
    """A LeRobot v3 folder; see ``EpisodeDataset``.

    Args:
        path: the folder.
        cameras: as for ``open_lerobot``.
        low_dim: as for ``open_lerobot``.
        need_actions: as for ``open_lerobot``.

    Raises:
        CorruptFileError: a table or a video is missing or damaged.
        ValueError: it has no such camera or observation, or another version's layout.
        S2RobotError: a package of the extra `lerobot` is missing.
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
        self._folder = Path(path)
        self._info = read_info(self._folder)
        self.rate_hz: float | None = self._info.fps
        features = self._info.features
        pictures = [key for key, feature in features.items() if feature.is_camera]
        self._check_cameras(_full(cameras, IMAGES, list(features)), pictures)
        wanted = choose("camera", _full(cameras, IMAGES, pictures), pictures, self.source)
        self.cameras: Mapping[str, tuple[int, int]] = {key: features[key].size for key in wanted}
        videos = [key for key in pictures if features[key].dtype == "video"]
        self._episodes = read_episodes(self._folder, videos, self._info.episodes)
        self.episode_ends: np.ndarray = np.cumsum(self._episodes.lengths, dtype=np.int64)
        self._files = list(dict.fromkeys(self._episodes.data_files))
        self._read_rows(low_dim)
        self._check_videos()
        self.task = read_tasks(self._folder)
        self.masks: Mapping[str, np.ndarray] = self._read_masks()
        self.digest = self._digest(videos)

    def _check_cameras(self, named: Sequence[str] | None, pictures: Sequence[str]) -> None:
        """Refuse a named feature that is no camera; warn of one that looks like images."""
        for key, feature in self._info.features.items():
            if key in pictures or (named is not None and key not in named):
                continue
            words = (
                f"{self._folder / INFO}: {key} is {feature.dtype} {feature.shape}"
                f"{', a depth map' if feature.depth else ''}; a camera is of dtype video or image "
                "and has three channels. Record it with LeRobot as one of these"
            )
            if named is not None:
                raise ValueError(words)
            if not feature.is_table and not feature.depth and is_like_images(key, feature.shape):
                warnings.warn(f"left out: {words}", stacklevel=2)

    def _read_rows(self, low_dim: Sequence[str] | None) -> None:
        features = self._info.features
        acting = [ACTION] if ACTION in features and features[ACTION].is_table else []
        if self._need_actions and not acting:
            raise CorruptFileError(
                f"{self._folder / INFO} has no feature 'action' with one row of numbers a frame, "
                f"so nothing can be learned; its features are {', '.join(sorted(features))}"
            )
        tables = [key for key, feature in features.items() if _is_observation(key, feature)]
        keys = choose("observation", _full(low_dim, OBSERVATION, tables), tables, self.source)
        columns = [*acting, *keys, "timestamp", "index", "episode_index"]
        parts: dict[str, list[np.ndarray]] = {name: [] for name in columns}
        for place in self._files:
            path = self._data_path(place)
            for name, column in read_table(path, columns).items():
                entries = features[name].shape[0] if name in (ACTION, *keys) else 1
                parts[name].append(numbers(f"{path}: {name}", column, entries))
        found = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        self._starts = np.cumsum([0, *map(len, parts["index"])])
        self._check_rows(found["index"][:, 0], found["episode_index"][:, 0])
        rows = int(self.episode_ends[-1])
        checked = {
            name: checked_rows(f"{self.source}: {name}", found[name], rows)
            for name in (*acting, *keys)
        }
        self.actions = checked.pop(ACTION, np.zeros((rows, 0), np.float32))
        self._low_dim = checked
        self._times = found["timestamp"][:, 0].astype(np.float64)
        self._check_times()
        named = features[ACTION].names if acting else None
        self.action_names = entry_names(named, "a", self.actions.shape[1])
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {
            key: entry_names(
                features[key].names, f"{key.removeprefix(OBSERVATION)}_", value.shape[1]
            )
            for key, value in checked.items()
        }

    def _check_times(self) -> None:
        start = 0
        for number, stop in enumerate(self.episode_ends.tolist()):
            where = f"{self.source}: timestamp of episode {number}"
            check_times(where, self._times[start:stop], REMEDY)
            start = stop

    def _check_rows(self, index: np.ndarray, episode: np.ndarray) -> None:
        """Check that the rows are those that the tables of episodes name, in their order."""
        expected = np.repeat(np.arange(len(self.episode_ends)), self._episodes.lengths)
        if len(index) != len(expected):
            raise CorruptFileError(
                f"{self.source}: the files in data/ have {len(index)} rows, meta/episodes names "
                f"{len(expected)}; {REMEDY}"
            )
        wrong = np.flatnonzero((index != np.arange(len(index))) | (episode != expected))
        if len(wrong):
            bad = wrong[0]
            raise CorruptFileError(
                f"{self.source}: row {bad} of data/ has index {index[bad]} and episode_index "
                f"{episode[bad]}; by meta/episodes it is of episode {expected[bad]}; {REMEDY}"
            )

    def _data_path(self, place: tuple[int, int]) -> Path:
        name = self._info.data_path.format(chunk_index=place[0], file_index=place[1])
        return self._folder / name

    def _video_path(self, key: str, place: tuple[int, int]) -> Path:
        pattern = self._info.video_path
        return self._folder / pattern.format(
            video_key=key, chunk_index=place[0], file_index=place[1]
        )

    def _video_paths(self, key: str) -> list[Path]:
        places = [(chunk, file) for chunk, file, _ in self._episodes.videos[key]]
        return [self._video_path(key, place) for place in dict.fromkeys(places)]

    def _check_videos(self) -> None:
        videos = [key for key in self.cameras if key in self._episodes.videos]
        for key in videos:
            missing = [path for path in self._video_paths(key) if not path.is_file()]
            if missing:
                whole = [
                    other
                    for other in self._episodes.videos
                    if all(path.is_file() for path in self._video_paths(other))
                ]
                raise CorruptFileError(
                    f"{missing[0]} is missing ({len(missing)} of {len(self._video_paths(key))} "
                    f"videos of camera {key}); {REMEDY}. Cameras whose videos are all there: "
                    f"{', '.join(whole) or 'none'}"
                )
        if videos:
            library("av")  # a missing package is named now, not at the first frame

    def _digest(self, videos: Sequence[str]) -> str:
        """Return the digest of the files that the tables name; a missing one has none."""
        paths = [
            self._folder / INFO,
            self._folder / OWN,
            *sorted((self._folder / "meta" / "episodes").glob("chunk-*/file-*.parquet")),
            *map(self._data_path, self._files),
            *(path for key in videos for path in self._video_paths(key)),
        ]
        return digest_of(
            [
                [path.relative_to(self._folder).as_posix(), sha256_file(path)]
                for path in paths
                if path.is_file()
            ]
        )

    def _read_masks(self) -> dict[str, np.ndarray]:
        """Return the division; LeRobot's own has one part with everything, which is none."""
        count = len(self.episode_ends)
        if (self._folder / OWN).is_file():
            own = read_json(self._folder / OWN, REMEDY)
            named = own.get("masks") if isinstance(own, dict) else None
            return _checked_masks(self._folder / OWN, named or {}, count)
        found = {}
        for name, text in self._info.splits.items():
            bounds = re.fullmatch(r"(\d+):(\d+)", str(text))
            if bounds is None:
                return {}
            found[name] = list(range(int(bounds[1]), int(bounds[2])))
        return _checked_masks(self._folder / INFO, found, count) if len(found) > 1 else {}

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._low_dim, self.source)
        return self._low_dim[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of an episode, in order."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        stop = int(self.episode_ends[episode])
        start = stop - int(self._episodes.lengths[episode])
        if camera in self._episodes.videos:
            chunk, file, begin = self._episodes.videos[camera][episode]
            where = self._video_path(camera, (chunk, file))
            found = video_frames(where, begin + self._times[start:stop], self._info.fps)
        else:
            where = self._data_path(self._episodes.data_files[episode])
            found = self._images(camera, episode, start, stop)
        for frame in found:
            if frame.shape[:2] != self.cameras[camera]:
                raise CorruptFileError(
                    f"{where}: a frame of {camera} is {frame.shape[:2]} px high and wide; "
                    f"info.json says {self.cameras[camera]}; {REMEDY}"
                )
            yield frame

    def _images(self, camera: str, episode: int, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield pictures that lie in the table itself."""
        place = self._episodes.data_files[episode]
        path = self._data_path(place)
        first = int(self._starts[self._files.index(place)])
        for row, value in _rows(path, camera, start - first, stop - first):
            content = value.get("bytes") if isinstance(value, Mapping) else value
            if not isinstance(content, bytes):
                raise CorruptFileError(
                    f"{path}: {camera} in row {row} holds no picture, only its path; LeRobot "
                    "stores pictures in the table when a recording is finished. Finish it, or copy "
                    "the folder again"
                )
            yield _decoded(content, f"{path}: {camera} in row {row}")

    def close(self) -> None:
        """Do nothing: files are open only while frames are read."""


def _is_observation(key: str, feature: Feature) -> bool:
    reserved = key in OWN_COLUMNS or key == ACTION or key.startswith(("next.", "action."))
    return feature.is_table and not reserved


def _full(keys: Sequence[str] | None, beginning: str, there: Sequence[str]) -> Sequence[str] | None:
    """Return keys with the beginning that users leave out."""
    if keys is None:
        return None
    return [f"{beginning}{k}" if k not in there and f"{beginning}{k}" in there else k for k in keys]


def _checked_masks(path: Path, masks: Any, count: int) -> dict[str, np.ndarray]:
    found = {}
    for name, episodes in masks.items() if isinstance(masks, Mapping) else ():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = np.array(episodes, dtype=np.int64).reshape(-1)
        if name not in found or not set(found[name].tolist()) <= set(range(count)):
            raise CorruptFileError(
                f"{path}: split {name!r} names episodes {str(episodes)[:60]}; the episodes are 0 "
                f"to {count - 1}"
            )
    return found


def _rows(path: Path, column: str, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of some rows of a column, one group of rows at a time."""
    read_table(path, ())
    try:
        with library("pyarrow.parquet").ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise CorruptFileError(f"{path} has no column {column!r}; {REMEDY}")
            row = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if row < stop and row + count > start:
                    for batch in file.iter_batches(64, row_groups=[group], columns=[column]):
                        for value in batch.column(0):
                            if start <= row < stop:
                                yield row, value.as_py()
                            row += 1
                else:
                    row += count
    except (OSError, ValueError, library("pyarrow").ArrowException) as error:
        raise damaged_table(path, error) from None


def _decoded(content: bytes, where: str) -> np.ndarray:
    try:
        return read_picture(content)
    except CorruptFileError as error:
        raise CorruptFileError(f"{where} is a damaged picture ({error}); {REMEDY}") from None
    except PictureError as error:
        raise PictureError(f"{where}: {error}") from None
