"""Latency of one candidate here: single frames, the camera's size, the runtime that suits one."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from s2robot.analysis.latency import WARM_UP_FRAMES, measure
from s2robot.encoder.frame_encoder import FrameEncoder

FRAMES = 100
"""Frames that are timed, if that takes no longer than ``SECONDS``."""
LEAST_FRAMES = 20
SECONDS = 5.0


@dataclass(frozen=True)
class Latency:
    """Time from a frame in memory to its embedding in memory."""

    p50_ms: float
    p95_ms: float
    frames: int
    """Number of frames that were timed, after a warm-up."""
    runtime: str
    device: str


def time_encoder(encoder: FrameEncoder, frames: np.ndarray) -> Latency:
    """Return the latency of an encoder on single frames.

    Args:
        encoder: the encoder; with runtime "auto", the one that suits single frames is taken.
        frames: ``(T, H, W, 3)`` uint8, which are repeated.
    """
    single = encoder.for_batches_of(1)
    path = single.single_frame(*frames.shape[1:3])
    seconds = min(_once(path, frames[0]) for _ in range(3))
    wanted = int(min(FRAMES, max(LEAST_FRAMES, SECONDS / seconds)))
    numbers = np.arange(WARM_UP_FRAMES + wanted) % len(frames)
    (row,) = measure({single.runtime.name: path}, frames[numbers])
    return Latency(
        round(row.p50_ms, 3), round(row.p95_ms, 3), row.frames, row.path, single.device.type
    )


def _once(path: object, frame: np.ndarray) -> float:
    assert callable(path)
    started = time.perf_counter()
    embedding = path(frame)
    if isinstance(embedding, torch.Tensor) and embedding.is_cuda:
        torch.cuda.synchronize(embedding.device)
    return time.perf_counter() - started
