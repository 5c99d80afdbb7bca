"""Tables of a LeRobot v3 folder: its description, episodes, rows and tasks; needs pyarrow."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.errors import CorruptFileError, S2RobotError, install_command
from s2robot.utils.io import read_json

INFO = "meta/info.json"
OWN = "meta/s2robot.json"
"""Record that `s2robot export-dataset` writes beside LeRobot's files, with the division."""
REMEDY = "copy the folder again from where it was made, or download it again"
CONVERTER = (
    "python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=OWNER/NAME --root={} "
    "--push-to-hub=false"
)
_V3 = re.compile(r"v?3\.\d+")
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def library(name: str) -> Any:
    """Import and return a package of the extra `lerobot`.

    Args:
        name: of the module, such as "av".

    Raises:
        S2RobotError: it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise S2RobotError(
            f"LeRobot data needs the packages av and pyarrow; {name.split('.')[0]} is not "
            f"installed: {install_command('lerobot')}"
        ) from None


@dataclass(frozen=True)
class Feature:
    """One entry of ``features`` in info.json."""

    dtype: str
    shape: tuple[int, ...]
    names: Any
    depth: bool = False
    """Whether it is a depth map, which is no camera frame."""

    @property
    def is_camera(self) -> bool:
        """Whether it holds RGB frames."""
        return self.dtype in ("video", "image") and not self.depth

    @property
    def is_table(self) -> bool:
        """Whether it holds one row of numbers a frame."""
        return len(self.shape) == 1 and re.match(r"(float|u?int|bool)", self.dtype) is not None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a camera [px]; the channels are first or last."""
        first, second, third = self.shape
        return (second, third) if third != 3 and first == 3 else (first, second)


@dataclass(frozen=True)
class Info:
    """Content of info.json that is needed."""

    fps: float
    features: Mapping[str, Feature]
    data_path: str
    video_path: str
    splits: Mapping[str, Any]
    episodes: int | None = None
    """Number of episodes, where it is told."""


def read_info(folder: Path) -> Info:
    """Return the description of a data set.

    Args:
        folder: of the data set.

    Raises:
        CorruptFileError: info.json is damaged, or lacks an entry.
        ValueError: the layout is not version 3; the message names LeRobot's converter.
    """
    path = folder / INFO
    content = read_json(path, REMEDY)
    if not isinstance(content, dict):
        raise CorruptFileError(
            f"{path} holds {type(content).__name__}, not named entries; {REMEDY}"
        )
    version = content.get("codebase_version")
    if not isinstance(version, str) or not _V3.fullmatch(version):
        raise ValueError(_other_version(folder, version))
    features = content.get("features")
    if not isinstance(features, dict) or not features:
        raise CorruptFileError(f"{path} has no 'features'; {REMEDY}")
    fps = content.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps < 1e6:
        raise CorruptFileError(f"{path}: fps is {fps!r}; it must be a number above 0; {REMEDY}")
    splits, episodes = content.get("splits"), content.get("total_episodes")
    return Info(
        float(fps),
        {key: _feature(path, key, value) for key, value in features.items()},
        _template(path, content, "data_path", _DATA_PATH),
        _template(path, content, "video_path", _VIDEO_PATH),
        splits if isinstance(splits, dict) else {},
        episodes if isinstance(episodes, int) else None,
    )


def _other_version(folder: Path, version: Any) -> str:
    if isinstance(version, str) and re.match(r"v?[12]\.", version):
        first = "" if version.endswith("2.1") else "to v2.1 with LeRobot 0.3, then "
        return (
            f"{folder} has LeRobot's layout {version}; read is v3. Convert it {first}with its "
            f"own converter, in an environment with lerobot: {CONVERTER.format(folder)}"
        )
    return f"{folder / INFO}: codebase_version is {version!r}; allowed: v3.0"


