"""Calibrated int8 models on this machine: one folder for each function of tiles and data.

A calibration belongs to a function (weights, layers, tile size) and to the tiles that its ranges
were taken from. Their digest is the calibration's identity and the name of its folder, so that
calibrations on frames of different cameras stand side by side.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from s2robot.errors import CorruptFileError
from s2robot.runtimes.base import RuntimeMissingError, TokenModel
from s2robot.utils.io import digest_of, locked, read_json, sha256_bytes, sha256_file, write_json
from s2robot.utils.paths import home
from s2robot.utils.records import record_of

OLD = "old"
"""Identity of a calibration of earlier versions, which kept one for each function."""
_RECORD = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """Record of a calibration: its data, and the agreement with float32."""

    tiles: int
    """Number of tiles that ranges were taken from."""
    tiles_digest: str
    held_out: int
    """Number of tiles that it was compared on."""
    cosine_mean: float
    """Of the tokens of the held-out tiles."""
    cosine_min: float
    model_sha256: str
    versions: dict[str, str]
    identity: str = OLD
    """Digest of the data; the runtime is called ``openvino-int8:IDENTITY``."""
    outside: float = 0.0
    """Largest share of a held-out tile's values outside of the calibrated ranges."""
    ranges_sha256: str = ""
    """Of the file of ranges; empty for calibrations of earlier versions, which have none."""


def tiles_digest(tiles: Tensor) -> str:
    """Return the SHA-256 of tiles ``(N, 3, h, w)``; of their bytes where they are whole numbers."""
    whole = tiles.to(torch.uint8)
    exact = torch.equal(whole.to(tiles.dtype), tiles)
    return sha256_bytes((whole if exact else tiles.float()).contiguous().numpy().tobytes())


def identity_of(digests: Sequence[str]) -> str:
    """Return the identity of a calibration from the digest of its tiles of each size."""
    return digest_of(list(digests))[:12]


def function_folder(model: TokenModel, shape: Sequence[int]) -> Path:
    """Return the folder of all calibrations of a function and tile size.

    Weights that were trained further are others.
    """
    key = {
        "weights": model.backbone.weights_digest,
        "stage": model.pooling,
        "taps": [list(model.layers), model.layers_merge] if model.layers else [],
        "tile": list(shape),
    }
    return home() / "int8" / digest_of(key)[:24]


def keep(write: Callable[[Path], None], record: Calibration, parent: Path) -> Calibration:
    """Write a model and its record; a reader sees the old files or the new ones, whole.

    Args:
        write: writes ``model.xml``, ``model.bin`` and ``ranges.safetensors`` into a folder.
        record: without the digests of these files.
        parent: folder of the function.

    Returns:
        The record with the digests.
    """
    folder = parent / record.identity
    parent.mkdir(parents=True, exist_ok=True)
    with (
        locked(folder),
        tempfile.TemporaryDirectory(dir=parent, prefix=".making-") as made,
    ):
        new = Path(made) / "new"
        new.mkdir()
        write(new)
        record = dataclasses.replace(
            record, model_sha256=_digest(new), ranges_sha256=sha256_file(new / "ranges.safetensors")
        )
        write_json(new / _RECORD, dataclasses.asdict(record))
        if folder.exists():
            shutil.move(str(folder), Path(made) / "old")
        new.replace(folder)
    return record


def _digest(folder: Path) -> str:
    return sha256_bytes(
        (sha256_file(folder / "model.xml") + sha256_file(folder / "model.bin")).encode()
    )


def kept(
    model: TokenModel, shape: Sequence[int], identity: str | None = None
) -> tuple[Path, Calibration]:
    """Return the folder and record of a calibration, its digests verified.

    Args:
        model: the function.
        shape: height and width of the tiles [px].
        identity: which one, or the beginning of its identity; None where there is only one.

    Raises:
        RuntimeMissingError: there is no such calibration on this machine, or there are several and
            none was named.
        CorruptFileError: its files were changed or cut short.
    """
    parent = function_folder(model, shape)
    chosen = _chosen(found_in(parent), identity, model, shape)
    folder = parent if chosen == OLD else parent / chosen
    with locked(folder):
        path = folder / _RECORD
        record = record_of(Calibration, read_json(path), path, "delete it and calibrate again")
        ranges = folder / "ranges.safetensors"
        whole = record.model_sha256 == _digest(folder) and (
            not record.ranges_sha256
            or (ranges.exists() and sha256_file(ranges) == record.ranges_sha256)
        )
        if not whole:
            raise CorruptFileError(
                f"{folder} does not hold the model that was calibrated; delete it and calibrate "
                "again"
            )
    return folder, record


def found_in(parent: Path) -> list[str]:
    """Return the identities of the calibrations in a function's folder, sorted."""
    own = [OLD] if (parent / _RECORD).exists() else []
    return own + sorted(path.parent.name for path in parent.glob(f"[!.]*/{_RECORD}"))


def _chosen(
    found: Sequence[str], identity: str | None, model: TokenModel, shape: Sequence[int]
) -> str:
    what = f"int8 of {model.backbone.card.name} on tiles of {shape[0]} x {shape[1]} px"
    if not found:
        raise RuntimeMissingError(
            f"{what} was never calibrated on this machine: call encoder.calibrate(frames) with "
            "some hundred frames of the task, or give `s2robot bench` --calibrate FRAMES"
        )
    matching = [name for name in found if name.startswith(identity or "")]
    if len(matching) == 1:
        return matching[0]
    parent = function_folder(model, shape)
    shown = matching or found
    listed = "; ".join(_described(parent, name) for name in shown)
    if matching:
        problem = f"{what} has {len(matching)} calibrations on this machine" + (
            f" that begin with {identity!r}" if identity else ""
        )
    else:
        problem = f"{what} has no calibration {identity!r} on this machine"
    raise RuntimeMissingError(
        f"{problem}. Name that of your camera, such as runtime openvino-int8:{shown[0]}, "
        f"or call encoder.calibrate(frames) on this encoder. There are: {listed}"
    )


def _described(parent: Path, name: str) -> str:
    path = (parent if name == OLD else parent / name) / _RECORD
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
    return f"{name} ({read_json(path)['tiles']} tiles, made {made})"
