"""One scale of one data set on disk: shards of features, and ``meta.json``, which lists them.

A shard counts once it is listed. Its record has the SHA-256 of its file, and a digest of the record
together with the key of the entry, so a record that was edited, or copied from another entry, is
found on opening. The name of a shard is the number of its first frame, so order and repetition of
the records do not matter. Records of earlier versions have no digest of their own: they are
accepted where file, name and content agree, and get one at the next write.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.utils.io import (
    atomic_path,
    digest_of,
    jsonable,
    locked,
    sha256_bytes,
    write_json,
)
from s2robot.utils.records import damaged, read_record, record_of

FORMAT = 2
LISTING = "meta.json"
_REMEDY = (
    "run `s2robot features` (or FeatureStore.ensure) again, which encodes what is damaged and "
    "keeps the rest"
)
_NAME = re.compile(r"\d{7,}\.npy")


@dataclass(frozen=True)
class Shard:
    """Record of one shard.

    Raises:
        ValueError: the name is not that of a shard, or there are no frames.
    """

    file: str
    frames: int
    sha256: str
    """Of the file."""
    digest: str = ""
    """Of this record and the entry's key; empty in records of earlier versions."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.file):
            raise ValueError(f"{self.file[:40]!r} is not the name of a shard")
        if self.frames < 1:
            raise ValueError(f"{self.file} has {self.frames} frames")

    @property
    def start(self) -> int:
        """Number of the first frame."""
        return int(self.file.removesuffix(".npy"))

    @property
    def stop(self) -> int:
        """Number after the last frame."""
        return self.start + self.frames

    def signed(self, key: Any) -> Shard:
        """Return the record with its digest.

        Args:
            key: description of the entry.
        """
        record = [jsonable(key), self.file, self.frames, self.sha256]
        return dataclasses.replace(self, digest=digest_of(record))


@dataclass(frozen=True)
class _Listing:
    """Content of ``meta.json``; each shard's record is checked apart."""

    format: int
    key: dict[str, Any]
    shards: list[Any]

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"its format is {self.format}; this version reads {FORMAT}")


