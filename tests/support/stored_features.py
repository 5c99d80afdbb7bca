"""A feature store on computed pictures and a tiny encoder."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder

FRAMES = 11


BLOCK = 3


@dataclass
class Demos:
    digest: str = "demos"
    num_frames: int = FRAMES


@dataclass
class Frames:
    """Reader of computed pictures that records its reads and may kill its process at a frame."""

    count: int = FRAMES
    camera: str = "front"
    kill_at: int = -1
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def source(self) -> dict[str, Any]:
        return {"camera": self.camera}

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> np.ndarray:
        if start <= self.kill_at < stop:
            os.kill(os.getpid(), signal.SIGKILL)
        self.reads.append((start, stop))
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, size=(self.count, 40, 40, 3), dtype=np.uint8)
        return pictures[start:stop]


Make = Callable[..., FrameEncoder]


def fill(store: FeatureStore, encoder: FrameEncoder, **settings: Any) -> Frames:
    """Encode and return the reader, which records the frames that were read."""
    frames = Frames()
    store.ensure(Demos(), frames, encoder, progress=False, **settings)
    return frames


def entries(store: FeatureStore) -> list[Path]:
    return sorted(path.parent for path in store.root.glob("*/meta.json"))


class Interrupted(Frames):
    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self.stop_at = stop_at

    def read(self, start: int, stop: int) -> np.ndarray:
        if stop > self.stop_at:
            raise InterruptedError
        return super().read(start, stop)


def assert_same(features: torch.Tensor, whole: torch.Tensor) -> None:
    """Compare features that may have been encoded in batches of other sizes."""
    torch.testing.assert_close(features, whole, rtol=1e-3, atol=1e-3)


def store_whole(store: FeatureStore, encoder: FrameEncoder) -> torch.Tensor:
    return store.load(Demos(), fill(store, encoder), encoder)
