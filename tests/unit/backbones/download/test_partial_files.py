"""Continuing a broken-off transfer: only with bytes of the same version of the same file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support.damage import damaged_json
from support.downloads import DATA, SHA256, break_off, get, visible
from support.file_server import FileServer

from s2robot.backbones.download.partial_files import Part
from s2robot.backbones.weight_sources import Source


def test_a_note_that_is_damaged_starts_over(server: FileServer, folder: Path) -> None:
    url = server.url("/vit.pth")
    part = Part(folder / "vit.pth", Source(url))
    note = folder / "vit.pth.part.json"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vit.pth.part").write_bytes(DATA[:1000])
    note.write_text(json.dumps({"url": url, "validator": '"a"'}))
    whole = part.range_headers()
    assert whole["Range"] == "bytes=1000-"
    for damage in damaged_json(note):
        found = part.range_headers()
        assert not found or found["Range"] == whole["Range"], damage
        assert found == whole or found.get("If-Range") != whole["If-Range"], damage


@pytest.mark.parametrize("kept", ["ETag", "Last-Modified"])
def test_the_version_begun_is_asked_for(server: FileServer, folder: Path, kept: str) -> None:
    server.send_validators("/vit.pth", kept)
    break_off(server, folder, 300_000)
    get(folder, server.url("/vit.pth"))
    (request,) = server.seen("/vit.pth")
    assert request.if_range.startswith('"' if kept == "ETag" else "Wed")
    assert request.status == 206


def test_a_weak_etag_is_not_used_for_ranges(server: FileServer, folder: Path) -> None:
    server.rule("/vit.pth").weak = True
    break_off(server, folder, 300_000)
    get(folder, server.url("/vit.pth"))
    assert server.seen("/vit.pth")[0].if_range.startswith("Wed")


def test_a_file_that_changed_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    server.files["/vit.pth"] = DATA[::-1]
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA[::-1]
    assert [request.status for request in server.requests] == [200]


def test_a_changed_file_is_noticed_where_the_server_ignores_if_range(
    server: FileServer, folder: Path
) -> None:
    break_off(server, folder, 300_000)
    server.files["/vit.pth"] = DATA[::-1]
    server.rule("/vit.pth").if_range = False
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA[::-1]
    assert [request.status for request in server.requests] == [206, 200]


def test_a_server_that_ignores_ranges_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    server.ignore_ranges("/vit.pth")
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.status for request in server.requests] == [200]


def test_without_validator_only_a_digest_lets_it_resume(server: FileServer, folder: Path) -> None:
    server.send_validators("/vit.pth")
    break_off(server, folder, 300_000)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.range for request in server.requests] == [""]
    checked = Source(server.url("/vit.pth"), SHA256)
    break_off(server, folder / "checked", 300_000, checked)
    assert get(folder / "checked", checked).read_bytes() == DATA
    assert [request.range for request in server.requests] == ["bytes=300000-"]


def test_the_beginning_from_elsewhere_is_not_continued(server: FileServer, folder: Path) -> None:
    server.send_validators("/vit.pth")
    server.send_validators("/other.pth")
    break_off(server, folder, 300_000)
    server.files["/other.pth"] = DATA[::-1]
    other = Source(server.url("/other.pth"), f"md5:{hashlib.md5(DATA[::-1]).hexdigest()}")
    assert get(folder, other).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("note", [None, '{"url": '])
def test_a_part_of_unknown_origin_starts_over(
    server: FileServer, folder: Path, note: str | None
) -> None:
    folder.mkdir()
    (folder / "vit.pth.part").write_bytes(b"of another file")
    if note:
        (folder / "vit.pth.part.json").write_text(note)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_a_complete_part_needs_no_more_bytes(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    (folder / "vit.pth.part").write_bytes(DATA)  # killed before it was renamed
    assert get(folder, Source(server.url("/vit.pth"), SHA256)).read_bytes() == DATA
    assert [(request.status, request.sent) for request in server.requests] == [(416, 0)]


def test_a_part_longer_than_the_file_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    (folder / "vit.pth.part").write_bytes(DATA + b"more")
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.status for request in server.requests] == [416, 200]


def test_the_notes_beside_a_part_name_its_version(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 10)
    note = json.loads((folder / "vit.pth.part.json").read_text())
    assert note == {
        "url": server.url("/vit.pth"),
        "validator": f'"{hashlib.sha256(DATA).hexdigest()}"',
    }
