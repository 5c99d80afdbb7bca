"""Typed reading of JSON: what is missing or of another type is named, with the file and a remedy.

The expected entries are the fields of a dataclass, whose ``__post_init__`` checks ranges. Entries
that the dataclass does not have are left alone, so that later versions can add some.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import dacite

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
