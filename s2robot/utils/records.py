"""Checked reading of stored files: what is wrong is named, with the file and a remedy.

JSON is read as dataclasses. The expected entries are the fields of a dataclass, whose
``__post_init__`` checks ranges. Entries that the dataclass does not have are left alone, so that
later versions can add some.
"""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dacite
import numpy as np

from s2robot.errors import CorruptFileError
from s2robot.utils.io import read_json

T = TypeVar("T")


def read_record(kind: type[T], path: str | Path, remedy: str) -> T:
    """Return the content of a JSON file as a dataclass.

    Args:
        kind: the dataclass.
        path: the file.
        remedy: what a user can do where the file is damaged, such as "delete it and rerun".

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is not JSON, an entry is missing or of another type, or a value is
            out of range.
    """
    return record_of(kind, read_json(path, remedy), path, remedy)


def record_of(kind: type[T], content: Any, where: str | Path, remedy: str) -> T:
    """Return a JSON value as a dataclass; integers are not booleans, and numbers are finite.

    Args:
        kind: the dataclass. Sequences are declared as ``list``.
        content: the value.
        where: the file that it comes from, for the message.
        remedy: what a user can do where it is damaged.

    Raises:
        CorruptFileError: an entry is missing or of another type, or a value is out of range.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Shard:
        ...     frames: int
        >>> record_of(Shard, {"frames": 3, "note": "ignored"}, "a.json", "delete it")
        Shard(frames=3)
        >>> record_of(Shard, {"frames": "3"}, "a.json", "delete it")
        Traceback (most recent call last):
        s2robot.errors.CorruptFileError: a.json is damaged (wrong value type for field "frames" - should be "int" instead of value "3" of type "str"); delete it
    """  # noqa: E501
    try:
        if not isinstance(content, Mapping):
            raise ValueError(f"expected named entries, found {_short(content)}")
        for name, hint in typing.get_type_hints(kind).items():  # dacite would build a dict of them
            if typing.get_origin(hint) is list and not isinstance(content.get(name, []), list):
                raise dacite.WrongTypeError(hint, content[name], name)
        return dacite.from_dict(kind, content, _RULES)  # pyright: ignore[reportArgumentType]
    except (dacite.DaciteError, ValueError, TypeError) as error:
        raise damaged(where, error, remedy) from None


def check_rows(kind: type, rows: Sequence[Any], path: str | Path, remedy: str) -> None:
    """Check the rows of a JSON-lines file.

    Args:
        kind: dataclass of the entries that every row has.
        rows: as ``read_jsonl`` returns them.
        path: the file, for the message.
        remedy: what a user can do where it is damaged.

    Raises:
        CorruptFileError: a row lacks an entry, or has one of another type or out of range.
    """
    for number, row in enumerate(rows, start=1):
        record_of(kind, row, f"{path}, line {number},", remedy)


def read_arrays(path: str | Path, remedy: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name; the format has a checksum of each.

    Args:
        path: the file.
        remedy: what a user can do where it is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is damaged, or holds Python objects.
    """
    with _reporting_damage(path, remedy), np.load(path, allow_pickle=False) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array instead of several by name")
        return {name: file[name] for name in file.files}


def read_array(
    path: str | Path,
    remedy: str,
    dtype: type[np.generic],
    shape: tuple[int | None, ...],
    mapped: bool = False,
) -> np.ndarray:
    """Return the array of an npy file.

    Args:
        path: the file.
        remedy: what a user can do where it is damaged.
        dtype: expected type.
        shape: expected shape; None stands for any length.
        mapped: map the array from the file instead of reading it.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is damaged, or holds an array of another type or shape.
    """
    with _reporting_damage(path, remedy):
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("several arrays instead of one")
        fits = len(shape) == array.ndim and all(
            wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise ValueError(
                f"{array.dtype} {array.shape} instead of {np.dtype(dtype).name} ({wanted})"
            )
    return array


@contextlib.contextmanager
def _reporting_damage(path: str | Path, remedy: str) -> Iterator[None]:
    """Turn the errors of damaged bytes, which come from zip, zlib and parsers, into one."""
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:
        raise damaged(path, error, remedy) from None


def damaged(where: str | Path, why: object, remedy: str) -> CorruptFileError:
    """Return the error for a damaged file, in one wording.

    Args:
        where: the file.
        why: what is wrong with it; of an error, its message.
        remedy: what a user can do.
    """
    text = _short(why, 400) if not isinstance(why, BaseException) else _reason(why)
    return CorruptFileError(f"{where} is damaged ({text}); {remedy}")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    named = isinstance(error, (KeyError, IndexError, OverflowError, RecursionError)) or not text
    return _short(f"{type(error).__name__} {text}".strip() if named else text, 400)


def _short(value: object, most: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise dacite.WrongTypeError(int, value)
    return value


def _number(value: Any) -> float:
    try:
        found = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise dacite.WrongTypeError(float, value)
    return found


_RULES = dacite.Config(type_hooks={int: _whole, float: _number})
