"""Entries of the feature store: every kind of damage is named, and mended without loss."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.damage import attempt, damaged_json

from s2robot.data.feature_entries import Entry
from s2robot.errors import CorruptFileError
from s2robot.utils.io import digest_of, sha256_file

KEY: dict[str, Any] = {"demos": "a", "versions": {"torch": "2.1"}, "scale": 2.0, "shape": [4]}
STARTS = (0, 3, 6)
FRAMES = 8


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2robot.utils.io._fsync", lambda path: None)


def features() -> torch.Tensor:
    return torch.arange(FRAMES * 4, dtype=torch.float16).reshape(FRAMES, 4)


def filled(root: Path, **key: Any) -> Entry:
    entry = Entry(root, {**KEY, **key}, FRAMES)
    for start in STARTS:
        entry.write(start, features()[start : start + 3])
    return entry


def reopened(entry: Entry) -> Entry:
    return Entry(entry.folder.parent, entry.description, entry.total)


def mended(entry: Entry) -> list[int]:
    """Mend an entry as the store does; return the frames that were encoded again."""
    again = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry.mend()
    while gap := next(entry.gaps(), None):
        again += range(*gap)
        entry.write(gap[0], features()[slice(*gap)])
    return again


def right_or_refused(entry: Entry, damage: str) -> str:
    """Demand the right features or a clear error, and return its message."""
    found, message = attempt(lambda: reopened(entry).read(), CorruptFileError, FileNotFoundError)
    if found is not None:
        assert torch.equal(found, features()), damage
    else:
        assert str(entry.folder) in message, damage
        assert "run `s2robot features`" in message, damage
    return message


def test_every_damage_of_the_list_is_an_error_and_is_mended(tmp_path: Path) -> None:
    entry, tried, refused = filled(tmp_path), 0, 0
    for damage in damaged_json(entry.folder / "meta.json"):
        tried += 1
        message = right_or_refused(entry, damage)
        refused += bool(message)
        again = reopened(entry)
        mended(again)
        assert torch.equal(again.read(), features()), damage
        assert torch.equal(reopened(entry).read(), features()), damage
    assert tried > 300
    assert refused > 0.9 * tried


def test_the_list_of_an_earlier_version_is_checked_in_the_same_way(tmp_path: Path) -> None:
    entry = filled(tmp_path)
    listing = entry.folder / "meta.json"
    content = json.loads(listing.read_text())
    for shard in content["shards"]:
        del shard["digest"]
    listing.write_text(json.dumps(content))
    assert torch.equal(reopened(entry).read(), features())
    for damage in damaged_json(listing):
        right_or_refused(entry, damage)


def test_one_damaged_record_costs_its_frames_alone(tmp_path: Path) -> None:
    entry = filled(tmp_path)
    listing = entry.folder / "meta.json"
    content = json.loads(listing.read_text())
    content["shards"][1]["sha256"] = content["shards"][0]["sha256"]
    listing.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="shard 1, is damaged .its record was altered"):
        reopened(entry).read()
    assert mended(reopened(entry)) == [3, 4, 5]


def test_records_that_swap_their_files_and_digests_are_found(tmp_path: Path) -> None:
    """Every file has the recorded SHA-256, and only the digest of the record tells."""
    entry = filled(tmp_path)
    listing = entry.folder / "meta.json"
    content = json.loads(listing.read_text())
    first, second = content["shards"][:2]
    first["sha256"], second["sha256"] = second["sha256"], first["sha256"]
    one, other = (entry.folder / shard["file"] for shard in (first, second))
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)
    listing.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="its record was altered"):
        reopened(entry).read()
    assert mended(reopened(entry)) == [0, 1, 2, 3, 4, 5]


def test_a_shard_of_another_entry_is_not_taken(tmp_path: Path) -> None:
    entry, other = filled(tmp_path), Entry(tmp_path, {**KEY, "demos": "b"}, FRAMES)
    for start in STARTS:
        other.write(start, features()[start : start + 3] + 100)
    listing, foreign = (
        json.loads((each.folder / "meta.json").read_text()) for each in (entry, other)
    )
    listing["shards"][0] = foreign["shards"][0]
    (entry.folder / "0000000.npy").write_bytes((other.folder / "0000000.npy").read_bytes())
    (entry.folder / "meta.json").write_text(json.dumps(listing))
    with pytest.raises(CorruptFileError, match="its record was altered"):
        reopened(entry).read()


CONTENTS = {
    "another type": (features().float(), "float32"),
    "another shape": (features()[:3, :3], r"float16 \(3, 3\) instead of float16 \(3, 4\)"),
    "more frames": (features()[:4], r"float16 \(4, 4\) instead"),
    "not finite": (torch.full((3, 4), torch.nan, dtype=torch.float16), "NaN or infinities"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_is_checked_where_its_digest_is_right(tmp_path: Path, kind: str) -> None:
    entry = filled(tmp_path)
    tensor, message = CONTENTS[kind]
    shard, listing = entry.folder / "0000000.npy", entry.folder / "meta.json"
    np.save(shard, tensor.numpy())
    content = json.loads(listing.read_text())
    record = content["shards"][0]
    record["sha256"] = sha256_file(shard)
    record["digest"] = digest_of([KEY, record["file"], record["frames"], record["sha256"]])
    listing.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match=message):
        reopened(entry).read()
    assert mended(reopened(entry)) == [0, 1, 2]


def test_a_longer_list_than_the_data_set_is_no_dead_end(tmp_path: Path) -> None:
    entry = filled(tmp_path)
    listing = entry.folder / "meta.json"
    content = json.loads(listing.read_text())
    surplus = copy.deepcopy(content["shards"][0]) | {"file": "0000008.npy"}
    content["shards"].append(surplus)
    listing.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="shard 3, is damaged"):
        reopened(entry).read()
    assert mended(reopened(entry)) == []
    assert torch.equal(reopened(entry).read(), features())


def test_mending_deletes_what_a_kill_left_and_nothing_else(tmp_path: Path) -> None:
    entry = filled(tmp_path)
    (entry.folder / ".0000003.x7k.npy").write_bytes(b"half")
    (entry.folder / "notes.txt").write_text("of a user")
    entry.mend()
    assert not list(entry.folder.glob(".*"))
    assert (entry.folder / "notes.txt").exists()
    assert torch.equal(entry.read(), features())
