"""Damage to stored files, place by place: tests demand the right result or a clear error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_NUMBERS = (-1, 0, 3, 10**12, 1.5)
REPLACEMENTS: tuple[Any, ...] = (None, True, *_NUMBERS, "x", "", [], ["x"], {}, {"x": 1})
"""Values that stand in for another one; equal ones are left out."""


def attempt(read: Callable[[], T], *errors: type[Exception]) -> tuple[T | None, str]:
    """Return what a call returns, and the message of its error, if it is one of those allowed."""
    try:
        return read(), ""
    except errors as error:
        return None, str(error) or "(no message)"


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of a JSON tree, the whole of it first."""
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content[:3]):  # later ones are alike
            yield from places(value, (*path, index))


def mutations(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield a description and a damaged copy of a JSON tree, for each place and kind of damage."""
    for path in places(content):
        name = ".".join(map(str, path)) or "all"
        value = _at(content, path)
        for other in REPLACEMENTS:
            if other != value or type(other) is not type(value):
                yield f"{name} is {other!r}", _with(content, path, other)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{name} is one more", _with(content, path, value + 1)
        if isinstance(value, str):
            yield f"{name} is cut", _with(content, path, value[:-1])
        if isinstance(value, list) and value:
            yield f"{name} has an item twice", _with(content, path, [*value, value[0]])
            yield f"{name} is turned", _with(content, path, value[::-1])
            yield f"{name} has one item less", _with(content, path, value[:-1])
        if isinstance(value, dict):
            yield f"{name} has another entry", _with(content, path, {**value, "surplus": 1})
            yield from _swaps(content, path, name, value)
            for key in value:
                rest = {k: v for k, v in value.items() if k != key}
                yield f"{name} lacks {key}", _with(content, path, rest)


def _swaps(content: Any, path: tuple[Any, ...], name: str, value: dict[str, Any]) -> Iterator[Any]:
    keys = list(value)
    for one, other in zip(keys, keys[1:], strict=False):
        swapped = {**value, one: value[other], other: value[one]}
        yield f"{name} swaps {one} and {other}", _with(content, path, swapped)


def _at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def _with(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    damaged = copy.deepcopy(content)
    _at(damaged, path[:-1])[path[-1]] = value
    return damaged


def damaged_json(path: Path) -> Iterator[str]:
    """Damage a JSON file in every way, and yield what was done; the file is restored at the end."""
    whole = path.read_bytes()
    try:
        for name, content in mutations(json.loads(whole)):
            path.write_text(json.dumps(content))
            yield name
        for name, data in damaged_bytes(whole):
            path.write_bytes(data)
            yield name
    finally:
        path.write_bytes(whole)


def damaged_bytes(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a description and damaged bytes of a file of any kind."""
    yield "empty", b""
    yield "cut to half", whole[: len(whole) // 2]
    yield "cut by a byte", whole[:-1] if whole[-1:] != b"\n" else whole[:-3]
    yield "no text", b"\xff\xfe\x00" + whole[3:]
    yield "another kind", b"<html>not found</html>\n"
    yield "deep", b"[" * 100_000
