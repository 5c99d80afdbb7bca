"""Frames for pre-training, prepared once: memory-mapped shards of frames of equal size on disk."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.lib.format import open_memmap

from s2robot.data.rendered_frames import drawn_with
from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.utils.io import atomic_path, digest_of, locked, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.records import damaged, read_array, read_record
from s2robot.utils.workers import in_order, usable_cores

SHARD_FRAMES = 256
MIN_FRAMES = 64
"""Minimum number of frames; fewer are probably a mistake."""
_Job = tuple[Path, str, int, int, int, int]
"""Arguments of ``_render_shard``."""


class FrameGenerator(Protocol):
    """Source of numbered frames."""

    def frame(self, index: int) -> np.ndarray:
        """Return a frame ``(H, W, 3)`` uint8 RGB, the same at every call."""
        ...


class FrameDataset:
    """Frames ``(H, W, 3)`` uint8 in shards on disk; all frames of a shard have the same size.

    Args:
        shards: files ``(frames, H, W, 3)`` uint8 in NumPy's format.
        segments: files ``(frames, h, w)`` uint8 with the classes of places of the frames, one file
            for each shard; or none.

    Raises:
        ValueError: there is no shard.
        CorruptFileError: a shard is damaged.
    """

    def __init__(self, shards: Sequence[Path], segments: Sequence[Path] = ()) -> None:
        if not shards:
            raise ValueError("a frame dataset needs at least one shard; got none")
        self._paths = list(shards), list(segments)
        self._shards = [_open_shard(path, 4) for path in shards]
        self._segments = [_open_shard(path, 3) for path in segments]
        self._ends = np.cumsum([len(shard) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[type[FrameDataset], tuple[list[Path], list[Path]]]:
        return FrameDataset, self._paths  # a pickled memory map would hold all its frames

    def __getitem__(self, i: int) -> np.ndarray:
        shard, place = self._place(i)
        return self._shards[shard][place]

    @property
    def has_segments(self) -> bool:
        """True if the classes of places are known."""
        return bool(self._segments)

    def segments(self, i: int) -> np.ndarray:
        """Return the classes of frame ``i``: ``(h, w)`` uint8; may be coarser than the frame."""
        shard, place = self._place(i)
        return self._segments[shard][place]

    def _place(self, i: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, i - int(self._ends[shard - 1] if shard else 0)


def _open_shard(path: Path, dimensions: int) -> np.ndarray:
    shape = (None, None, None, 3)[: dimensions if dimensions == 3 else None]
    remedy = f"delete {path.parent} and rerun the same command"
    return read_array(path, remedy, np.uint8, shape, mapped=True)


# -------------------------------------------------------------------------------------- rendered
def rendered_shards(
    cache: Path, frames: int, seed: int, size: int, kind: str = "frames"
) -> list[Path]:
    """Return the shards of randomized scenes of the task family; missing ones are rendered.

    Args:
        cache: folder of the shards.
        frames: number of frames.
        seed: seed of the scenes.
        size: side of a frame [px].
        kind: "frames", or "segments" for the classes, at half the size.
    """
    key = digest_of({"seed": seed, "size": size, **drawn_with()})[:12]
    folder = cache / f"rendered-{size}-{key}"
    counts = [min(SHARD_FRAMES, frames - k) for k in range(0, frames, SHARD_FRAMES)]
    paths = [folder / f"{kind}_{k:05d}_{count}.npy" for k, count in enumerate(counts)]
    with locked(folder / kind):
        shape = (size, size, 3) if kind == "frames" else (size // 2, size // 2)
        missing = [k for k, path in enumerate(paths) if not _is_whole(path, (counts[k], *shape))]
        jobs = [(paths[k], kind, k * SHARD_FRAMES, counts[k], seed, size) for k in missing]
        if jobs:
            with progress_bar(f"rendering {kind}", len(jobs)) as bar:
                for _ in _done(jobs):
                    bar.advance()
    return paths


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Return whether a rendered shard is there; a damaged one is named in a warning."""
    if not path.exists():
        return False
    try:
        read_array(path, "it is rendered again now", np.uint8, shape, mapped=True)
    except CorruptFileError as error:
        warnings.warn(str(error), stacklevel=2)
        return False
    return True


def _done(jobs: Sequence[_Job]) -> Iterator[None]:
    """Render shards, in worker processes where there are several cores and shards."""
    cores = usable_cores()
    return in_order(_shard_renderer, (), jobs, cores if min(cores, len(jobs)) > 1 else 0)


