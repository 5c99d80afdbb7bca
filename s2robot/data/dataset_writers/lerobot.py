"""Writer of LeRobot v3 folders; LeRobot itself is not needed, only the extra `lerobot`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s2robot._version import __version__
from s2robot.data.dataset_writers.lerobot_stats import DatasetStats, FrameStats, Stats, table_stats
from s2robot.data.dataset_writers.lerobot_tables import (
    Rows,
    Video,
    number_column,
    picture_column,
    write_episodes,
    write_tasks,
)
from s2robot.data.datasets.contract import PRIVILEGED, EpisodeDataset, Simulated
from s2robot.data.datasets.lerobot_tables import INFO, OWN, library
from s2robot.utils.io import folder_beside, write_json
from s2robot.utils.progress import progress_bar

UNNAMED_TASK = "demonstration"
_DEFAULTS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
OUTCOMES = {"next.reward": "float32", "next.success": "bool", "next.done": "bool"}
"""Features of data sets of a simulator, and their types; of the moment after an action."""
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


@dataclass(frozen=True)
class Limits:
    """Sizes at which a new file or chunk begins; LeRobot's own."""

    data_mb: int = 100
    video_mb: int = 200
    files_in_chunk: int = 1000


def write_lerobot(
    data: EpisodeDataset, folder: Path, *, images: bool = False, limits: Limits | None = None
) -> None:
    """Write a data set as a LeRobot v3 folder; it appears only when it is complete.

    Args:
        data: the demonstrations; without a rate they are taken to have 10 Hz.
        folder: the folder, which does not exist yet.
        images: store frames as PNG in the tables, without loss, in place of videos.
        limits: sizes of the files.

    Raises:
        FileExistsError: the folder exists.
        ValueError: a camera has an odd height or width, which H.264 cannot store.
        S2RobotError: a package of the extra `lerobot` is missing.
    """
    check_folder(folder)
    for key, size in data.cameras.items():
        if not images and any(side % 2 for side in size):
            raise ValueError(
                f"camera {key} has frames of {size[0]} × {size[1]} px; a video needs even numbers. "
                "Take another size, or store images without loss (--images)"
            )
    for name in ("pyarrow", "av"):
        library(name)
    with folder_beside(folder) as temporary:
        writer = _Writer(data, temporary, images, limits or Limits())
        writer.write(folder.name)
        temporary.chmod(folder.parent.stat().st_mode & 0o777)
        temporary.rename(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that exists.

    Args:
        folder: to be written.

    Raises:
        FileExistsError: it exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists; delete it, or give another name")


class _Writer:
    """The files of one folder while they are written."""

    def __init__(self, data: EpisodeDataset, folder: Path, images: bool, limits: Limits) -> None:
        self._data, self._folder, self._images, self._limits = data, folder, images, limits
        self._fps = data.rate_hz or 10.0
        self._task = data.task or UNNAMED_TASK
        self._cameras = {key: _camera_key(key) for key in data.cameras}
        self._tables = _tables(data)
        self._places: dict[str, int] = {}
        self._open: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []
        self._stats = DatasetStats()

    def write(self, shown: str) -> None:
        count = len(self._data.episode_ends)
        try:
            with progress_bar(f"writing {shown}", count) as bar:
                for number in range(count):
                    self._episode(number)
                    bar.advance()
            for file in self._open.values():
                file.close()
        except BaseException:
            for file in self._open.values():
                if isinstance(file, Video):
                    file.abandon()
            raise
        write_tasks(self._folder / "meta" / "tasks.parquet", [self._task])
        write_episodes(
            self._folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet", self._rows
        )
        write_json(self._folder / "meta" / "stats.json", self._stats.result())
        write_json(self._folder / INFO, self._info())
        write_json(self._folder / OWN, self._own_record())

    def _episode(self, number: int) -> None:
        stop = int(self._data.episode_ends[number])
        start = int(self._data.episode_ends[number - 1]) if number else 0
        columns, stats = self._numbers(number, start, stop)
        places: dict[str, Any] = {}
        for camera, key in self._cameras.items():
            if self._images:
                columns[key], stats[key] = self._pictures(camera, key, number, stop - start)
            else:
                stats[key] = self._video(camera, key, number, stop - start, places)
        rows = self._file("data", lambda path: Rows(path))
        rows.add(columns)
        chunk, file = self._place("data")
        self._rows.append(
            {
                "episode_index": number,
                "tasks": [self._task],
                "length": stop - start,
                "dataset_from_index": start,
                "dataset_to_index": stop,
                "data/chunk_index": chunk,
                "data/file_index": file,
                **places,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                **{
                    f"stats/{key}/{name}": value
                    for key, of_key in stats.items()
                    for name, value in of_key.items()
                },
            }
        )

    def _numbers(
        self, number: int, start: int, stop: int
    ) -> tuple[dict[str, Any], dict[str, Stats]]:
        arrow = library("pyarrow")
        frame = np.arange(stop - start)
        rows = {key: values[start:stop] for key, (values, _) in self._tables.items()}
        columns = {key: number_column(values) for key, values in rows.items()}
        outcomes = self._outcomes(number, stop - start)
        for key, values in outcomes.items():
            columns[key] = arrow.array(values.astype(OUTCOMES[key]))
        time = (frame / self._fps).astype(np.float32)
        columns["timestamp"] = arrow.array(time, arrow.float32())
        whole = {
            "frame_index": frame,
            "episode_index": np.full(len(frame), number),
            "index": start + frame,
            "task_index": np.zeros(len(frame), dtype=np.int64),
        }
        for key, values in whole.items():
            columns[key] = arrow.array(values, arrow.int64())
        rows.update({**outcomes, "timestamp": time, **whole})
        for key, values in rows.items():
            self._stats.add_rows(key, values)
        return columns, {key: table_stats(values) for key, values in rows.items()}

    def _outcomes(self, number: int, steps: int) -> dict[str, np.ndarray]:
        """Return reward, success and end after each action ``(T,)``; nothing of recordings."""
        if not isinstance(self._data, Simulated):
            return {}
        success = self._data.success_of(number)
        done = np.arange(1, steps + 1) == steps
        return dict(zip(OUTCOMES, (success, success, done), strict=True))

    def _pictures(self, camera: str, key: str, number: int, frames: int) -> tuple[Any, Stats]:
        stats, encoded = FrameStats(frames), []
        for frame in self._data.frames(camera, number):
            stats.add(frame)
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "PNG")
            encoded.append(buffer.getvalue())
        self._stats.add_frames(key, stats)
        return picture_column(encoded), stats.result()

    def _video(
        self, camera: str, key: str, number: int, frames: int, places: dict[str, Any]
    ) -> Stats:
        size = self._data.cameras[camera]
        video = self._file(key, lambda path: Video(path, size, self._fps))
        begin, stats = video.time_s, FrameStats(frames)
        for frame in self._data.frames(camera, number):
            stats.add(frame)
            video.add(frame)
        self._stats.add_frames(key, stats)
        chunk, file = self._place(key)
        found = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": begin,
            "to_timestamp": video.time_s,
        }
        places.update({f"videos/{key}/{name}": value for name, value in found.items()})
        return stats.result()

    def _file(self, key: str, make: Any) -> Any:
        """Return the file that is written; the next one, if that has reached its size."""
        most = self._limits.data_mb if key == "data" else self._limits.video_mb
        if key in self._open and self._open[key].size() >= most * 2**20:
            self._open.pop(key).close()
            self._places[key] += 1
        if key not in self._open:
            self._places.setdefault(key, 0)
            chunk, file = self._place(key)
            pattern = _DATA if key == "data" else _VIDEO
            name = pattern.format(video_key=key, chunk_index=chunk, file_index=file)
            self._open[key] = make(self._folder / name)
        return self._open[key]

    def _place(self, key: str) -> tuple[int, int]:
        """Return the numbers of chunk and file that are written."""
        return divmod(self._places[key], self._limits.files_in_chunk)

    def _info(self) -> dict[str, Any]:
        count = len(self._data.episode_ends)
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": count,
            "total_frames": int(self._data.episode_ends[-1]),
            "total_tasks": 1,
            "chunks_size": self._limits.files_in_chunk,
            "data_files_size_in_mb": self._limits.data_mb,
            "video_files_size_in_mb": self._limits.video_mb,
            "fps": int(self._fps) if self._fps == int(self._fps) else self._fps,
            "splits": {"train": f"0:{count}"},
            "data_path": _DATA,
            "video_path": None if self._images or not self._cameras else _VIDEO,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [values.shape[1]], "names": list(names)}
            for key, (values, names) in self._tables.items()
        }
        for camera, key in self._cameras.items():
            height, width = self._data.cameras[camera]
            found[key] = {
                "dtype": "image" if self._images else "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
            }
            if not self._images:
                found[key]["info"] = _video_info(height, width, self._fps)
        outcomes = OUTCOMES if isinstance(self._data, Simulated) else {}
        for key, kind in outcomes.items():
            found[key] = {"dtype": kind, "shape": [1], "names": None}
        for key in _DEFAULTS:
            kind = "float32" if key == "timestamp" else "int64"
            found[key] = {"dtype": kind, "shape": [1], "names": None}
        return found

    def _own_record(self) -> dict[str, Any]:
        return {
            "s2robot": __version__,
            "source_digest": self._data.digest,
            "masks": {name: list(map(int, mask)) for name, mask in self._data.masks.items()},
        }


