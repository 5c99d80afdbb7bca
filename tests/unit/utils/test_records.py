"""Typed reading of JSON files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s2robot.errors import CorruptFileError
from s2robot.utils.records import check_rows, read_record, record_of


@dataclass(frozen=True)
class Part:
    frames: int

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; it must be at least 1")


@dataclass(frozen=True)
class Record:
    name: str
    rate: float
    parts: list[Part]
    note: str | None = None


WHOLE: dict[str, Any] = {"name": "a", "rate": 1, "parts": [{"frames": 2}]}


def test_a_record_is_read_with_its_types(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({**WHOLE, "of a later version": 1}))
    found = read_record(Record, tmp_path / "a.json", "delete it")
    assert found == Record("a", 1.0, [Part(2)])
    assert isinstance(found.rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, '"name" - should be "str"'),
        ({"rate": True}, '"rate" - should be "float"'),
        ({"rate": "1"}, '"rate" - should be "float"'),
        ({"rate": math.inf}, '"rate" - should be "float"'),
        ({"rate": math.nan}, '"rate" - should be "float"'),
        ({"rate": 10**400}, '"rate" - should be "float"'),
        ({"parts": [{"frames": True}]}, '"parts.frames" - should be "int"'),
        ({"parts": [{"frames": 2.0}]}, '"parts.frames" - should be "int"'),
        ({"parts": [{"frames": 0}]}, "frames is 0; it must be at least 1"),
        ({"parts": [{}]}, 'missing value for field "parts.frames"'),
        ({"parts": {"frames": 2}}, '"parts" - should be "list"'),
        ({"parts": "ab"}, '"parts"'),
        ({"parts": None}, '"parts"'),
        ({"note": 3}, '"note"'),
    ],
)
def test_what_is_wrong_is_named_with_file_and_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptFileError, match=rf"^a\.json .*{message}.*; delete it$"):
        record_of(Record, {**WHOLE, **change}, "a.json", "delete it")


@pytest.mark.parametrize("content", [None, 3, "text", [WHOLE], True])
def test_what_is_no_object_is_refused(content: Any) -> None:
    with pytest.raises(CorruptFileError, match="expected named entries"):
        record_of(Record, content, "a.json", "delete it")


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(Record, tmp_path / "a.json", "delete it")


def test_a_wrong_row_is_named_by_its_line() -> None:
    rows = [{"frames": 1}, {"frames": 2}, {"frames": "3"}]
    check_rows(Part, rows[:2], "rows.jsonl", "delete it")
    with pytest.raises(CorruptFileError, match=r"rows\.jsonl, line 3, .*frames"):
        check_rows(Part, rows, "rows.jsonl", "delete it")
