"""Frames for pre-training: a pool of rendered frames on disk and random views cut from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from rich.progress import track

from s2robot.errors import CorruptFileError
from s2robot.files import atomic_path

SHARD_FRAMES = 256


class FrameGenerator(Protocol):
    """Frame number ``i`` as ``(S, S, 3)`` uint8 RGB, the same at every call."""

    def frame(self, i: int) -> np.ndarray: ...


class FramePool:
    """Frames ``(N, S, S, 3)`` uint8 in shards on disk, memory-mapped on reading."""

    def __init__(self, shards: Sequence[Path]) -> None:
        if not shards:
            raise ValueError("a frame pool needs at least one shard; got none")
        self._shards = [_open_shard(path) for path in shards]
        self._ends = np.cumsum([len(shard) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def size(self) -> int:
        """Side of a frame [px]."""
        return self._shards[0].shape[1]

    def __getitem__(self, i: int) -> np.ndarray:
        shard = int(np.searchsorted(self._ends, i, side="right"))
        start = self._ends[shard - 1] if shard else 0
        return self._shards[shard][i - start]

    @classmethod
    def render(
        cls, folder: Path, frames: int, make_generator: Callable[[], FrameGenerator], size: int
    ) -> FramePool:
        """Open the pool in ``folder``, first rendering the shards that it still lacks."""
        shards = [folder / f"frames_{k:05d}.npy" for k in range(math.ceil(frames / SHARD_FRAMES))]
        missing = [k for k, path in enumerate(shards) if not path.exists()]
        if missing:
            generator = make_generator()
            for k in track(missing, description="rendering frames"):
                count = min(SHARD_FRAMES, frames - k * SHARD_FRAMES)
                _render_shard(shards[k], generator, k * SHARD_FRAMES, count, size)
        return cls(shards)


def _render_shard(path: Path, generator: FrameGenerator, start: int, count: int, size: int) -> None:
    with atomic_path(path) as temporary:
        shard = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
        for i in range(count):
            shard[i] = generator.frame(start + i)
        shard.flush()


def _open_shard(path: Path) -> np.ndarray:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CorruptFileError(f"{path} is not a whole frame shard ({error}); delete it") from None
    if shard.ndim != 4 or shard.shape[3] != 3 or shard.dtype != np.uint8:
        raise CorruptFileError(
            f"{path} holds {shard.dtype} {shard.shape}; expected uint8 (frames, S, S, 3)"
        )
    return shard


@dataclass(frozen=True)
class ViewConfig:
    """How views are cut: which share of the frame a view spans, as S² tiles do."""

    scales: tuple[float, ...] = (1.0, 2.0, 3.0)
    """A view at scale s spans 1/s of the frame's side: what a tile of scale s shows."""
    weights: tuple[float, ...] = (0.4, 0.35, 0.25)
    """Share of the views drawn at each scale."""
    jitter: float = 0.2
    """A view's side is shrunk by a random factor in [1 - jitter, 1]."""
    flip: float = 0.5
    """Probability of a left-right flip."""

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.weights) or not self.scales:
            raise ValueError(f"scales {self.scales} and weights {self.weights} must pair up")
        if min(self.scales) < 1:
            raise ValueError(f"scales must be at least 1; got {self.scales}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must lie in [0, 1); got {self.jitter}")


class ViewSampler:
    """Random views of a pool; a batch depends only on (seed, step), so a resume repeats it."""

    def __init__(self, pool: FramePool, size: int, config: ViewConfig, seed: int) -> None:
        self._pool = pool
        self._size = size
        self._config = config
        self._seed = seed

    def batch(self, step: int, views: int) -> torch.Tensor:
        """Views ``(views, 3, size, size)`` uint8 of training step ``step``."""
        rng = np.random.default_rng([self._seed, step])
        return torch.cat([self._view(rng) for _ in range(views)])

    def _view(self, rng: np.random.Generator) -> torch.Tensor:
        frame = self._pool[int(rng.integers(len(self._pool)))]
        weights = np.asarray(self._config.weights)
        scale = self._config.scales[int(rng.choice(len(weights), p=weights / weights.sum()))]
        side = round(frame.shape[0] / scale * rng.uniform(1 - self._config.jitter, 1))
        top, left = rng.integers(0, frame.shape[0] - side + 1, size=2)
        crop = frame[top : top + side, left : left + side]
        if rng.random() < self._config.flip:
            crop = crop[:, ::-1]
        image = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # (1, 3, side, side)
        return F.interpolate(image, size=(self._size, self._size), mode="bilinear", antialias=True)