def _shard_renderer() -> Callable[[_Job], None]:
    return lambda job: _render_shard(*job)


def _render_shard(path: Path, kind: str, start: int, count: int, seed: int, size: int) -> None:
    from s2robot.envs.domain_randomization import RandomScenes

    scenes = RandomScenes(seed=seed, size=size)
    numbers = range(start, start + count)
    if kind == "frames":
        write_shard(path, (scenes.frame(i) for i in numbers), (count, size, size, 3))
    else:
        half = size // 2
        write_shard(path, (scenes.segments(i, half) for i in numbers), (count, half, half))


# ----------------------------------------------------------------------------------- any frames
@dataclass(frozen=True)
class _Listing:
    """Content of ``frames.json``."""

    frames: list[int]
    """Number in each shard."""

    def __post_init__(self) -> None:
        if sum(self.frames) < MIN_FRAMES or min(self.frames) < 1:
            raise ValueError(f"frames are {str(self.frames)[:40]}")


def kept_shards(
    cache: Path, key: str, make: Callable[[], Iterable[np.ndarray]], what: str
) -> list[Path]:
    """Return the shards of the frames that ``make`` yields; they are written if missing.

    Args:
        cache: folder of the shards.
        key: digest of everything that determines the frames.
        make: function that yields frames (H, W, 3) uint8, all of one shape.
        what: origin of the frames, for messages.

    Raises:
        S2RobotError: there are fewer than ``MIN_FRAMES``, or their sizes differ.
        CorruptFileError: a shard, or the list of them, is damaged.
    """
    folder = cache / f"frames-{key}"
    listing = folder / "frames.json"
    with locked(folder / "frames"):
        if not listing.exists():
            counts = _written(folder, make(), what)
            write_json(listing, {"frames": counts, "source": what})
        remedy = f"delete {folder} and rerun the same command"
        counts = read_record(_Listing, listing, remedy).frames
        for number, count in enumerate(counts):
            path = _shard(folder, number)
            if not path.exists():
                raise damaged(path, "it is missing", remedy)
            read_array(path, remedy, np.uint8, (count, None, None, 3), mapped=True)
        if _shard(folder, len(counts)).exists():
            raise damaged(listing, "it lists fewer shards than there are", remedy)
    return [_shard(folder, number) for number in range(len(counts))]


def _written(folder: Path, frames: Iterable[np.ndarray], what: str) -> list[int]:
    """Write all frames and return the number in each shard; after an error no shard is left."""
    try:
        counts = list(_write_shards(folder, _alike(frames, what)))
        if sum(counts) < MIN_FRAMES:
            raise S2RobotError(
                f"{what} holds {sum(counts)} frames that can be used; masked autoencoding "
                f"needs at least {MIN_FRAMES}: give more frames"
            )
    except BaseException:
        for path in folder.glob("frames_*.npy"):
            path.unlink()
        raise
    return counts


def _alike(frames: Iterable[np.ndarray], what: str) -> Iterator[np.ndarray]:
    """Pass frames on; raise an error that names the source if one differs from the first."""
    first = None
    for number, frame in enumerate(frames):
        first = first or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != (*first[:2], 3):
            raise S2RobotError(
                f"{what}: frame {number} (counted from 0) is {frame.dtype} {frame.shape}, the "
                f"first {first}; all frames of a source must be uint8 (H, W, 3) of one size"
            )
        yield frame


def _write_shards(folder: Path, frames: Iterator[np.ndarray]) -> Iterator[int]:
    for number in itertools.count():
        block = list(itertools.islice(frames, SHARD_FRAMES))
        if not block:
            return
        write_shard(_shard(folder, number), block, (len(block), *block[0].shape))
        yield len(block)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"frames_{number:05d}.npy"


def write_shard(path: Path, frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write frames, or their classes, as one shard, atomically.

    Args:
        path: file to write.
        frames: arrays of ``shape[1:]`` uint8.
        shape: shape of the shard, (frames, ...).

    Raises:
        DiskFullError: the disk is full.
        ValueError: a frame has another shape.
    """
    with atomic_path(path) as temporary:
        shard = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _reserve_space(temporary)
        for i, frame in enumerate(frames):
            shard[i] = frame
        shard.flush()


def _reserve_space(path: Path) -> None:
    """Allocate a file's blocks: writing to a memory map on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