class Entry:
    """Features of one scale of one data set, under ``root``.

    Args:
        root: folder of the store.
        description: key of the entry, JSON-able.
        total: number of frames of the data set.
    """

    def __init__(self, root: Path, description: dict[str, Any], total: int) -> None:
        self.description = description
        self.scale: float = description["scale"]
        self.shape: tuple[int, ...] = tuple(description["shape"])
        self.total = total
        self.folder = root / digest_of({"format": FORMAT, **description})[:32]
        self._shards: list[Shard] = []
        self._problems: list[CorruptFileError] = []
        self.reread()

    def lock(self) -> contextlib.AbstractContextManager[Any]:
        """Return a lock that keeps other processes from writing this entry."""
        return locked(self.folder)

    def reread(self) -> None:
        """Read the list of shards from disk again; damaged records are left out of it."""
        self._shards, self._problems = [], []
        path = self.folder / LISTING
        try:
            listing = read_record(_Listing, path, _REMEDY)
        except FileNotFoundError:
            return
        except CorruptFileError as error:
            self._problems.append(error)
            return
        if listing.key != jsonable(self.description):
            why = "its key is not that of this folder, so it was edited or copied"
            self._problems.append(damaged(path, why, _REMEDY))
            return
        for place, record in enumerate(listing.shards):
            try:
                self._shards.append(self._checked(record, f"{path}, shard {place},"))
            except CorruptFileError as error:
                self._problems.append(error)
        self._shards.sort(key=lambda shard: shard.start)

    def _checked(self, record: Any, where: str) -> Shard:
        shard = record_of(Shard, record, where, _REMEDY)
        if shard.digest and shard != shard.signed(self.description):
            raise damaged(where, "its record was altered", _REMEDY)
        if shard.stop > self.total:
            why = f"frames {shard.start} to {shard.stop} of {self.total}"
            raise damaged(where, why, _REMEDY)
        if any(shard.start < other.stop and other.start < shard.stop for other in self._shards):
            raise damaged(where, f"{shard.file} has frames of another shard", _REMEDY)
        return shard

    @property
    def frames(self) -> int:
        """Number of listed frames."""
        return sum(shard.frames for shard in self._shards)

    @property
    def complete(self) -> bool:
        """Whether all frames are listed and no record is damaged; files are not read."""
        return not self._problems and self.frames == self.total

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the ranges (start, stop) of frames that are not listed."""
        start = 0
        for shard in self._shards:
            if shard.start > start:
                yield start, shard.start
            start = shard.stop
        if start < self.total:
            yield start, self.total

    def is_sound(self) -> bool:
        """Return whether the entry is complete and all its files are as they were written."""
        self.reread()
        return self.complete and not any(map(self._problem_of, self._shards))

    def mend(self) -> bool:
        """Drop what is damaged, and what a kill left; return whether the entry is complete.

        The entry has to be locked.
        """
        self.reread()
        found = [(shard, self._problem_of(shard)) for shard in self._shards]
        self._problems += [problem for _, problem in found if problem is not None]
        self._shards = [shard for shard, problem in found if problem is None]
        if self._problems:
            again = sum(stop - start for start, stop in self.gaps())
            warnings.warn(
                f"{self._problems[0]} ({len(self._problems)} such problem(s) in {self.folder}; "
                f"{again} of {self.total} frames are encoded again now)",
                stacklevel=4,
            )
            self._write_listing()
        self._tidy()
        return self.complete

    def _problem_of(self, shard: Shard) -> CorruptFileError | None:
        try:
            self._read_shard(shard)
        except CorruptFileError as error:
            return error
        return None

    def _tidy(self) -> None:
        """Delete the files that no record names: leftovers of kills, and dropped shards."""
        names = {LISTING, *(shard.file for shard in self._shards)}
        for path in self.folder.glob("*"):
            if path.name not in names and path.suffix in (".npy", ".json"):
                path.unlink(missing_ok=True)

    def delete(self) -> None:
        """Remove the entry from disk."""
        (self.folder / LISTING).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.reread()

    def write(self, start: int, features: Tensor) -> None:
        """Write the features ``(n, *shape)`` of the frames from ``start`` on.

        Raises:
            S2RobotError: a feature is beyond float16's range.
        """
        half = features.detach().to("cpu", torch.float16)
        if not torch.isfinite(half).all():
            raise S2RobotError(
                f"scale {self.scale:g} has features beyond float16's range (largest "
                f"{features.abs().max():.3g}); this backbone's output cannot be stored"
            )
        buffer = io.BytesIO()
        np.save(buffer, half.numpy(), allow_pickle=False)
        data = buffer.getvalue()
        name = f"{start:07d}.npy"
        with atomic_path(self.folder / name) as temporary:
            temporary.write_bytes(data)
        self._shards.append(Shard(name, len(half), sha256_bytes(data)))
        self._shards.sort(key=lambda shard: shard.start)
        self._write_listing()

    def _write_listing(self) -> None:
        self._shards = [shard.signed(self.description) for shard in self._shards]
        records = [dataclasses.asdict(shard) for shard in self._shards]
        listing = {"format": FORMAT, "key": self.description, "shards": records}
        write_json(self.folder / LISTING, listing)
        self._problems = []

    def read(self) -> Tensor:
        """Return all features ``(N, *shape)`` float16; every file is checked.

        Raises:
            FileNotFoundError: some frames are not encoded.
            CorruptFileError: a file is damaged.
        """
        if self._problems:
            raise self._problems[0]
        if not self.complete:
            raise FileNotFoundError(
                f"{self.frames} of {self.total} frames are encoded at scale {self.scale:g} in "
                f"{self.folder}; run `s2robot features` (or FeatureStore.ensure) to encode the rest"
            )
        features = torch.empty(self.total, *self.shape, dtype=torch.float16)
        for shard in self._shards:
            features[shard.start : shard.stop] = self._read_shard(shard)
        return features

    def _read_shard(self, shard: Shard) -> Tensor:
        path = self.folder / shard.file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise damaged(path, "it is missing", _REMEDY) from None
        if sha256_bytes(data) != shard.sha256:
            why = f"{len(data)} bytes without the SHA-256 that was recorded when it was written"
            raise damaged(path, why, _REMEDY)
        try:
            array = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise damaged(path, error, _REMEDY) from None
        expected = (shard.frames, *self.shape)
        if array.dtype != np.float16 or array.shape != expected:
            why = f"{array.dtype} {array.shape} instead of float16 {expected}"
            raise damaged(path, why, _REMEDY)
        if not np.isfinite(array).all():
            raise damaged(path, "it holds NaN or infinities", _REMEDY)
        return torch.from_numpy(array)
