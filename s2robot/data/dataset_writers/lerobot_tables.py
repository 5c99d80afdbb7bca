"""Files of a LeRobot v3 folder as they are written: rows, videos, episodes and tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.lerobot_tables import library

GOP = 2
"""Frames from one key frame of a video to the next, as in LeRobot, so that seeking is quick."""
CRF = 18
"""Quality of H.264; differences are hardly visible."""


class Rows:
    """A Parquet file of rows, which is written episode by episode.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._writer: Any = None

    def add(self, columns: Mapping[str, Any]) -> None:
        """Add the rows of an episode, from Arrow arrays by name."""
        arrow = library("pyarrow")
        table = arrow.table(dict(columns))
        if self._writer is None:
            self._writer = library("pyarrow.parquet").ParquetWriter(self.path, table.schema)
        self._writer.write_table(table)

    def size(self) -> int:
        """Return the size of what has been written [bytes]."""
        return self.path.stat().st_size if self._writer is not None else 0

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class Video:
    """An MP4 file with H.264, a frame each 1 / fps [s].

    Args:
        path: the file.
        size: height and width of the frames [px], even numbers.
        fps: frames per second.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames, self._fps = path, 0, fps
        self._container: Any = library("av").open(str(path), "w")
        self._rate = Fraction(fps).limit_denominator(100_000)
        options = {"crf": str(CRF), "g": str(GOP), "bf": "0", "preset": "veryfast"}
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"

    @property
    def time_s(self) -> float:
        """Time of the next frame [s]."""
        return self.frames / self._fps

    def add(self, frame: np.ndarray) -> None:
        """Add a frame ``(H, W, 3)`` uint8 RGB."""
        picture = library("av").VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        picture.pts = self.frames
        picture.time_base = 1 / self._rate
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def size(self) -> int:
        """Return the size of what has been written [bytes]."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Write the last frames and finish the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None

    def abandon(self) -> None:
        """Close the file without finishing it."""
        if self._container is not None:
            self._container.close()
            self._container = None


def number_column(values: np.ndarray) -> Any:
    """Return a table ``(T, d)`` float32 as LeRobot does: numbers, or lists of a fixed size."""
    arrow = library("pyarrow")
    flat = arrow.array(values.ravel(), arrow.float32())
    width = values.shape[1]
    return flat if width == 1 else arrow.FixedSizeListArray.from_arrays(flat, width)


def picture_column(pictures: Iterable[bytes]) -> Any:
    """Return encoded pictures as LeRobot stores them."""
    arrow = library("pyarrow")
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    return arrow.array([{"bytes": content, "path": None} for content in pictures], kind)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the tasks; the column "task" must be the index of the table in pandas.

    Without that record LeRobot gives the number of a task in place of its text.

    Args:
        path: the file.
        tasks: the sentences, in order of their numbers.
    """
    arrow = library("pyarrow")
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    record = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": numpy_kind,
                "metadata": None,
            }
            for name, kind, numpy_kind in columns
        ],
        "creator": {"library": "pyarrow", "version": arrow.__version__},
        "pandas_version": "2.2.0",
    }
    table = arrow.table(
        {"task_index": arrow.array(range(len(tasks)), arrow.int64()), "task": list(tasks)}
    )
    table = table.replace_schema_metadata({"pandas": json.dumps(record)})
    path.parent.mkdir(parents=True, exist_ok=True)
    library("pyarrow.parquet").write_table(table, path)


def write_episodes(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of episodes.

    Args:
        path: the file.
        rows: one an episode.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = library("pyarrow").Table.from_pylist(list(map(dict, rows)))
    library("pyarrow.parquet").write_table(table, path)