def _feature(path: Path, key: str, value: Any) -> Feature:
    try:
        shape = tuple(int(size) for size in value["shape"])
        info = value.get("info") or value.get("video_info") or {}
        found = Feature(
            str(value["dtype"]), shape, value.get("names"), bool(info.get("video.is_depth_map"))
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise CorruptFileError(
            f"{path}: features[{key!r}] is {str(value)[:80]}; it needs dtype and shape; {REMEDY}"
        ) from None
    if found.dtype in ("video", "image") and (len(shape) != 3 or 3 not in (shape[0], shape[2])):
        if not found.depth and 1 not in (shape[0], shape[-1]):
            raise CorruptFileError(
                f"{path}: features[{key!r}] is a camera of shape {shape}; it must be (height, "
                f"width, 3) or (3, height, width); {REMEDY}"
            )
        return Feature(found.dtype, shape, found.names, depth=True)
    return found


def _template(path: Path, content: Mapping[str, Any], name: str, usual: str) -> str:
    """Return the pattern of the files' names; one that leads out of the folder is refused."""
    found = content.get(name) or usual
    try:
        example = Path(found.format(video_key="k", chunk_index=0, file_index=0, episode_index=0))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise CorruptFileError(f"{path}: {name} is {found!r}; usual is {usual!r}") from None
    if example.is_absolute() or ".." in example.parts:
        raise CorruptFileError(f"{path}: {name} is {found!r}, outside the folder; usual: {usual!r}")
    return found


def entry_names(names: Any, letter: str, count: int) -> tuple[str, ...]:
    """Return the names of the entries of a feature in any form that LeRobot has used.

    Args:
        names: a list, ``{"motors": [...]}``, ``{"x": 0, "y": 1}``, or None.
        letter: beginning of the names where there are none.
        count: number of entries.

    Examples:
        >>> entry_names({"motors": ["shoulder", "elbow"]}, "a", 2)
        ('shoulder', 'elbow')
        >>> entry_names(None, "a", 2)
        ('a0', 'a1')
    """
    if isinstance(names, Mapping):
        if len(names) == 1 and isinstance(next(iter(names.values())), (list, tuple)):
            names = next(iter(names.values()))
        elif all(isinstance(number, int) for number in names.values()):
            names = sorted(names, key=lambda name: names[name])
    if isinstance(names, (list, tuple)) and len(set(map(str, names))) == count == len(names):
        return tuple(map(str, names))
    return tuple(f"{letter}{number}" for number in range(count))


def read_table(path: Path, columns: Sequence[str]) -> dict[str, Any]:
    """Return columns of a Parquet file as Arrow arrays.

    Args:
        path: the file.
        columns: names of the columns.

    Raises:
        CorruptFileError: the file is missing or damaged, or has no such column.
    """
    parquet = library("pyarrow.parquet")
    if not path.is_file():
        raise CorruptFileError(f"{path} is missing; {REMEDY}")
    try:
        with parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            missing = [name for name in columns if name not in there]
            if missing:
                raise CorruptFileError(
                    f"{path} has no column {missing[0]!r}; it has {', '.join(there[:12])}; {REMEDY}"
                )
            table = file.read(columns=list(columns))
    except (OSError, ValueError, library("pyarrow").ArrowException) as error:
        raise damaged_table(path, error) from None
    return {name: table.column(name).combine_chunks() for name in columns}


def damaged_table(path: Path, error: Exception) -> CorruptFileError:
    """Return the error for a Parquet file that cannot be read.

    Args:
        path: the file.
        error: what pyarrow raised.
    """
    empty = path.is_file() and not path.stat().st_size
    what = "is empty" if empty else "is truncated or damaged, or no Parquet file"
    if isinstance(error, PermissionError):
        return CorruptFileError(f"{path} cannot be read: change its permissions")
    return CorruptFileError(f"{path} {what}; {REMEDY}")


def numbers(where: str, column: Any, entries: int) -> np.ndarray:
    """Return a column of numbers, or of lists of numbers, as an array.

    Args:
        where: file and name of the column, for the message.
        column: an Arrow array.
        entries: numbers in a row by info.json.

    Returns:
        ``(T, entries)``.

    Raises:
        CorruptFileError: rows are empty or have another length.
    """
    column = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    types = library("pyarrow.types")
    if column.null_count:
        raise CorruptFileError(f"{where} has {column.null_count} empty rows; {REMEDY}")
    rows, flat = len(column), column
    if types.is_list(column.type) or types.is_large_list(column.type) or _is_fixed(column.type):
        lengths = library("pyarrow.compute").list_value_length(column).to_numpy(False)
        if len(lengths) and (lengths != entries).any():
            odd = int(np.flatnonzero(lengths != entries)[0])
            raise CorruptFileError(
                f"{where} has {lengths[odd]} entries in row {odd}; info.json says {entries}"
            )
        flat = column.flatten()
    values = np.asarray(flat.to_numpy(zero_copy_only=False))
    if values.dtype.kind not in "fiub" or len(values) != rows * entries:
        raise CorruptFileError(
            f"{where} is {column.type} in {rows} rows; info.json says {entries} numbers a row"
        )
    return values.reshape(rows, entries)


def _is_fixed(kind: Any) -> bool:
    return library("pyarrow.types").is_fixed_size_list(kind)


@dataclass(frozen=True)
class Episodes:
    """Rows of meta/episodes, in order of the episodes."""

    lengths: np.ndarray
    """Frames of each episode, (E,) int64."""
    data_files: list[tuple[int, int]]
    """Chunk and file of each episode's rows."""
    videos: Mapping[str, list[tuple[int, int, float]]]
    """By camera: chunk, file and time in the file at which each episode begins [s]."""


def read_episodes(folder: Path, cameras: Sequence[str], told: int | None = None) -> Episodes:
    """Return where the episodes lie.

    Args:
        folder: of the data set.
        cameras: keys of the cameras with videos.
        told: their number by info.json.

    Raises:
        CorruptFileError: a table is missing or damaged, or contradicts itself.
    """
    files = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise CorruptFileError(
            f"{folder} has no tables of its episodes; expected: meta/episodes/chunk-000/"
            f"file-000.parquet; {REMEDY}"
        )
    bounds = ("episode_index", "dataset_from_index", "dataset_to_index")
    places = ("data/chunk_index", "data/file_index")
    of_video = [
        f"videos/{key}/{name}"
        for key in cameras
        for name in ("chunk_index", "file_index", "from_timestamp")
    ]
    wanted = [*bounds, *places, *of_video]
    parts = [read_table(path, wanted) for path in files]
    columns = {
        name: np.concatenate(
            [
                numbers(f"{file}: {name}", part[name], 1)[:, 0]
                for file, part in zip(files, parts, strict=True)
            ]
        )
        for name in wanted
    }
    order = np.argsort(columns["episode_index"], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    _check_bounds(folder, *(columns[name].astype(np.int64) for name in bounds))
    lists = {name: values.tolist() for name, values in columns.items()}
    if told not in (None, len(order)):
        raise CorruptFileError(
            f"{folder}/meta/episodes has {len(order)} episodes; total_episodes in {INFO} is "
            f"{told}, so a table is missing; {REMEDY}"
        )
    return Episodes(
        (columns["dataset_to_index"] - columns["dataset_from_index"]).astype(np.int64),
        list(zip(*(map(int, lists[name]) for name in places), strict=True)),
        {key: _places_of(lists, key) for key in cameras},
    )


def _places_of(lists: Mapping[str, list[Any]], key: str) -> list[tuple[int, int, float]]:
    chunks, files, starts = (
        lists[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index", "from_timestamp")
    )
    rows = zip(chunks, files, starts, strict=True)
    return [(int(chunk), int(file), float(start)) for chunk, file, start in rows]


def _check_bounds(folder: Path, index: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
    where = f"{folder}/meta/episodes"
    if not len(index) or not np.array_equal(index, np.arange(len(index))):
        raise CorruptFileError(
            f"{where}: the episodes are numbered {index[:5].tolist()} ...; they must be 0, 1, 2, "
            f"... without gaps; {REMEDY}"
        )
    expected = np.concatenate([[0], end[:-1]])
    wrong = np.flatnonzero((start != expected) | (end <= start))
    if len(wrong):
        bad = wrong[0]
        raise CorruptFileError(
            f"{where}: episode {bad} has rows {start[bad]} to {end[bad]}; it must begin at "
            f"{expected[bad]}, where the one before ends, and have at least one row; {REMEDY}"
        )


def read_tasks(folder: Path) -> str | None:
    """Return what the demonstrations do; several tasks in one sentence, None without a table."""
    path = folder / "meta" / "tasks.parquet"
    if not path.is_file():
        return None
    parquet = library("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError, library("pyarrow").ArrowException) as error:
        raise damaged_table(path, error) from None
    names = [name for name in ("task", "__index_level_0__") if name in table.column_names]
    found = [text for text in table.column(names[0]).to_pylist() if text] if names else []
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return "; ".join(map(str, found[:3])) + more if found else None
