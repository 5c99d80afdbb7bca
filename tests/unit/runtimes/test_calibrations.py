"""Storage of int8 calibrations: one for each function and data, whole, chosen by name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError
from s2robot.runtimes import Calibration, RuntimeMissingError
from s2robot.runtimes.calibrations import (
    OLD,
    found_in,
    function_folder,
    identity_of,
    keep,
    kept,
    tiles_digest,
)
from s2robot.utils.io import read_json, write_json

Make = Callable[..., FrameEncoder]
FILES = ("model.xml", "model.bin", "ranges.safetensors")
RECORD = Calibration(56, "0" * 64, 14, 0.99, 0.98, "", {})


def store(encoder: FrameEncoder, identity: str, content: bytes = b"a") -> Calibration:
    """Keep files with some content as the calibration of a name."""

    def write(folder: Path) -> None:
        for name in FILES:
            (folder / name).write_bytes(content)

    record = dataclasses.replace(RECORD, identity=identity)
    return keep(write, record, function_folder(encoder.token_model, (32, 32)))


def test_a_calibration_belongs_to_weights_layers_and_tile_size(make: Make) -> None:
    encoder = make()
    folders = {
        function_folder(encoder.token_model, (32, 32)),
        function_folder(encoder.token_model, (16, 16)),
        function_folder(make(layers=(0,)).token_model, (32, 32)),
    }
    assert len(folders) == 3
    assert function_folder(make((1, 3)).token_model, (32, 32)) in folders


def test_calibrations_of_other_data_stand_side_by_side(make: Make, fresh_home: Path) -> None:
    model = make().token_model
    front, wrist = store(make(), "aa11"), store(make(), "bb22", b"b")
    assert found_in(function_folder(model, (32, 32))) == ["aa11", "bb22"]
    assert kept(model, (32, 32), "aa11")[1] == front
    assert kept(model, (32, 32), "bb")[1] == wrist  # the beginning is enough
    with pytest.raises(RuntimeMissingError, match=r"2 calibrations .*aa11 \(56 tiles, made 20.*bb"):
        kept(model, (32, 32))


def test_the_only_calibration_needs_no_name(make: Make, fresh_home: Path) -> None:
    record = store(make(), "aa11")
    folder, found = kept(make().token_model, (32, 32))
    assert (folder.name, found) == ("aa11", record)


def test_the_same_data_replaces_its_calibration(make: Make, fresh_home: Path) -> None:
    store(make(), "aa11")
    second = store(make(), "aa11", b"b")
    folder, found = kept(make().token_model, (32, 32))
    assert found == second
    assert (folder / "model.bin").read_bytes() == b"b"
    assert not list(folder.parent.glob(".making-*"))


def test_an_unknown_calibration_is_named_with_those_there_are(make: Make, fresh_home: Path) -> None:
    store(make(), "aa11")
    with pytest.raises(RuntimeMissingError, match=r"no calibration 'cc' .*There are: aa11"):
        kept(make().token_model, (32, 32), "cc")


def old_calibration(encoder: FrameEncoder) -> Path:
    """Lay files out as earlier versions did, without name, ranges and identity."""
    record = store(encoder, "aa11")
    folder = function_folder(encoder.token_model, (32, 32))
    for name in FILES[:2]:
        os.replace(folder / "aa11" / name, folder / name)
    content = dataclasses.asdict(dataclasses.replace(record, ranges_sha256=""))
    for later in ("identity", "outside", "ranges_sha256"):
        del content[later]
    write_json(folder / "calibration.json", content)
    (folder / "aa11" / "calibration.json").unlink()
    return folder


def test_a_calibration_of_an_earlier_version_is_read(make: Make, fresh_home: Path) -> None:
    folder = old_calibration(make())
    found, record = kept(make().token_model, (32, 32))
    assert found == folder
    assert (record.identity, record.ranges_sha256) == (OLD, "")


def test_an_old_calibration_is_not_taken_silently_beside_a_new_one(
    make: Make, fresh_home: Path
) -> None:
    old_calibration(make())
    store(make(), "bb22")
    with pytest.raises(RuntimeMissingError, match=r"has 2 calibrations .*old \(56 tiles"):
        kept(make().token_model, (32, 32))
    assert kept(make().token_model, (32, 32), OLD)[1].identity == OLD


@pytest.mark.parametrize("name", FILES)
def test_changed_files_are_refused(make: Make, fresh_home: Path, name: str) -> None:
    store(make(), "aa11")
    (function_folder(make().token_model, (32, 32)) / "aa11" / name).write_bytes(b"other")
    with pytest.raises(CorruptFileError, match="delete it and calibrate again"):
        kept(make().token_model, (32, 32))


def test_a_damaged_record_is_refused(make: Make, fresh_home: Path) -> None:
    store(make(), "aa11")
    path = function_folder(make().token_model, (32, 32)) / "aa11" / "calibration.json"
    write_json(path, {**read_json(path), "tiles": "many"})
    with pytest.raises(CorruptFileError, match="calibration.json is damaged.*calibrate again"):
        kept(make().token_model, (32, 32))


def test_the_record_names_its_data(make: Make, fresh_home: Path) -> None:
    store(make(), "aa11")
    folder, _ = kept(make().token_model, (32, 32))
    assert read_json(folder / "calibration.json")["identity"] == "aa11"


def test_tiles_that_differ_by_less_than_a_level_have_other_digests() -> None:
    tiles = torch.full((1, 3, 2, 2), 7.0)
    assert tiles_digest(tiles) == tiles_digest(tiles.to(torch.uint8))
    assert tiles_digest(tiles + 0.25) != tiles_digest(tiles)
    assert identity_of(["a", "b"]) != identity_of(["b", "a"])
