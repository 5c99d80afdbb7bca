"""Files are whole or absent."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.damage import damaged_bytes

from s2robot.errors import CorruptFileError, DiskFullError, unknown
from s2robot.utils.io import (
    append_jsonl,
    atomic_path,
    digest_of,
    folder_beside,
    paths_below,
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


@pytest.fixture
def umask():
    """A function that sets the umask of the test's process; it is set back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o027, 0o077])
def test_atomic_path_leaves_usual_permissions(tmp_path, umask, mask):
    umask(mask)
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b.json").write_text("{}")
    assert mode_of(tmp_path / "a.json") == mode_of(tmp_path / "b.json") == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666])
def test_a_file_that_was_there_keeps_its_permissions(tmp_path, umask, mode):
    umask(0o022)
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(mode)
    with atomic_path(path) as temporary:
        assert mode_of(temporary) == mode  # no one reads half of it who may not read the whole
        temporary.write_text("new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


def test_a_read_only_file_is_replaced_by_writers_that_open_it(tmp_path, umask):
    """Root may write anything, so the temporary file's own permissions are looked at."""
    umask(0o022)
    path = tmp_path / "a.json"
    path.write_text("{}")
    path.chmod(0o444)
    with atomic_path(path) as temporary:
        assert mode_of(temporary) == 0o644
        temporary.write_text("{}")
    assert mode_of(path) == 0o444


def test_a_umask_without_writing_stops_no_writer(tmp_path, umask):
    umask(0o277)
    with atomic_path(tmp_path / "a.json") as temporary:
        assert mode_of(temporary) == 0o600
    assert mode_of(tmp_path / "a.json") == 0o400


def test_a_writer_that_replaces_the_file_leaves_the_same_permissions(tmp_path, umask):
    umask(0o022)
    with atomic_path(tmp_path / "a.bag") as temporary:
        handle, other = tempfile.mkstemp(dir=tmp_path)  # which only the user may read
        os.close(handle)
        os.replace(other, temporary)
    assert mode_of(tmp_path / "a.bag") == 0o644
    assert os.listdir(tmp_path) == ["a.bag"]


def test_writing_in_threads_never_touches_the_umask(tmp_path, umask, monkeypatch):
    """The umask belongs to the process: whoever asks for it changes it for all threads."""
    umask(0o027)
    asked = []
    monkeypatch.setattr(os, "umask", lambda mask: asked.append(mask) or 0o027)

    def write(worker):
        for i in range(20):
            write_json(tmp_path / f"{worker}-{i}.json", {})
            (tmp_path / f"{worker}-{i}.txt").write_text("")  # another library's file

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    monkeypatch.undo()
    assert not asked
    assert {mode_of(path) for path in tmp_path.iterdir()} == {0o640}
    assert os.umask(0o027) == 0o027


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


def test_paths_below_a_folder_are_found_through_links_and_once(tmp_path):
    folder, away = tmp_path / "folder", tmp_path / "away"
    for place in (folder / "a", away / "b"):
        place.mkdir(parents=True)
        (place / "x.json").touch()
    (folder / "linked").symlink_to(away)
    (folder / "z_again").symlink_to(away)  # a second way to the same folder
    (away / "b" / "up").symlink_to(folder)  # a way back
    found = [path.relative_to(folder).as_posix() for path in paths_below(folder, "x.json")]
    assert found == ["a/x.json", "linked/b/x.json"]
    everything = {path.relative_to(folder).as_posix() for path in paths_below(folder)}
    assert {"a", "linked", "linked/b", "z_again"} < everything
    assert paths_below(folder / "absent") == []


@pytest.mark.parametrize("make", [atomic_path, folder_beside])
def test_folders_that_were_made_for_nothing_go_again(tmp_path, make):
    (tmp_path / "there").mkdir()
    for place in ("new/a/b.json", "there/c/d"):
        with pytest.raises(RuntimeError), make(tmp_path / place):
            raise RuntimeError("nothing came")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_folders_that_something_else_needs_stay(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "new/a/b.json"):
        (tmp_path / "new/other.txt").write_text("of another program")
        raise RuntimeError("nothing came")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "other.txt"]


def test_a_folder_beside_holds_what_is_renamed_and_goes(tmp_path):
    place = tmp_path / "new" / "bag"
    with folder_beside(place) as folder:
        (folder / "made").mkdir()
        (folder / "made").rename(place)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bag"]


@pytest.mark.parametrize("make", [atomic_path, folder_beside])
def test_an_error_names_the_final_path_and_not_the_temporary_one(make, tmp_path):
    place = tmp_path / "result.json"
    with pytest.raises(OSError) as raised, make(place) as temporary:
        (temporary / "gone" / "part").open()
    assert str(raised.value.filename) == str(place)
    with pytest.raises(OSError) as refused, make(Path("/proc/result.json")):
        pass
    assert "/proc/result.json" in str(refused.value)
    assert ".result." not in str(refused.value)
