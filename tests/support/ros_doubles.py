"""Doubles for tests of the ROS nodes' core: clocks, messages, encoders, a worker on a bench."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from s2robot.data.ros_messages.stamps import NS
from s2robot.errors import NonFiniteError
from s2robot.plugins.ros.core import (
    EmbeddingResult,
    LatestFrameWorker,
    Level,
)
from s2robot.plugins.ros.core.counters import CounterSnapshot

EPOCH_S = 1_700_000_000
SIDE = 8


class Clock:
    """Clock that the test moves: monotonic seconds, and ROS time from the same source."""

    def __init__(self) -> None:
        self.s = 100.0
        self.ros_s = float(EPOCH_S)

    def __call__(self) -> float:
        return self.s

    def ros(self) -> int:
        return round(self.ros_s * NS)

    def forward(self, seconds: float) -> None:
        self.s += seconds
        self.ros_s += seconds


def header(stamp: int, style: str = "ros2", sequence: int = 0) -> Any:
    whole, rest = divmod(stamp, NS)
    names = ("sec", "nanosec") if style == "ros2" else ("secs", "nsecs")
    stamps = SimpleNamespace(**dict(zip(names, (whole, rest), strict=True)))
    return SimpleNamespace(stamp=stamps, frame_id="camera", sequence=sequence)


def numbered(
    sequence: int, stamp: int, size: tuple[int, int] = (SIDE, SIDE), **changes: Any
) -> Any:
    """Return an image whose first pixels encode its sequence number."""
    height, width = size
    data = bytearray(height * width * 3)
    data[:4] = sequence.to_bytes(4, "little")
    fields = {
        "header": header(stamp, sequence=sequence),
        "height": height,
        "width": width,
        "encoding": "rgb8",
        "is_bigendian": 0,
        "step": width * 3,
        "data": bytes(data),
    }
    return SimpleNamespace(**{**fields, **changes})


class Reads:
    """Encoder whose embedding is the sequence number in a frame's pixels."""

    shape = (1,)
    hit_rate = None

    def __init__(self, after: Callable[[int], object] = lambda number: None) -> None:
        self.after = after
        self.calls: list[int] = []
        self.resets = 0
        self.buffer = np.zeros(1)  # used again for every frame, as runtimes do

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        frame = next(iter(frames.values()))
        self.calls.append(int.from_bytes(frame.tobytes()[:4], "little"))
        self.buffer[:] = self.calls[-1]
        self.after(self.calls[-1])
        return self.buffer

    def reset(self) -> None:
        self.resets += 1


class Bench:
    """Worker of one channel without a thread, on a clock that the test moves."""

    def __init__(self, encoder: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.encoder = encoder or Reads()
        self.results: list[EmbeddingResult] = []
        self.log: list[tuple[Level, str]] = []
        self.worker = LatestFrameWorker(
            {"camera": self.encoder},
            settings.pop("publish", self.results.append),
            self.clock.ros,
            lambda level, text: self.log.append((level, text)),
            clock=self.clock,
            **settings,
        )

    def push(self, sequence: int, stamp_s: float | None = None, **changes: Any) -> bool:
        """Offer a frame stamped now (or at a second from the start) and encode waiting frames."""
        stamp = self.clock.ros() if stamp_s is None else round((EPOCH_S + stamp_s) * NS)
        self.worker.offer("camera", {"camera": numbered(sequence, stamp, **changes)})
        return self.worker.process_next()

    @property
    def counts(self) -> CounterSnapshot:
        return self.worker.snapshots()["camera"]

    @property
    def numbers(self) -> list[int]:
        return [int(result.embedding[0]) for result in self.results]


def accounted(counts: CounterSnapshot) -> int:
    names = ("published", "dropped", "limited", "late", "stale", "nan", "discarded")
    return sum(getattr(counts, name) for name in names) + counts.failures


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


BAD = {
    "encoding": {"encoding": "rgb9"},
    "truncated": {"data": b"\0" * 5},
    "zero_size": {"width": 0},
    "step": {"step": 3},
    "malformed": {"data": 3.5},
    "stamp": {"header": SimpleNamespace(stamp=None)},
}


class Broken(Reads):
    """Encoder whose every second embedding is not finite, as a value or as an exception."""

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        found = super().__call__(frames)
        if self.calls[-1] % 4 == 1:
            return np.array([np.nan])
        if self.calls[-1] % 4 == 3:
            raise NonFiniteError("features of frames 0 are NaN or infinite: the weight 'w'")
        return found
