"""Counts and sliding windows of one channel; their memory is bounded."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from s2robot.utils.deprecation import moved_names

WINDOW_FRAMES = 300
"""Frames that percentiles are over: ten seconds at 30 Hz."""
RATE_WINDOW_S = 5.0
RECENT_S = 10.0
"""How long a failure is reported as one of the present."""
_MOST_TIMES = 1024


@dataclass(frozen=True)
class Spread:
    """Percentiles of a sliding window [s]."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Percentiles of ``values``; None of no values."""
        found = list(values)
        return cls(*(float(p) for p in np.percentile(found, (50, 95)))) if found else None


@dataclass(frozen=True)
class CounterSnapshot:
    """All numbers of a channel at one moment.

    Once nothing waits or is being encoded, ``received`` is the sum of ``published``, ``dropped``,
    ``limited``, ``late``, ``stale``, ``nan``, ``discarded`` and ``failed``.
    """

    received: int
    """Frames, or sets of frames, that arrived while the channel was enabled."""
    encoded: int
    """Embeddings that the encoder gave, all numbers finite."""
    published: int
    dropped: int
    """Overwritten by a newer frame before the encoder was free."""
    limited: int
    """Left out by the rate limit."""
    late: int
    """Older than the frame published or waiting, by a second at most."""
    resets: int
    """Stamps that jumped back further: the clock was set back. Their frames are published."""
    stale: int
    """Older than the limit before they were encoded, or after."""
    nan: int
    """Embeddings that were NaN or infinite."""
    discarded: int
    """Waiting or in work when the channel was disabled."""
    size_changes: int
    """Frames of another size than the one before."""
    unstamped: int
    """Frames whose stamp was never filled in: their age is unknown."""
    failed: dict[str, int]
    """Frames that could not be encoded or published, by kind."""
    recent: dict[str, int]
    """Failures of the last ``RECENT_S`` by kind, NaN and stale among them."""
    received_hz: float
    published_hz: float
    since_received_s: float | None
    """Seconds since the last arrival; None before the first."""
    since_published_s: float | None
    encode_s: Spread | None
    """Latency of the encoder."""
    wait_s: Spread | None
    """From arrival until the encoder was free."""
    overhead_s: Spread | None
    """From arrival until the end of the publication, less the encoding; waiting is in it."""
    age_s: Spread | None
    """From the frame's stamp to the publication, by the node's clock."""
    hit_rate: float | None
    """Share of tiles that crop reuse saved; None without it."""

    @property
    def backwards(self) -> int:
        """Stamps that went backwards, by however much."""
        return self.late + self.resets

    @property
    def failures(self) -> int:
        """Frames that failed, of any kind."""
        return sum(self.failed.values())


COUNTS = tuple(field.name for field in fields(CounterSnapshot) if field.type == "int")


class Counters:
    """Counts of one channel; any thread may call any method."""

    def __init__(self, window: int = WINDOW_FRAMES) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._recent: deque[tuple[float, str]] = deque(maxlen=_MOST_TIMES)
        self._arrivals: deque[float] = deque(maxlen=_MOST_TIMES)
        self._published: deque[float] = deque(maxlen=_MOST_TIMES)
        self._series = {
            name: deque[float](maxlen=window) for name in ("encode", "wait", "overhead", "age")
        }
        self._hit_rate: float | None = None

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count of ``COUNTS``."""
        with self._lock:
            self._counts[name] += number

    def arrived(self, at_s: float) -> None:
        """A frame arrived."""
        with self._lock:
            self._counts["received"] += 1
            self._arrivals.append(at_s)

    def lost(self, name: str, at_s: float) -> None:
        """A frame was stale or its embedding NaN."""
        with self._lock:
            self._counts[name] += 1
            self._recent.append((at_s, name))

    def failed(self, kind: str, at_s: float) -> None:
        """A frame failed."""
        with self._lock:
            self._failed[kind] += 1
            self._recent.append((at_s, kind))

    def encoded(self, encode_s: float, hit_rate: float | None) -> None:
        """The encoder gave an embedding."""
        with self._lock:
            self._counts["encoded"] += 1
            self._series["encode"].append(encode_s)
            self._hit_rate = hit_rate

    def published(self, at_s: float, wait_s: float, overhead_s: float, age: float | None) -> None:
        """An embedding was published; ``age`` is None where its stamp was never filled in."""
        with self._lock:
            self._counts["published"] += 1
            self._counts["unstamped"] += age is None
            self._published.append(at_s)
            self._series["wait"].append(wait_s)
            self._series["overhead"].append(overhead_s)
            if age is not None:
                self._series["age"].append(age)

    def snapshot(self, now_s: float) -> CounterSnapshot:
        """All numbers; ``now_s`` is of the clock that the other times are of."""
        with self._lock:
            recent = Counter(kind for at, kind in self._recent if now_s - at <= RECENT_S)
            counts: dict[str, Any] = {name: self._counts[name] for name in COUNTS}
            spreads: dict[str, Any] = {
                f"{name}_s": Spread.of(values) for name, values in self._series.items()
            }
            return CounterSnapshot(
                **counts,
                **spreads,
                failed=dict(self._failed),
                recent=dict(recent),
                received_hz=_rate(self._arrivals, now_s),
                published_hz=_rate(self._published, now_s),
                since_received_s=_since(self._arrivals, now_s),
                since_published_s=_since(self._published, now_s),
                hit_rate=self._hit_rate,
            )


def _since(times: deque[float], now_s: float) -> float | None:
    return now_s - times[-1] if times else None


def _rate(times: deque[float], now_s: float) -> float:
    """Events a second over the last ``RATE_WINDOW_S``, or since the first where that is less."""
    recent = [at for at in times if now_s - at <= RATE_WINDOW_S]
    if len(recent) < 2:
        return len(recent) / RATE_WINDOW_S
    whole = len(recent) < len(times)  # earlier ones exist: the window is full
    return (
        len(recent) / RATE_WINDOW_S if whole else (len(recent) - 1) / max(now_s - recent[0], 1e-9)
    )


__getattr__ = moved_names(__name__, {"Snapshot": f"{__name__}:CounterSnapshot"})
