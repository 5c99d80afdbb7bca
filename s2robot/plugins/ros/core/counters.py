"""Counts and sliding windows of one channel, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from s2robot.utils.deprecation import moved_names

WINDOW_FRAMES = 300
"""Number of frames for percentiles: ten seconds at 30 Hz."""
RATE_WINDOW_S = 5.0
RECENT_S = 10.0
"""Time for which a failure counts as recent [s]."""
_MOST_TIMES = 1024


@dataclass(frozen=True)
class Spread:
    """Percentiles of a sliding window [s]."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return the percentiles of ``values``, or None without any."""
        found = list(values)
        return cls(*(float(p) for p in np.percentile(found, (50, 95)))) if found else None


@dataclass(frozen=True)
class CounterSnapshot:
    """Counts and percentiles of a channel at one moment.

    When no frame waits or is being encoded, ``received`` is the sum of ``published``, ``dropped``,
    ``limited``, ``late``, ``stale``, ``nan``, ``discarded`` and ``failed``.
    """

    received: int
    """Frames, or sets of frames, that arrived while the channel was enabled."""
    encoded: int
    """Embeddings of the encoder without NaN or infinite numbers."""
    published: int
    dropped: int
    """Replaced by a newer frame before the encoder was free."""
    limited: int
    """Skipped because of the rate limit."""
    late: int
    """Older than the published or the waiting frame, by a second at most."""
    resets: int
    """Stamps that are older by more, as the clock was reset. Their frames are published."""
    stale: int
    """Older than the limit, before or after encoding."""
    nan: int
    """Embeddings that were NaN or infinite."""
    discarded: int
    """Waiting or being encoded when the channel was disabled."""
    size_changes: int
    """Frames with another size than the previous one."""
    unstamped: int
    """Frames whose stamp was never set, so that their age is unknown."""
    undelivered: int
    """Frames that the middleware lost on their way here, as far as it tells; not received."""
    failed: dict[str, int]
    """Frames that could not be encoded or published, by kind."""
    recent: dict[str, int]
    """Failures of the last ``RECENT_S`` by kind, including NaN, stale and undelivered."""
    received_hz: float
    published_hz: float
    since_received_s: float | None
    """Time since the last arrival [s]; None before the first."""
    since_published_s: float | None
    encode_s: Spread | None
    """Latency of the encoder."""
    wait_s: Spread | None
    """Time from arrival until the encoder was free."""
    overhead_s: Spread | None
    """Time from arrival until the publication ended, without encoding but with waiting."""
    age_s: Spread | None
    """Time from the frame's stamp to the publication, by the node's clock."""
    hit_rate: float | None
    """Share of tiles that were reused; None without reuse."""

    @property
    def backwards(self) -> int:
        """Number of stamps that were older than the last one."""
        return self.late + self.resets

    @property
    def failures(self) -> int:
        """Number of frames that failed, of any kind."""
        return sum(self.failed.values())


COUNTS = tuple(field.name for field in fields(CounterSnapshot) if field.type == "int")


class Counters:
    """Counter of the events of one channel; any thread may call any method.

    Args:
        window: number of frames for percentiles.
    """

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
        """Add to a count.

        Args:
            name: one of ``COUNTS``.
            number: the number to add.
        """
        with self._lock:
            self._counts[name] += number

    def arrived(self, at_s: float) -> None:
        """Record the arrival of a frame."""
        with self._lock:
            self._counts["received"] += 1
            self._arrivals.append(at_s)

    def lost(self, name: str, at_s: float) -> None:
        """Record a frame that was stale, did not arrive, or had an embedding with NaN.

        Args:
            name: "stale", "undelivered" or "nan".
            at_s: time of the event [s].
        """
        with self._lock:
            self._counts[name] += 1
            self._recent.append((at_s, name))

    def failed(self, kind: str, at_s: float) -> None:
        """Record a frame that failed.

        Args:
            kind: kind of the failure.
            at_s: time of the event [s].
        """
        with self._lock:
            self._failed[kind] += 1
            self._recent.append((at_s, kind))

    def encoded(self, encode_s: float, hit_rate: float | None) -> None:
        """Record an embedding.

        Args:
            encode_s: latency of the encoder [s].
            hit_rate: share of reused tiles so far; None without reuse.
        """
        with self._lock:
            self._counts["encoded"] += 1
            self._series["encode"].append(encode_s)
            self._hit_rate = hit_rate

    def published(self, at_s: float, wait_s: float, overhead_s: float, age: float | None) -> None:
        """Record a publication.

        Args:
            at_s: time of the event [s].
            wait_s: time from arrival until the encoder was free [s].
            overhead_s: time from arrival until now without encoding [s].
            age: time from the frame's stamp [s]; None if the stamp was never set.
        """
        with self._lock:
            self._counts["published"] += 1
            self._counts["unstamped"] += age is None
            self._published.append(at_s)
            self._series["wait"].append(wait_s)
            self._series["overhead"].append(overhead_s)
            if age is not None:
                self._series["age"].append(age)

    def snapshot(self, now_s: float) -> CounterSnapshot:
        """Return all numbers; ``now_s`` is the time of the clock that the other times are from."""
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
    """Return the rate [Hz] over the last ``RATE_WINDOW_S``, or since the first event if shorter."""
    recent = [at for at in times if now_s - at <= RATE_WINDOW_S]
    if len(recent) < 2:
        return len(recent) / RATE_WINDOW_S
    whole = len(recent) < len(times)  # there are earlier events, so the window is full
    return (
        len(recent) / RATE_WINDOW_S if whole else (len(recent) - 1) / max(now_s - recent[0], 1e-9)
    )


__getattr__ = moved_names(__name__, {"Snapshot": f"{__name__}:CounterSnapshot"})
