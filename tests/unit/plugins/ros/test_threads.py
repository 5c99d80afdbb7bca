"""The worker of the ROS nodes with its thread: starts, stops, headers, memory."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from support.ros_doubles import (
    BAD,
    Bench,
    Broken,
    Reads,
    accounted,
    numbered,
    wait_for,
)

from s2robot.data.ros_messages.stamps import NS
from s2robot.plugins.ros.core import (
    EmbeddingResult,
    LatestFrameWorker,
)


def threaded(
    encoders: Mapping[str, Any], publish: Callable[[EmbeddingResult], None]
) -> LatestFrameWorker:
    return LatestFrameWorker(encoders, publish, time.time_ns, lambda *_: None)


def test_start_and_stop_again_and_again() -> None:
    results: list[int] = []
    worker = threaded({"camera": Reads()}, lambda r: results.append(int(r.embedding[0])))
    before = threading.active_count()
    for round_ in range(20):
        worker.start()
        worker.disable()
        worker.start()
        assert worker.running
        assert threading.active_count() == before + 1
        worker.offer("camera", {"camera": numbered(round_, time.time_ns())})
        wait_for(lambda: len(results) == round_ + 1)  # noqa: B023
        worker.stop()
        worker.stop()
        assert not worker.running
        assert threading.active_count() == before
        assert not worker.offer("camera", {"camera": numbered(99, time.time_ns())})
    assert results == list(range(20))


def test_a_restart_forgets_stamps_and_kept_frames() -> None:
    encoder, results = Reads(), []
    worker = threaded({"camera": encoder}, results.append)
    for start, stamp in enumerate((50 * NS, 50 * NS - NS // 2), 1):  # late in one session
        worker.start()
        worker.offer("camera", {"camera": numbered(1, stamp)})
        wait_for(lambda: worker.snapshots()["camera"].published == start)  # noqa: B023
        worker.stop()
    assert (len(results), encoder.resets) == (2, 2)
    assert worker.snapshots()["camera"].backwards == 0


def test_stop_waits_for_a_publication_and_may_be_called_from_it() -> None:
    done: list[str] = []

    def slow(result: EmbeddingResult) -> None:
        started.set()
        time.sleep(0.05)
        done.append("published")

    started = threading.Event()
    worker = threaded({"camera": Reads()}, slow)
    worker.start()
    worker.offer("camera", {"camera": numbered(1, time.time_ns())})
    started.wait()
    stop = lambda: (worker.stop(), done.append("stopped"))  # noqa: E731
    others = [threading.Thread(target=stop) for _ in range(2)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(5)
    assert done == ["published", "stopped", "stopped"]

    within = threaded({"camera": Reads()}, lambda result: within.stop())
    within.start()
    within.offer("camera", {"camera": numbered(1, time.time_ns())})
    wait_for(lambda: within.snapshots()["camera"].published == 1)
    assert not within.running


def test_no_embedding_with_another_frames_header() -> None:
    """With three cameras, five sending threads and one that switches, headers always fit."""
    rng = np.random.default_rng(0)
    pauses = rng.uniform(0, 4e-4, 4096)
    results: list[EmbeddingResult] = []

    def some_time(number: int) -> None:
        time.sleep(pauses[number % 4096])
        if number % 97 == 0:
            raise RuntimeError("now and then")

    encoders = {name: Reads(some_time) for name in ("a", "b", "c")}
    worker = threaded(encoders, results.append)
    worker.start()
    numbers = iter(range(1, 10**9))
    counting, ending = threading.Lock(), threading.Event()

    def feed(name: str) -> None:
        while not ending.is_set():
            with counting:  # stamps and numbers rise together, arrivals may overtake each other
                sequence, stamp = next(numbers), time.time_ns()
            worker.offer(name, {name: numbered(sequence, stamp)})
            time.sleep(pauses[sequence % 4096] / 2)

    def switch() -> None:
        while not ending.is_set():
            time.sleep(0.02)
            worker.disable()
            worker.enable()

    feeders = [threading.Thread(target=feed, args=(name,)) for name in "aabbc"]
    threads = [*feeders, threading.Thread(target=switch)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(results) > 1500, 60)
    ending.set()
    for thread in threads:
        thread.join()
    worker.stop()
    assert len(results) > 1500
    for name in encoders:
        own = [result for result in results if result.channel == name]
        assert all(int(result.embedding[0]) == result.header.sequence for result in own)
        sequences = [result.header.sequence for result in own]
        assert sequences == sorted(sequences)
        counts = worker.snapshots()[name]
        assert counts.published == len(own) > 50
        assert counts.dropped > 50
        assert accounted(counts) == counts.received


@pytest.mark.slow
def test_memory_does_not_grow_in_an_hour_of_frames() -> None:
    """108,000 messages are an hour at 30 Hz; the encoder takes every third of them.

    One in 49 is bad, some embeddings are NaN, the clock is set back now and then.
    """
    bench = Bench(Broken(), publish=lambda result: None, stale_s=0.5)
    kinds = list(BAD)

    def push(first: int, count: int) -> None:
        for sequence in range(first, first + count):
            if sequence % 40_000 == 20_000:
                bench.clock.ros_s -= 100
            bad = BAD[kinds[sequence // 49 % len(kinds)]] if sequence % 49 == 0 else {}
            message = numbered(sequence, bench.clock.ros(), **bad)
            bench.worker.offer("camera", {"camera": message})
            if sequence % 3 == 0:
                bench.worker.process_next()
                bench.encoder.calls.clear()
            bench.clock.forward(1 / 30)

    push(0, 6000)  # windows are full
    tracemalloc.start()
    push(6000, 1000)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    push(7000, 101_000)
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counts = bench.counts
    assert (counts.received, counts.resets) == (108_000, 3)
    assert accounted(counts) + len(bench.worker._waiting) == 108_000
    assert counts.published > 15_000
    assert min(counts.nan, counts.dropped, *counts.failed.values()) > 100
    assert after - before < 50_000  # bytes
    assert peak - before < 500_000
