"""Files are whole or absent."""

from __future__ import annotations

import json
import os

import pytest
from support.damage import damaged_bytes

from s2robot.errors import CorruptFileError, DiskFullError, unknown
from s2robot.utils.io import (
    append_jsonl,
    atomic_path,
    digest_of,
    read_json,
    read_jsonl,
    sha256_bytes,
    sha256_file,
    write_json,
)


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "result.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert read_json(target) == {"old": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_atomic_path_leaves_usual_permissions(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b.json").write_text("{}")
    modes = [(tmp_path / name).stat().st_mode for name in ("a.json", "b.json")]
    assert modes[0] == modes[1]


def test_jsonl_survives_a_torn_last_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [{"i": 0}, {"i": 1}])
    with path.open("a") as file:
        file.write('{"i": 2, "na')  # what a kill leaves
    assert read_jsonl(path) == [{"i": 0}, {"i": 1}]
    append_jsonl(path, [{"i": 2}])
    assert [row["i"] for row in read_jsonl(path)] == [0, 1, 2]


def test_jsonl_refuses_damage_in_the_middle(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"i": 0}\nnot json\n{"i": 2}\n')
    with pytest.raises(CorruptFileError, match=r"line 2 of .*rows\.jsonl is not JSON"):
        read_jsonl(path)


@pytest.mark.parametrize("line", ["3", "[1]", "null", '"text"'])
def test_jsonl_refuses_a_line_that_is_not_an_object(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"i": 0}}\n{line}\n')
    with pytest.raises(CorruptFileError, match=r"line 2 of .*rows\.jsonl .* delete that line"):
        read_jsonl(path)


@pytest.mark.parametrize(("name", "data"), damaged_bytes(b'{"a": [1, 2]}\n'))
def test_bytes_that_are_not_json_are_named_with_their_file(tmp_path, name, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=r"a\.json is not valid JSON .* copy it again"):
        read_json(path, "copy it again")
    path.write_bytes(data + b"\n{}\n")
    if data:
        with pytest.raises(CorruptFileError, match=r"line 1 of .*a\.json"):
            read_jsonl(path)


def test_json_errors_name_the_file(tmp_path):
    path = tmp_path / "card.json"
    path.write_text('{"a": ')
    with pytest.raises(CorruptFileError, match=r"card\.json"):
        read_json(path)


def test_digests(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc" * 1_000_000)
    assert sha256_file(path) == sha256_bytes(b"abc" * 1_000_000)
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of(json.loads('{"b": [1, 2], "a": 1}'))
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_unknown_lists_what_is_allowed_and_the_nearest():
    message = str(unknown("level", "precis", ["easy", "precise"]))
    assert message == "unknown level 'precis'; available: easy, precise (did you mean 'precise'?)"


def test_a_full_disk_is_reported_and_the_old_file_kept(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(DiskFullError, match=r"a\.txt could not be written"):
        with atomic_path(path) as temporary:
            temporary.write_text("new")
            with open("/dev/full", "w") as full:
                full.write("x" * 100_000)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_of_writing_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a.txt"):
        raise PermissionError("no")
