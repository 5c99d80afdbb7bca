"""What does the ROS core add to the encoder's time, and how old are embeddings when they leave?

(a) Overhead: 640 x 480 images arrive at 30 Hz and an encoder that costs nothing answers. From the
arrival of a message to the end of its publication, less the encoding: the slot, the change of
threads, the conversion to RGB as the encoder takes it, the hand-over. The target is 3 ms for rgb8;
other encodings are reported beside it.

(b) Age: an encoder of 100 ms at 30 Hz. From a frame's stamp to its embedding's publication. Frames
come three times as often as the encoder can take them; a worker that always takes the newest has
them 100 ms old plus half a frame's period of waiting (17 ms). The target is a median of 140 ms.
For comparison the same with a queue of ten frames, first in, first out, which is what a
subscription without the overwrite slot amounts to.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/ros_core.py
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from s2robot.plugins.ros.core import EmbeddingResult, LatestFrameWorker, Level, frame_of
from s2robot.preprocessing.frame_input import as_frames
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "ros_core.json"
HEIGHT, WIDTH = 480, 640
BYTES = {"rgb8": 3, "bgr8": 3, "mono8": 1, "mono16": 2, "bayer_rggb8": 1, "yuv422_yuy2": 2}
OVERHEAD_TARGET_MS, AGE_TARGET_MS = 3.0, 140.0


class Waits:
    """An encoder that takes frames as the real ones do, then sleeps: it uses no processor."""

    shape = (1,)
    hit_rate = None

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.taking_s: list[float] = []

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        started = time.perf_counter()
        for frame in frames.values():
            as_frames(frame)  # a copy where the message's memory cannot be used as it is
        self.taking_s.append(time.perf_counter() - started)
        if self.seconds:
            time.sleep(self.seconds)
        return np.zeros(1, np.float32)

    def reset(self) -> None:
        """Nothing is kept."""


def messages(encoding: str, count: int = 8) -> list[Any]:
    """Images of noise without a header."""
    rng = np.random.default_rng(0)
    step = WIDTH * BYTES[encoding]
    return [
        SimpleNamespace(
            height=HEIGHT,
            width=WIDTH,
            encoding=encoding,
            is_bigendian=0,
            step=step,
            data=rng.bytes(step * HEIGHT),
        )
        for _ in range(count)
    ]


def stamped(message: Any) -> Any:
    """The same image, taken now."""
    sec, nanosec = divmod(time.time_ns(), 10**9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id="camera")
    return SimpleNamespace(**{**vars(message), "header": header})


def feed(encoding: str, hz: float, seconds: float, offer: Callable[[Any], Any]) -> int:
    """Hand images on at a steady rate; returns how many."""
    pictures, started = messages(encoding), time.perf_counter()
    total = round(hz * seconds)
    for i in range(total):
        time.sleep(max(0.0, started + i / hz - time.perf_counter()))
        offer(stamped(pictures[i % len(pictures)]))
    return total


def with_slot(encoding: str, hz: float, seconds: float, encode_s: float) -> dict[str, Any]:
    """The worker on a steady camera; the first second is a warm-up."""
    results: list[tuple[float, EmbeddingResult]] = []
    encoder = Waits(encode_s)

    def publish(result: EmbeddingResult) -> None:
        now = time.monotonic()
        results.append((now - result.arrived_s - result.timings.encode_s, result))

    worker = LatestFrameWorker({"camera": encoder}, publish, time.time_ns, _print)
    worker.start()
    offered = feed(encoding, hz, seconds + 1, lambda m: worker.offer("camera", {"camera": m}))
    time.sleep(2 * encode_s + 0.1)
    worker.stop()
    counts = worker.snapshots()["camera"]
    first = results[0][1].arrived_s + 1
    kept = [
        (over, taking, result)
        for (over, result), taking in zip(results, encoder.taking_s, strict=True)
        if result.arrived_s > first
    ]
    # What the encoder does to take a message's memory is the conversion's, not the encoding.
    overheads = [over + taking for over, taking, _ in kept]
    ages = [result.timings.age_s for _, _, result in kept if result.timings.age_s is not None]
    return {
        "encoding": encoding,
        "hz": hz,
        "encode_ms": 1000 * encode_s,
        "offered": offered,
        "published": counts.published,
        "dropped": counts.dropped,
        "overhead_ms": _quantiles(overheads),
        "wait_ms": _quantiles([result.timings.wait_s for _, _, result in kept]),
        "convert_ms": _quantiles([r.timings.convert_s + taking for _, taking, r in kept]),
        "age_ms": _quantiles(ages),
    }


def with_queue(hz: float, seconds: float, encode_s: float, length: int) -> dict[str, Any]:
    """A first-in, first-out queue that drops what arrives when it is full."""
    waiting: queue.Queue[Any] = queue.Queue(length)
    ages: list[float] = []
    encoder = Waits(encode_s)

    def run() -> None:
        while (message := waiting.get()) is not None:
            encoder({"camera": frame_of(message)})
            stamp = message.header.stamp
            ages.append(time.time() - stamp.sec - stamp.nanosec / 1e9)

    def offer(message: Any) -> None:
        if not waiting.full():
            waiting.put(message)

    thread = threading.Thread(target=run)
    thread.start()
    feed("rgb8", hz, seconds + 1, offer)
    waiting.put(None)
    thread.join()
    warm = round(1 / max(encode_s, 1 / hz))
    return {"length": length, "published": len(ages), "age_ms": _quantiles(ages[warm:])}


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(seconds, q) * 1000) for q in (50, 95, 99)}


def _print(level: Level, text: str) -> None:
    print(f"{level.name}: {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--hz", type=float, default=30.0, help="rate of the camera")
    parser.add_argument("--encode-ms", type=float, default=100.0, help="time of the slow encoder")
    parser.add_argument("--encodings", nargs="+", default=list(BYTES), choices=list(BYTES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    encode_s = options.encode_ms / 1000
    overheads = []
    for encoding in options.encodings:
        overheads.append(with_slot(encoding, options.hz, options.seconds, 0.0))
        found = overheads[-1]["overhead_ms"]
        print(f"{encoding:12} overhead p50 {found['p50']:.2f} ms, p95 {found['p95']:.2f} ms")
    slot = with_slot(options.encodings[0], options.hz, options.seconds, encode_s)
    fifo = with_queue(options.hz, options.seconds, encode_s, 10)
    for name, row in (("slot", slot), ("queue of 10", fifo)):
        age = row["age_ms"]
        print(f"{name:12} age p50 {age['p50']:.0f} ms, p95 {age['p95']:.0f} ms")
    record = {
        "frame": [HEIGHT, WIDTH],
        "seconds": options.seconds,
        "threads": torch.get_num_threads(),
        "overhead": overheads,
        "overhead_target_ms": OVERHEAD_TARGET_MS,
        "overhead_holds": overheads[0]["overhead_ms"]["p50"] <= OVERHEAD_TARGET_MS,
        "age": slot,
        "age_target_ms": AGE_TARGET_MS,
        "age_holds": slot["age_ms"]["p50"] <= AGE_TARGET_MS,
        "age_with_a_queue": fifo,
        "provenance": provenance(),
    }
    write_json(options.out, record)
    return 0 if record["overhead_holds"] and record["age_holds"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
