"""Tables of a folder of episodes: CSV, JSON lines or npz, with names of the entries."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.contract import unnamed
from s2robot.data.datasets.opening import TABLES
from s2robot.errors import CorruptFileError
from s2robot.utils.io import read_jsonl
from s2robot.utils.records import read_arrays

ACTION, TIME = "action", "time_s"
"""Keys of the action and of the time of a frame [s]."""
REMEDY = "correct it, or copy it again from where it was made"
Table = dict[str, tuple[tuple[str, ...], np.ndarray]]
"""Names of the entries and values (T, d) by key."""


def tables_in(folder: Path) -> list[Path]:
    """Return the tables in the folder of an episode; a correct one has exactly one."""
    return [folder / name for name in TABLES if (folder / name).is_file()]


def read_table(folder: Path, need_actions: bool = True) -> Table:
    """Return the table of an episode.

    Args:
        folder: of the episode, with at least one table.
        need_actions: whether a table without actions is refused; otherwise it gets (T, 0).

    Raises:
        CorruptFileError: there are several, or it is damaged, or has no action or no rows.
    """
    there = tables_in(folder)
    if len(there) > 1:
        names = " and ".join(path.name for path in there)
        raise CorruptFileError(f"{folder} has {names}; leave one of them")
    (path,) = there
    table = _READERS[path.suffix](path)
    if ACTION not in table and table and not need_actions:
        table[ACTION] = ((), np.zeros((len(next(iter(table.values()))[1]), 0)))
    if ACTION not in table:
        raise CorruptFileError(
            f"{path} has no {ACTION}: it has {', '.join(table) or 'nothing'}. Name the columns of "
            f"the action {ACTION}.NAME in a CSV, and the entry {ACTION!r} in JSON lines and npz"
        )
    if not len(table[ACTION][1]):
        raise CorruptFileError(f"{path} has no rows; leave that episode out")
    return table


def without_actions(folders: Sequence[Path], tables: Sequence[Table]) -> list[Table]:
    """Return tables none of which has actions where one has none, with a warning.

    Args:
        folders: of the episodes.
        tables: of the episodes, as ``read_table`` returns them.
    """
    empty = [each for each in range(len(tables)) if not tables[each][ACTION][1].shape[1]]
    if not empty or len(empty) == len(tables):
        return list(tables)
    warnings.warn(
        f"{folders[empty[0]]} has no {ACTION} ({len(empty)} of {len(tables)} episodes), so those "
        "of the other episodes are not used either; give it, or leave that episode out",
        stacklevel=2,
    )
    return [{**table, ACTION: ((), np.zeros((len(table[ACTION][1]), 0)))} for table in tables]


def _read_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise CorruptFileError(f"{path} is empty; its first line names the columns")
    header, columns = [name.strip() for name in rows[0]], []
    if len(set(header)) < len(header):
        raise CorruptFileError(f"{path} names a column twice: {', '.join(header)}")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise CorruptFileError(
                f"{path}, line {line}, has {len(row)} columns; the first line names {len(header)}"
            )
        columns.append(
            [_number(cell, f"{path}, line {line}, {header[i]}") for i, cell in enumerate(row)]
        )
    values = np.array(columns, dtype=np.float64).reshape(-1, len(header))
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name.partition(".")[0], []).append(place)
    return {
        key: (tuple(header[p].partition(".")[2] or header[p] for p in own), values[:, own])
        for key, own in places.items()
    }


def _read_lines(path: Path) -> Table:
    rows = read_jsonl(path)
    found: Table = {}
    for key in rows[0] if rows else ():
        entries = [_entries(row, key, f"{path}, line {i}") for i, row in enumerate(rows, start=1)]
        names = list(entries[0])
        for line, each in enumerate(entries, start=1):
            if list(each) != names:
                raise CorruptFileError(
                    f"{path}, line {line}: {key} has the entries {', '.join(each)}, in line 1 it "
                    f"has {', '.join(names)}"
                )
        values = np.array([list(each.values()) for each in entries], dtype=np.float64)
        found[key] = (tuple(names), values)
    return found


def _entries(row: Mapping[str, Any], key: str, where: str) -> dict[str, float]:
    """Return the numbers under a key of a line by their names."""
    if key not in row:
        raise CorruptFileError(f"{where} has no {key}, which line 1 has")
    value = row[key]
    if isinstance(value, list):
        names = unnamed("a" if key == ACTION else f"{key}_", len(value))
        value = dict(zip(names, value, strict=True))
    elif not isinstance(value, dict):
        value = {key: value}
    return {name: _number(number, f"{where}, {key}") for name, number in value.items()}


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CorruptFileError(f"{where} is {value!r}; it must be a number") from None


def _read_npz(path: Path) -> Table:
    found: Table = {}
    for key, value in read_arrays(path, REMEDY).items():
        table = value[:, None] if value.ndim == 1 else value
        if table.ndim != 2:
            raise CorruptFileError(f"{path}: {key} has shape {value.shape}; it must be (T, d)")
        letter = "a" if key == ACTION else f"{key}_"
        found[key] = (unnamed(letter, table.shape[1]), table)
    return found


_READERS = {".csv": _read_csv, ".jsonl": _read_lines, ".npz": _read_npz}
