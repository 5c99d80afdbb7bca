"""Latency of one candidate here: single frames, the camera's size, the runtime that suits one."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    """Time from a frame of each camera in memory to their embeddings in memory."""

    p50_ms: float
    p95_ms: float
    frames: int
    """Number of frames that were timed, after a warm-up."""
    runtime: str
    device: str


def time_encoder(encoder: FrameEncoder, *cameras: np.ndarray) -> Latency:
    """Return the latency of an encoder on single frames: one of each camera, in turn.

    Args:
        encoder: the encoder; with runtime "auto", the one that suits single frames is taken.
        cameras: frames ``(T, H, W, 3)`` uint8 of each camera, which are repeated.
    """
    single = encoder.for_batches_of(1)
    shapes = {frames.shape[1:3] for frames in cameras}
    paths = {shape: single.single_frame(*shape) for shape in shapes}

    numbers = np.arange(min(map(len, cameras)))

    def step(moment: np.ndarray) -> torch.Tensor:
        """Embed the frames of a moment, which is given by its number ()."""
        found = [paths[frames.shape[1:3]](frames[int(moment)]) for frames in cameras]
        return found[0] if len(found) == 1 else torch.cat(found, dim=1)

    seconds = min(_once(step, numbers[0]) for _ in range(3))
    wanted = int(min(FRAMES, max(LEAST_FRAMES, SECONDS / seconds)))
    moments = np.arange(WARM_UP_FRAMES + wanted) % len(numbers)
    (row,) = measure({single.runtime.name: step}, moments)
    return Latency(
        round(row.p50_ms, 3), round(row.p95_ms, 3), row.frames, row.path, single.device.type
    )


def _once(step: Callable[[np.ndarray], torch.Tensor], moment: np.ndarray) -> float:
    started = time.perf_counter()
    embedding = step(moment)
    if embedding.is_cuda:
        torch.cuda.synchronize(embedding.device)
    return time.perf_counter() - started