def _video_info(height: int, width: int, fps: float) -> dict[str, Any]:
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": int(fps) if fps == int(fps) else fps,
        "video.channels": 3,
        "has_audio": False,
    }


def _camera_key(key: str) -> str:
    if key.startswith("observation."):
        return key
    name = key.strip("/").replace("/", ".")  # topics of ROS; LeRobot allows no "/"
    return f"observation.images.{name.removesuffix('_image')}"


def _tables(data: EpisodeDataset) -> Mapping[str, tuple[np.ndarray, tuple[str, ...]]]:
    """Return the features with numbers and the names of their entries.

    Observations become observation.state, which LeRobot's policies expect; those of the simulator
    alone observation.environment_state. Keys that are LeRobot's already stay.
    """
    privileged = {*PRIVILEGED, *(data.privileged if isinstance(data, Simulated) else ())}
    parts: dict[str, list[str]] = {}
    for key in data.low_dim_names:
        name = "environment_state" if key in privileged else "state"
        parts.setdefault(
            key if key.startswith("observation.") else f"observation.{name}", []
        ).append(key)
    tables = {
        target: (
            np.concatenate([data.low_dim(key) for key in keys], axis=1),
            tuple(name for key in keys for name in data.low_dim_names[key]),
        )
        for target, keys in parts.items()
    }
    return {**tables, "action": (data.actions, data.action_names)}
