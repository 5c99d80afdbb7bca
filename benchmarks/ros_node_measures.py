"""What the benchmarks of the ROS 1 and the ROS 2 node share: ages, rates, memory, slow encoders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

NODE_VALUES = (
    "encode_p50_ms",
    "encode_p95_ms",
    "overhead_p50_ms",
    "overhead_p95_ms",
    "wait_p50_ms",
    "age_p50_ms",
    "reuse_hit_rate",
    "dropped",
    "undelivered",
)
HOUR_MESSAGES = 108_000  # 30 a second
SLOW_S, PERIOD_S = 0.1, 1 / 30
TARGETS = {
    "hz": 29.9,
    "overhead_ms": {"rgb8": 1.5, "others": 3.0},
    "slow_age_ms": 1.15 * 1000 * (SLOW_S + PERIOD_S),
    "growth_share": 0.02,
}
ENCODINGS = ("rgb8", "bayer_rggb8", "yuv422_yuy2")


class Arrivals:
    """Ages of embeddings on arrival, and when they arrived."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float]] = []

    def take(self, stamp_s: float) -> None:
        """Note an embedding of a frame with this stamp [s]."""
        now = time.time()
        self.rows.append((now, now - stamp_s))

    def summary(self, since: float, until: float) -> dict[str, Any]:
        ages = [age for at, age in self.rows if since <= at < until]
        return {
            "embeddings": len(ages),
            "hz": len(ages) / (until - since),
            "age_ms": quantiles(ages),
        }


def quantiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{q}": float(np.percentile(seconds, q) * 1000) for q in (50, 95, 99)}


def listened(arrivals: Arrivals, record: Path, seconds: float) -> dict[str, Any]:
    """Embeddings that arrive here against frames that the camera sent, after three of warm-up.

    Args:
        arrivals: get the embeddings; some have arrived.
        record: the camera's, whose rows end with the stamp [ns].
        seconds: to listen.
    """
    time.sleep(3)
    since = time.time()
    time.sleep(seconds)
    until = time.time()
    row = arrivals.summary(since, until)
    stamps = [int(line.split()[-1]) / 1e9 for line in record.read_text().splitlines()]
    row["frames"] = sum(since <= stamp < until for stamp in stamps)
    return row


def node_values(told: Mapping[str, str]) -> dict[str, float]:
    """What the node tells of itself, of its status on /diagnostics."""
    return {name: float(told[name]) for name in NODE_VALUES if name in told}


def soaked(
    told: Callable[[], Mapping[str, str]], pid: int, messages: int, every_s: float = 5.0
) -> dict[str, Any]:
    """Memory of a node over so many messages, sent as fast as they go.

    Args:
        told: the newest status of the node's encoder.
        pid: of the node.
        messages: to receive.
        every_s: time between two looks.
    """
    rows: list[dict[str, float]] = []
    values: Mapping[str, str] = {}
    started, received = time.time(), 0
    while received < messages:
        time.sleep(every_s)
        values = told()
        received = int(values["received"])
        rows.append({"received": received, "rss_mib": rss_mib(pid), "s": time.time() - started})
        print(f"{received:7d} messages, {rows[-1]['rss_mib']:.1f} MiB", flush=True)
    settled = [row for row in rows if row["received"] >= messages / 10] or rows
    growth = 0.0
    if len(settled) > 1:
        # The slope of a line through all but the first tenth, over the whole hour's messages.
        counts, memory = ([row[key] for row in settled] for key in ("received", "rss_mib"))
        growth = float(np.polyfit(counts, memory, 1)[0] * messages)
    return {
        "messages": received,
        "failed": int(values["failed"]),
        "seconds": rows[-1]["s"],
        "rss_mib": rows,
        "rss_at_start_mib": settled[0]["rss_mib"],
        "rss_at_end_mib": settled[-1]["rss_mib"],
        "growth_mib": growth,
        "growth_share": growth / settled[0]["rss_mib"],
    }


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Sleeps:
    """An encoder of a given time that leaves the processor alone, as one on a GPU does."""

    shape = (384,)
    hit_rate = None

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, frames: Any) -> np.ndarray:
        if self._seconds:
            time.sleep(self._seconds)
        return np.zeros(self.shape, np.float32)

    def reset(self) -> None:
        """Nothing is kept."""


def tell(name: str, row: dict[str, Any]) -> None:
    node = row.get("node", {})
    parts = ", ".join(f"{key} {value:g}" for key, value in node.items())
    age = row["age_ms"]
    ages = f"age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms" if age else "no embedding"
    print(
        f"{name}: {row['embeddings']} of {row['frames']} frames, {row['hz']:.1f} Hz, {ages}; "
        f"{parts}",
        flush=True,
    )
