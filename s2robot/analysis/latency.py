"""Latency of encoders frame by frame, each path in turn; behind ``s2robot bench``.

Paths take turns after every 20 frames, so that a busy machine slows all of them alike and none
finds the caches of another. Time is from the uint8 frame in memory to the embedding in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.streaming import FrameStream
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError, difference
from s2robot.utils.progress import tracked

WARM_UP_FRAMES = 10
BLOCK_FRAMES = 20
EncodesFrame = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class Row:
    """Latency and accuracy of one path over all frames."""

    path: str
    """Name of the runtime; ends in ", reuse" if unchanged tiles were reused."""
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    speedup: float
    """Median time of the first path (eager PyTorch) divided by the median time of this path."""
    cosine_min: float
    """Lowest cosine similarity between an embedding and that of eager PyTorch."""
    difference: float
    """Largest difference from eager PyTorch, as a share of the embeddings' standard deviation."""
    hit_rate: float | None = None
    """Share of the tiles that were reused; None for a path that reuses none."""
    late: int | None = None
    """Number of frames that took longer than the period; None without ``hz``."""
    holds: bool | None = None
    """True if the 95th percentile is within the period; None without ``hz``."""


def make_paths(
    encoder: FrameEncoder, runtimes: Sequence[str], reuse: bool, shape: tuple[int, int]
) -> tuple[dict[str, EncodesFrame], dict[str, str]]:
    """Return the paths to time, one for each runtime that works on this machine.

    Args:
        encoder: the encoder to time.
        runtimes: names of runtimes.
        reuse: add a path that reuses unchanged tiles for each of ``runtimes``.
        shape: (height, width) of the frames [px].

    Returns:
        Paths by name, eager PyTorch first; and, by name of runtime, the reason why it is missing.
    """
    paths: dict[str, EncodesFrame] = {}
    left_out: dict[str, str] = {}
    named = list(dict.fromkeys(runtimes))
    for name in ["eager", *(name for name in named if name != "eager")]:
        try:
            own = encoder.with_runtime(name)
        except (RuntimeMissingError, RuntimeFailedError) as error:
            left_out[name] = str(error)
            continue
        label = name if name in named else "eager (baseline)"
        if name == "auto":
            own = own.for_batches_of(1)
            label = f"auto: {own.runtime.name}"
        paths[label] = own.single_frame(*shape)
        if reuse and name in named:
            paths[f"{label}, reuse"] = own.stream()
    return paths, left_out


def measure(
    paths: dict[str, EncodesFrame], frames: np.ndarray, hz: float | None = None, show: bool = False
) -> list[Row]:
    """Return the times of every path on every frame; paths take turns after each block of frames.

    The first ``WARM_UP_FRAMES`` frames do not count.

    Args:
        paths: functions from a frame ``(H, W, 3)`` to an embedding ``(1, D)``, by name; the others
            are compared with the first.
        frames: ``(T, H, W, 3)`` uint8.
        hz: rate at which frames arrive [Hz]; None for no pause between frames.
        show: show a progress bar.

    Returns:
        One row for each path, in their order.

    Examples:
        >>> def mean_color(frame):
        ...     return torch.from_numpy(frame.mean(axis=(0, 1)))[None]  # (1, 3)
        >>> frames = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        >>> eager, other = measure({"eager": mean_color, "other": mean_color}, frames)
        >>> other.frames, other.difference, round(other.cosine_min, 6)
        (10, 0.0, 1.0)
    """
    skipped = min(WARM_UP_FRAMES, len(frames) - 1)
    runs = {name: _Run() for name in paths}
    starts = range(0, len(frames), BLOCK_FRAMES)
    for start in tracked(starts, "blocks of frames", show):
        for name, path in paths.items():
            for frame in frames[start : start + BLOCK_FRAMES]:
                waited = runs[name].take(path, frame)
                if hz:
                    time.sleep(max(0.0, 1 / hz - waited))
    baseline = next(iter(runs.values()))
    return [
        runs[name].row(name, baseline, skipped, hz, _hit_rate(path)) for name, path in paths.items()
    ]


def _hit_rate(path: EncodesFrame) -> float | None:
    return path.stats.hit_rate if isinstance(path, FrameStream) else None


@dataclass
class _Run:
    """Times and embeddings of one path, frame by frame."""

    seconds: list[float] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)

    def take(self, path: EncodesFrame, frame: np.ndarray) -> float:
        """Embed a frame and return the time that it took [s]."""
        started = time.perf_counter()
        embedding = path(frame)
        if embedding.is_cuda:
            torch.cuda.synchronize(embedding.device)
        self.seconds.append(time.perf_counter() - started)
        self.embeddings.append(embedding.cpu())
        return self.seconds[-1]

    def row(
        self, name: str, baseline: _Run, skipped: int, hz: float | None, hit_rate: float | None
    ) -> Row:
        seconds = np.array(self.seconds[skipped:])
        p50, p95, p99 = (float(np.percentile(seconds, q) * 1000) for q in (50, 95, 99))
        found, expected = torch.cat(self.embeddings), torch.cat(baseline.embeddings)
        cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
        return Row(
            path=name,
            frames=len(seconds),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            speedup=float(np.median(baseline.seconds[skipped:]) / np.median(seconds)),
            cosine_min=float(cosine.min()),
            difference=difference(found, expected),
            hit_rate=hit_rate,
            late=None if hz is None else int((seconds > 1 / hz).sum()),
            holds=None if hz is None else p95 <= 1000 / hz,
        )
