"""Frames to pre-train on, prepared once: shards of equally large frames on disk, memory-mapped."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.lib.format import open_memmap
from rich.progress import track

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.utils.distributed import usable_cores
from s2robot.utils.io import atomic_path, digest_of, locked, read_json, write_json
from s2robot.utils.provenance import versions

SHARD_FRAMES = 256
MIN_FRAMES = 64
"""Fewer frames than this are a mistake, not a data set."""


class FrameGenerator(Protocol):
    """Frame number ``i`` as ``(H, W, 3)`` uint8 RGB, the same at every call."""

    def frame(self, index: int) -> np.ndarray: ...


class FrameDataset:
    """Frames ``(H, W, 3)`` uint8 in shards on disk; all frames of a shard are equally large.

    Args:
        shards: files ``(frames, H, W, 3)`` uint8 in NumPy's format.
        segments: files ``(frames, h, w)`` uint8 with what each place of the frames shows, one a
            shard; or none.

    Raises:
        ValueError: no shard.
        CorruptFileError: one is damaged.
    """

    def __init__(self, shards: Sequence[Path], segments: Sequence[Path] = ()) -> None:
        if not shards:
            raise ValueError("a frame pool needs at least one shard; got none")
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
        """Whether it is known what the frames show."""
        return bool(self._segments)

    def segments(self, i: int) -> np.ndarray:
        """What each place of frame ``i`` shows: ``(h, w)`` uint8, perhaps coarser than it."""
        shard, place = self._place(i)
        return self._segments[shard][place]

    def _place(self, i: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, i, side="right"))
        return shard, i - int(self._ends[shard - 1] if shard else 0)


def _open_shard(path: Path, dimensions: int) -> np.ndarray:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptFileError(f"{path} is not a whole frame shard ({error}); delete it") from None
    colors = dimensions == 3 or shard.shape[-1] == 3
    if shard.ndim != dimensions or not colors or shard.dtype != np.uint8:
        expected = "(frames, H, W, 3)" if dimensions == 4 else "(frames, h, w)"
        raise CorruptFileError(
            f"{path} holds {shard.dtype} {shard.shape}; expected uint8 {expected}"
        )
    return shard


# -------------------------------------------------------------------------------------- rendered
def rendered_shards(
    cache: Path, frames: int, seed: int, size: int, kind: str = "frames"
) -> list[Path]:
    """Shards of randomised scenes of the task family; those that are missing are rendered.

    Args:
        cache: folder of the shards.
        frames: how many.
        seed: of the scenes.
        size: side of a frame [px].
        kind: "frames", or "segments" for what they show, at half their size.
    """
    key = digest_of({"seed": seed, "size": size, "mujoco": versions()["mujoco"]})[:12]
    folder = cache / f"rendered-{size}-{key}"
    counts = [min(SHARD_FRAMES, frames - k) for k in range(0, frames, SHARD_FRAMES)]
    paths = [folder / f"{kind}_{k:05d}_{count}.npy" for k, count in enumerate(counts)]
    with locked(folder / kind):
        missing = [k for k, path in enumerate(paths) if not path.exists()]
        jobs = [(paths[k], kind, k * SHARD_FRAMES, counts[k], seed, size) for k in missing]
        if jobs:
            for _ in track(_done(jobs), description=f"rendering {kind}", total=len(jobs)):
                pass
    return paths


def _done(jobs: list[tuple[Path, str, int, int, int, int]]) -> Iterator[None]:
    """Render shards, several at a time where there are several; GL does not survive a fork."""
    processes = min(usable_cores(), len(jobs))
    if processes < 2:
        yield from (_render_shard(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(_render_shard, *zip(*jobs, strict=True))


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
def kept_shards(
    cache: Path, key: str, make: Callable[[], Iterable[np.ndarray]], what: str
) -> list[Path]:
    """Shards of frames that ``make`` yields, all of one shape; found again if they were made.

    Args:
        cache: folder of the shards.
        key: of everything that decides the frames.
        make: the frames (H, W, 3) uint8; called where they are not kept yet.
        what: the frames come from, for messages.

    Raises:
        S2RobotError: fewer than ``MIN_FRAMES``.
    """
    folder = cache / f"frames-{key}"
    listing = folder / "frames.json"
    with locked(folder / "frames"):
        if not listing.exists():
            counts = list(_write_shards(folder, make()))
            if sum(counts) < MIN_FRAMES:
                raise S2RobotError(
                    f"{what} holds {sum(counts)} frames that can be used; masked autoencoding "
                    f"learns nothing from fewer than {MIN_FRAMES}: give more"
                )
            write_json(listing, {"frames": counts, "source": what})
        counts = read_json(listing)["frames"]
    return [_shard(folder, number) for number in range(len(counts))]


def _write_shards(folder: Path, frames: Iterable[np.ndarray]) -> Iterator[int]:
    stream = iter(frames)
    for number in itertools.count():
        block = list(itertools.islice(stream, SHARD_FRAMES))
        if not block:
            return
        write_shard(_shard(folder, number), block, (len(block), *block[0].shape))
        yield len(block)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"frames_{number:05d}.npy"


def write_shard(path: Path, frames: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    """Write frames, or what they show, as one shard of ``shape`` (frames, ...), atomically.

    Raises:
        DiskFullError: there is no room.
        ValueError: a frame of another shape.
    """
    with atomic_path(path) as temporary:
        shard = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _take_room(temporary)
        for i, frame in enumerate(frames):
            shard[i] = frame
        shard.flush()


def _take_room(path: Path) -> None:
    """Fill a sparse file's holes: writing to a memory map on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
