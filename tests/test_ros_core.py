"""The core of the ROS nodes: worker, streams, matching, configuration, policy, diagnostics."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from small_encoders import encoder_of, picture
from tiny_models import write_tiny_model

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError, MismatchError, NonFiniteError
from s2robot.plugins.ros.core import (
    CameraEncoder,
    JointError,
    JointTracker,
    LatestFrameWorker,
    Level,
    NodeConfig,
    NodeCore,
    OncePerKind,
    PolicyRunner,
    Proprioception,
    Result,
    StampError,
    Synchroniser,
    Timings,
    build_channels,
    build_encoder,
    model_name,
    stamp_ns,
    strides,
)
from s2robot.plugins.ros.core.counters import Counters, Snapshot, Spread
from s2robot.plugins.ros.core.diagnostics import channel_status, policy_status
from s2robot.plugins.ros.core.stamps import NS, Order, age_s, order_after
from s2robot.policies.checkpoint import PolicyHeader, action_space_record, save_policy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.data import stack_proprio
from s2robot.policies.policy import Policy

EPOCH_S = 1_700_000_000
SIDE = 8


# ------------------------------------------------------------------------- doubles
class Clock:
    """A clock that is moved by hand: monotonic seconds, and ROS time from the same source."""

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
    """An image all of whose first pixels spell its sequence number."""
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
    """An encoder whose embedding is the sequence number that a frame's pixels spell."""

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
    """A worker of one channel, without a thread, on a clock moved by hand."""

    def __init__(self, encoder: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.encoder = encoder or Reads()
        self.results: list[Result] = []
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
        """Offer a frame stamped now (or at a second from the start) and encode what waits."""
        stamp = self.clock.ros() if stamp_s is None else round((EPOCH_S + stamp_s) * NS)
        self.worker.offer("camera", {"camera": numbered(sequence, stamp, **changes)})
        return self.worker.process_next()

    @property
    def counts(self) -> Snapshot:
        return self.worker.snapshots()["camera"]

    @property
    def numbers(self) -> list[int]:
        return [int(result.embedding[0]) for result in self.results]


def accounted(counts: Snapshot) -> int:
    names = ("published", "dropped", "limited", "late", "stale", "nan", "discarded")
    return sum(getattr(counts, name) for name in names) + counts.failures


# -------------------------------------------------------------------------- stamps
def test_stamps_of_both_styles() -> None:
    expected = EPOCH_S * NS + 123_456_789
    for style in ("ros1", "ros2"):
        assert stamp_ns(header(expected, style).stamp) == expected
    assert stamp_ns(SimpleNamespace(nanoseconds=expected)) == expected  # rclpy's clock
    assert stamp_ns(SimpleNamespace(secs=np.int32(2), nsecs=np.uint32(5))) == 2 * NS + 5
    assert stamp_ns(SimpleNamespace(sec=-1, nanosec=NS - 1)) == -1


@pytest.mark.parametrize(
    "stamp, words",
    [
        (SimpleNamespace(), "SimpleNamespace is no stamp; it needs secs and nsecs"),
        (SimpleNamespace(sec=1.5, nanosec=0), "integers; got 1.5 s"),
        (SimpleNamespace(sec=1, nanosec=NS), r"\[0, 1000000000\); got 1000000000"),
        (SimpleNamespace(secs=1, nsecs=-1), "got -1"),
        (SimpleNamespace(secs=None, nsecs=0), "got None s"),
    ],
)
def test_bad_stamps(stamp: Any, words: str) -> None:
    with pytest.raises(StampError, match=words):
        stamp_ns(stamp)


def test_order_and_age_of_stamps() -> None:
    assert order_after(5, None) is Order.NEXT
    assert order_after(5, 5) is Order.NEXT
    assert order_after(0, 5) is Order.NEXT  # never filled in
    assert order_after(4 * NS, 5 * NS) is Order.LATE
    assert order_after(4 * NS - 1, 5 * NS) is Order.RESET
    assert age_s(5 * NS, 7 * NS + NS // 2) == 2.5
    assert age_s(7 * NS, 5 * NS) == -2.0
    assert age_s(0, 5 * NS) is None


# -------------------------------------------------------------------------- worker
def test_a_result_has_its_frames_own_header() -> None:
    bench = Bench()
    message = numbered(77, bench.clock.ros() - NS // 10)
    assert bench.worker.offer("camera", {"camera": message})
    bench.clock.forward(0.02)
    bench.encoder.after = lambda number: bench.clock.forward(0.1)
    assert bench.worker.process_next()
    (result,) = bench.results
    assert result.header is message.header
    assert result.headers == {"camera": message.header}
    assert result.embedding.dtype == np.float32
    assert result.shape == (1,)
    assert result.embedding.tolist() == [77]
    assert result.timings.wait_s == pytest.approx(0.02)
    assert result.timings.encode_s == pytest.approx(0.1)
    assert result.timings.overhead_s == pytest.approx(0.02)
    assert result.timings.age_s == pytest.approx(0.22)
    counts = bench.counts
    assert (counts.received, counts.encoded, counts.published) == (1, 1, 1)
    assert counts.encode_s is not None
    assert (counts.encode_s.p50, counts.encode_s.p95) == pytest.approx((0.1, 0.1))
    assert counts.age_s is not None
    assert counts.age_s.p95 == pytest.approx(0.22)


def test_results_own_their_memory() -> None:
    bench = Bench()
    for sequence in (1, 2, 3):
        bench.push(sequence)
        bench.clock.forward(0.03)
    assert bench.numbers == [1, 2, 3]


def test_only_the_latest_frame_is_encoded() -> None:
    bench = Bench()
    for sequence in range(5):
        bench.worker.offer("camera", {"camera": numbered(sequence, bench.clock.ros() + sequence)})
    assert bench.worker.process_next()
    assert not bench.worker.process_next()
    assert bench.encoder.calls == [4]
    counts = bench.counts
    assert (counts.received, counts.dropped, counts.published) == (5, 4, 1)


def test_channels_take_turns() -> None:
    clock, order = Clock(), []
    encoders = {name: Reads() for name in ("fast", "slow")}
    worker = LatestFrameWorker(
        encoders, lambda result: order.append(result.channel), clock.ros, lambda *_: None
    )
    for sequence in range(1, 9):
        for name in ("fast", "fast", "slow"):
            worker.offer(name, {name: numbered(sequence, clock.ros())})
        worker.process_next()
    assert Counter(order) == {"fast": 4, "slow": 4}


def test_rate_limit_bears_jitter() -> None:
    bench = Bench(max_rate_hz=10)
    rng = np.random.default_rng(0)
    for sequence in range(600):  # 30 Hz for 20 s, arrivals off by up to 8 ms
        bench.clock.s = 100 + sequence / 30 + rng.uniform(-0.008, 0.008)
        bench.push(sequence, stamp_s=sequence / 30)
    counts = bench.counts
    assert 195 <= counts.published <= 201
    assert counts.limited == 600 - counts.published
    assert bench.numbers == sorted(bench.numbers)


def test_rate_limit_makes_no_burst_after_a_break() -> None:
    bench = Bench(max_rate_hz=10)
    for at in (0.0, 5.0, 5.03, 5.06, 5.09, 5.12):
        bench.clock.s = 100 + at
        bench.push(0, stamp_s=at)
    assert bench.counts.published == 3  # at 0, 5 and 5.12


BAD = {
    "encoding": {"encoding": "rgb9"},
    "truncated": {"data": b"\0" * 5},
    "zero_size": {"width": 0},
    "step": {"step": 3},
    "malformed": {"data": 3.5},
    "stamp": {"header": SimpleNamespace(stamp=None)},
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_messages_are_counted_and_told_once(kind: str) -> None:
    bench = Bench()
    for sequence in range(3):
        bench.push(sequence, **BAD[kind])
        bench.clock.forward(0.03)
    assert bench.push(9)
    counts = bench.counts
    assert counts.failed == {kind: 3}
    assert counts.recent == {kind: 3}
    assert bench.numbers == [9]
    assert accounted(counts) == counts.received == 4
    assert [level for level, _ in bench.log] == [Level.ERROR]
    assert bench.log[0][1].startswith("camera: ")


def test_messages_without_a_header_or_attributes() -> None:
    bench = Bench()
    for message in (object(), SimpleNamespace(header=header(bench.clock.ros()), encoding="rgb8")):
        bench.worker.offer("camera", {"camera": message})
        bench.worker.process_next()
    assert bench.counts.failed == {"stamp": 1, "malformed": 1}


def test_an_encoder_that_raises() -> None:
    def fail(number: int) -> None:
        if number < 3:
            raise RuntimeError(f"out of memory in frame {number}")
        if number == 3:
            raise KeyError("other")

    bench = Bench(Reads(fail))
    for sequence in range(6):
        bench.push(sequence)
        bench.clock.forward(0.03)
    counts = bench.counts
    assert counts.failed == {"encoder_RuntimeError": 3, "encoder_KeyError": 1}
    assert bench.numbers == [4, 5]
    assert [text for _, text in bench.log] == [
        "camera: out of memory in frame 0 (further ones of this kind are counted, not logged)",
        "camera: 'other' (further ones of this kind are counted, not logged)",
    ]
    assert bench.encoder.resets == 4  # what it kept is not trusted after a failure


def test_a_callback_and_a_log_that_raise() -> None:
    def refuse(result: Result) -> None:
        raise OSError("the topic is gone")

    bench = Bench(publish=refuse)
    bench.worker._reports = OncePerKind(refuse)  # type: ignore[arg-type]
    for sequence in range(3):
        assert bench.push(sequence)
    assert bench.counts.failed == {"publish": 3}
    assert bench.counts.published == 0


class Broken(Reads):
    """Every second embedding is not finite: as a value, or as the encoder itself tells it."""

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        found = super().__call__(frames)
        if self.calls[-1] % 4 == 1:
            return np.array([np.nan])
        if self.calls[-1] % 4 == 3:
            raise NonFiniteError("features of frames 0 are NaN or infinite: the weight 'w'")
        return found


def test_nan_embeddings_are_not_published() -> None:
    bench = Bench(Broken())
    for sequence in range(8):
        bench.push(sequence)
        bench.clock.forward(0.03)
    counts = bench.counts
    assert bench.numbers == [0, 2, 4, 6]
    assert (counts.nan, counts.encoded, counts.failures) == (4, 4, 0)
    assert accounted(counts) == counts.received
    assert len(bench.log) == 1


def test_nan_of_an_encoder_with_a_damaged_weight() -> None:
    encoder = encoder_of()
    with torch.no_grad():
        next(encoder.backbone.model.parameters()).fill_(float("nan"))
    bench = Bench(CameraEncoder(encoder, ["camera"]))
    for sequence in range(2):
        bench.push(sequence, size=(32, 48))
    assert bench.counts.nan == 2
    assert bench.results == []
    assert "the weight" in bench.log[0][1]


def test_late_frames_are_left_out_and_do_not_replace_newer_ones() -> None:
    bench = Bench()
    bench.push(1, 1.0)
    assert bench.push(2, 0.5)  # older than what was published
    for sequence, at in ((3, 2.0), (4, 1.9)):  # the later of the two that wait is older
        stamp = round((EPOCH_S + at) * NS)
        stored = bench.worker.offer("camera", {"camera": numbered(sequence, stamp)})
        assert stored == (sequence == 3)
    bench.worker.process_next()
    bench.push(5, 2.0)  # as old as the last: no step back
    assert bench.numbers == [1, 3, 5]
    counts = bench.counts
    assert (counts.late, counts.backwards, counts.resets) == (2, 2, 0)
    assert accounted(counts) == counts.received == 5
    assert bench.encoder.resets == 0


def test_a_bag_that_starts_anew() -> None:
    bench = Bench()
    for loop in range(3):
        for step in range(4):
            bench.push(10 * loop + step, float(step))
    assert bench.numbers == [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]
    counts = bench.counts
    assert (counts.resets, counts.backwards, counts.late) == (2, 2, 0)
    assert bench.encoder.resets == 2
    assert len(bench.log) == 1


def test_a_clock_reset_overwrites_what_waits_and_survives_a_bad_frame() -> None:
    bench = Bench()
    bench.push(1, 100.0)
    for sequence, at in ((2, 100.1), (3, 0.0)):
        stamp = round((EPOCH_S + at) * NS)
        bench.worker.offer("camera", {"camera": numbered(sequence, stamp)})
    bench.worker.process_next()
    assert bench.numbers == [1, 3]
    bench.push(4, -50.0, encoding="rgb9")  # a second reset, whose first frame is bad
    bench.push(5, -49.9)
    assert bench.numbers == [1, 3, 5]
    assert bench.counts.resets == 2


def test_frames_whose_stamp_was_never_filled_in() -> None:
    bench = Bench(stale_s=0.5)
    bench.push(1)
    bench.worker.offer("camera", {"camera": numbered(2, 0)})
    bench.worker.process_next()
    bench.push(3, -0.2)  # the guard against older frames still knows the first one
    assert bench.numbers == [1, 2]
    assert bench.results[1].timings.age_s is None
    assert (bench.counts.unstamped, bench.counts.late) == (1, 1)


@pytest.mark.parametrize("how", ["stamp", "waiting", "encoding"])
def test_stale_frames_are_not_published(how: str) -> None:
    bench = Bench(stale_s=0.3)
    bench.push(1)
    bench.clock.forward(0.1)
    stamp = bench.clock.ros() - (round(0.31 * NS) if how == "stamp" else 0)
    bench.worker.offer("camera", {"camera": numbered(2, max(stamp, bench.results[0].stamp_ns))})
    if how == "stamp":
        bench.clock.ros_s += 0.31
    if how == "waiting":
        bench.clock.s += 0.31
    if how == "encoding":
        bench.encoder.after = lambda number: bench.clock.forward(0.31)
    bench.worker.process_next()
    assert bench.numbers == [1]
    assert bench.counts.stale == 1
    assert bench.encoder.calls == ([1, 2] if how == "encoding" else [1])
    assert "stale_s is 0.3 s" in bench.log[0][1]
    bench.encoder.after = lambda number: None
    bench.push(3)
    assert bench.numbers == [1, 3]


def test_disabling_discards_what_waits_and_what_is_in_work() -> None:
    bench = Bench()
    bench.worker.offer("camera", {"camera": numbered(1, bench.clock.ros())})
    bench.worker.disable()
    assert not bench.worker.enabled
    assert not bench.push(2)  # not even received
    bench.worker.enable()
    bench.encoder.after = lambda number: bench.worker.disable()
    bench.push(3)
    assert bench.results == []
    bench.encoder.after = lambda number: None
    bench.worker.enable()
    bench.push(4)
    assert bench.numbers == [4]
    counts = bench.counts
    assert (counts.received, counts.discarded, counts.published) == (3, 2, 1)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"max_rate_hz": -1}, "max_rate_hz is -1; allowed: 0 for no limit"),
        ({"stale_s": float("nan")}, "stale_s is nan"),
    ],
)
def test_bad_settings_of_a_worker(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Bench(**settings)
    with pytest.raises(ValueError, match="at least one channel"):
        LatestFrameWorker({}, print, lambda: 0, lambda *_: None)
    bench = Bench()
    with pytest.raises(ValueError, match="unknown channel 'kamera'.*did you mean 'camera'"):
        bench.worker.offer("kamera", {})
    with pytest.raises(ValueError, match="was offered no message"):
        bench.worker.offer("camera", {})


# ------------------------------------------------------------------ worker, threads
def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


def threaded(encoders: Mapping[str, Any], publish: Callable[[Result], None]) -> LatestFrameWorker:
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

    def slow(result: Result) -> None:
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
    """Three cameras, five feeding threads, one that switches off and on: headers always fit."""
    rng = np.random.default_rng(0)
    pauses = rng.uniform(0, 4e-4, 4096)
    results: list[Result] = []

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
    assert accounted(counts) + len(bench.worker._slots) == 108_000
    assert counts.published > 15_000
    assert min(counts.nan, counts.dropped, *counts.failed.values()) > 100
    assert after - before < 50_000  # bytes
    assert peak - before < 500_000


# ------------------------------------------------------------------------- counters
def test_percentiles_and_rates_slide() -> None:
    counters = Counters(window=100)
    for step in range(1000):
        counters.arrived(step * 0.1)
        counters.encoded(float(step), None)
    snapshot = counters.snapshot(99.9)
    assert snapshot.encode_s == Spread(*np.percentile(np.arange(900, 1000), (50, 95)))
    assert snapshot.received_hz == pytest.approx(10, rel=0.03)
    assert counters.snapshot(103.0).received_hz < 5  # none in the last three seconds
    assert counters.snapshot(200.0).received_hz == 0
    assert counters.snapshot(99.9).since_received_s == pytest.approx(0)


def test_a_rate_right_after_the_start() -> None:
    counters = Counters()
    for step in range(31):
        counters.arrived(step / 30)
    assert counters.snapshot(1.0).received_hz == pytest.approx(30, rel=0.01)


# -------------------------------------------------------------------------- streams
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("sizes", [[(32, 48)], [(32, 48)] * 2, [(32, 48), (40, 40), (32, 48)]])
def test_cameras_give_what_the_encoder_gives(sizes: list[tuple[int, int]], reuse: bool) -> None:
    encoder = encoder_of()
    names = [f"camera{i}" for i in range(len(sizes))]
    cameras = CameraEncoder(encoder, names, reuse)
    for step in range(3):
        seed = 0 if step == 1 else step  # the second frames are the first ones again
        frames = {n: picture(1, *size, seed=seed)[0] for n, size in zip(names, sizes, strict=True)}
        found = cameras(dict(reversed(frames.items())))
        expected = torch.cat([encoder(frames[name]) for name in names])
        np.testing.assert_allclose(
            found.reshape(expected.shape), expected.numpy(), rtol=1e-5, atol=1e-6
        )
    assert cameras.shape == ((len(sizes),) if len(sizes) > 1 else ()) + encoder.output_shape
    assert cameras.hit_rate == (pytest.approx(1 / 3) if reuse else None)


@pytest.mark.parametrize("reuse", [False, True])
def test_size_change_in_mid_stream(reuse: bool) -> None:
    encoder = encoder_of()
    bench = Bench(CameraEncoder(encoder, ["camera"], reuse))
    sizes = [(32, 48)] * 3 + [(64, 64)] * 2 + [(32, 48)]
    for sequence, size in enumerate(sizes):
        data = picture(1, *size, seed=sequence)[0]
        bench.push(sequence, size=size, data=data.tobytes())
        expected = encoder(data)[0].numpy()
        np.testing.assert_allclose(bench.results[-1].embedding, expected, rtol=1e-5, atol=1e-6)
        bench.clock.forward(0.03)
    counts = bench.counts
    assert (counts.published, counts.size_changes) == (6, 2)
    assert len(bench.log) == 1


def test_crop_reuse_saves_and_starts_anew_with_the_clock() -> None:
    encoder = encoder_of()
    bench = Bench(CameraEncoder(encoder, ["camera"]))
    data = picture(1, 32, 48)[0].tobytes()
    rates = []
    for stamp_s in (1.0, 1.1, 1.2, -50.0):
        bench.push(0, stamp_s, size=(32, 48), data=data)
        rates.append(bench.counts.hit_rate)
    assert rates == pytest.approx([0, 1 / 2, 2 / 3, 2 / 4])
    assert len({result.embedding.tobytes() for result in bench.results}) == 1


def test_bad_settings_of_cameras() -> None:
    encoder = encoder_of()
    with pytest.raises(ValueError, match="one or more different names"):
        CameraEncoder(encoder, ["a", "a"])
    with pytest.raises(ValueError, match="tolerance must lie"):
        CameraEncoder(encoder, ["a"], tolerance=300)
    with pytest.raises(ValueError, match="missing camera 'b'"):
        CameraEncoder(encoder, ["a", "b"])({"a": picture(1, 32, 32)[0]})


# ------------------------------------------------------------------------- matching
def stamped(camera: str, stamp_s: float) -> Any:
    return SimpleNamespace(camera=camera, s=stamp_s, header=header(round(stamp_s * NS)))


class Sets:
    """A synchroniser and the stamps of the sets it hands on."""

    def __init__(self, cameras: Sequence[str] = ("a", "b"), slop_s: float = 0.015, **more: int):
        self.found: list[tuple[float, ...]] = []
        self.sync = Synchroniser(cameras, slop_s, self.take, **more)

    def take(self, messages: Mapping[str, Any]) -> None:
        assert all(message.camera == camera for camera, message in messages.items())
        self.found.append(tuple(message.s for message in messages.values()))

    def push(self, *arrivals: tuple[str, float]) -> list[tuple[float, ...]]:
        for camera, stamp_s in arrivals:
            self.sync.offer(camera, stamped(camera, stamp_s))
        return self.found


def test_matching_pairs() -> None:
    sets = Sets()
    found = sets.push(("b", 1.00), ("a", 1.01), ("a", 1.04), ("b", 1.035), ("a", 1.08), ("b", 1.2))
    assert found == [(1.01, 1.00), (1.04, 1.035)]
    counts = sets.sync.counts()
    assert counts.sets == 2
    assert counts.received == {"a": 3, "b": 3}
    assert counts.unmatched == {"a": 0, "b": 0}  # the last two may still be matched


def test_a_camera_whose_frames_arrive_late_is_matched() -> None:
    """A slot that holds the newest message alone would never see equal stamps here."""
    sets, delay = Sets(), 0.1
    arrivals = [(i / 30, "a", i / 30) for i in range(40)]
    arrivals += [(i / 30 + delay, "b", i / 30 + 0.002) for i in range(40)]
    found = sets.push(*[(camera, stamp + 1) for _, camera, stamp in sorted(arrivals)])
    assert len(found) == 40
    assert all(abs(a - b) < 0.003 for a, b in found)


def test_the_set_of_least_spread() -> None:
    sets = Sets(("a", "b", "c"), 0.020)
    sets.push(("b", 1.000), ("b", 1.018), ("c", 1.024), ("a", 1.019))
    assert sets.found == [(1.019, 1.018, 1.024)]
    counts = sets.sync.counts()
    assert counts.unmatched == {"a": 0, "b": 1, "c": 0}


def test_three_cameras_need_one_common_window() -> None:
    sets = Sets(("a", "b", "c"), 0.010)
    assert sets.push(("b", 1.000), ("c", 1.016), ("a", 1.008)) == []  # 16 ms from b to c
    assert sets.push(("b", 1.010)) == [(1.008, 1.010, 1.016)]


def test_a_missing_camera_is_counted_and_memory_bounded() -> None:
    sets = Sets(("a", "b", "c"), 0.015, depth=4)
    for step in range(100):
        sets.push(("a", 1 + step / 30), ("b", 1 + step / 30))
    counts = sets.sync.counts()
    assert counts.sets == 0
    assert counts.unmatched == {"a": 96, "b": 96, "c": 0}
    assert counts.missing == {"a": 0, "b": 0, "c": 192}
    assert sum(len(kept) for kept in sets.sync._kept.values()) == 8
    assert sets.push(("c", 1 + 99 / 30))[-1] == (1 + 99 / 30,) * 3


def test_matching_at_random_holds_its_promises() -> None:
    rng = np.random.default_rng(1)
    cameras, slop = ("a", "b", "c"), 0.012
    sets = Sets(cameras, slop, depth=5)
    arrivals = []
    for camera in cameras:
        stamps = 10 + np.arange(300) / 30 + rng.normal(0, 0.004, 300)
        kept = stamps[rng.random(300) > 0.1]
        arrivals += [(s + rng.uniform(0, 0.03), camera, round(float(s), 6)) for s in kept]
    sets.push(*[(camera, stamp) for _, camera, stamp in sorted(arrivals)])
    found = np.array(sets.found)
    assert len(found) > 120
    assert (found.max(axis=1) - found.min(axis=1)).max() <= slop + 1e-9
    assert (np.diff(found, axis=0) > 0).all()  # in order, no message twice
    counts = sets.sync.counts()
    pending = {camera: len(sets.sync._kept[camera]) for camera in cameras}
    late = sum(counts.received.values()) - 3 * counts.sets
    late -= sum(counts.unmatched.values()) + sum(pending.values())
    assert late == counts.backwards
    assert max(pending.values()) <= 5


def test_clock_resets_late_and_unstamped_messages() -> None:
    sets = Sets()
    sets.push(("a", 50.0), ("b", 50.0), ("a", 50.1), ("a", 50.05))
    assert sets.sync.counts().backwards == 1
    sets.push(("a", 1.0), ("b", 1.0))  # the bag starts anew
    assert sets.found == [(50.0, 50.0), (1.0, 1.0)]
    sets.push(("a", 0.0), ("b", 0.0))
    sets.sync.offer("a", SimpleNamespace(header=None))
    assert len(sets.found) == 2
    assert sets.sync.counts().unstamped == 3
    with pytest.raises(ValueError, match="unknown camera 'z'"):
        sets.push(("z", 1.0))


@pytest.mark.parametrize(
    "cameras, slop_s, depth, words",
    [
        (["a"], 0.1, 8, "two or more different names"),
        (["a", "a"], 0.1, 8, "two or more different names"),
        (["a", "b"], -0.1, 8, "slop_s is -0.1"),
        (["a", "b"], float("nan"), 8, "slop_s is nan"),
        (["a", "b"], 0.1, 0, "depth is 0"),
    ],
)
def test_bad_settings_of_matching(cameras: list[str], slop_s: float, depth: int, words: str):
    with pytest.raises(ValueError, match=words):
        Synchroniser(cameras, slop_s, print, depth)


# -------------------------------------------------------------------- configuration
def test_parameters_as_ros_gives_them() -> None:
    config = NodeConfig.from_parameters(
        {"encoder": "x", "scales": [1, 2.5], "image_topics": ["l", "r"], "max_rate_hz": 10}
    )
    assert config.scales == (1.0, 2.5)
    assert config.channels == {"cameras": ("l", "r")}
    assert isinstance(config.max_rate_hz, float)
    apart = NodeConfig(image_topics=("l", "r"), synchronise=False)
    assert apart.channels == {"l": ("l",), "r": ("r",)}
    assert NodeConfig().channels == {"image": ("image",)}


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"outptu": 1}, "unknown parameter 'outptu'.*did you mean 'output'"),
        ({"output": "float"}, "unknown output 'float'; available: embedding, float32multiarray"),
        ({"runtime": "fast"}, "unknown runtime 'fast'"),
        ({"generic_order": "grb"}, "unknown generic_order 'grb'"),
        ({"max_rate_hz": "ten"}, "max_rate_hz is 'ten'; allowed: a number"),
        ({"tolerance": True}, "tolerance is True"),
        ({"slop_s": -1.0}, "slop_s is -1.0"),
        ({"stale_s": float("nan")}, "stale_s is nan"),
        ({"max_rate_hz": float("inf")}, "max_rate_hz is inf"),
        ({"tolerance": 255.0}, "tolerance is 255.0"),
        ({"refresh_every": -1}, "refresh_every is -1"),
        ({"scales": [1, -2]}, r"scales are \(1"),
        ({"image_topics": []}, r"image_topics are \(\)"),
        ({"image_topics": ["a", "a"]}, "different names"),
        ({"action_topic": ""}, "action_topic is empty"),
        ({"policy": "p", "encoder": "x", "scales": [1]}, "leave encoder, scales out"),
        ({"policy": "p", "image_topics": ["a", "b"]}, "looks through one camera"),
        ({"policy": "p", "stale_s": 0}, "must not act on old frames"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NodeConfig.from_parameters(parameters)


def test_strides_of_multi_arrays() -> None:
    array = np.zeros((4, 5, 6), np.float32)
    assert strides(array.shape) == [120, 30, 6]
    assert strides(()) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


def test_encoder_of_a_configuration(tiny: str) -> None:
    config = NodeConfig(tiny, device="cpu", tolerance=2.0, refresh_every=7)
    encoder = build_encoder(config)
    spec = encoder.spec
    assert (spec.scales, spec.readout, spec.geometry) == ((1, 2), "spatial_softmax", "published")
    assert model_name(encoder) == f"{tiny} (1,2) spatial_softmax"
    (cameras,) = build_channels(config, encoder).values()
    cameras({"image": picture(1, 40, 40)[0]})
    (stream,) = cameras._streams.values()
    assert (stream.tolerance, stream.refresh_every) == (2.0, 7)
    other = build_encoder(NodeConfig(tiny, scales=(1,), readout="mean", device="cpu"))
    assert (other.spec.scales, other.spec.readout) == ((1,), "mean")


# --------------------------------------------------------------------------- policy
ENV_KWARGS = {"level": "easy", "arm_path": None}
PANDA = [f"panda_joint{i}" for i in range(1, 8)] + ["panda_finger_joint1", "panda_finger_joint2"]


def make_policy(
    kind: str = "mlp",
    dim: int = 5,
    keys: Sequence[str] = ("ee_pos", "gripper_width"),
    width: int = 4,
) -> tuple[Policy, PolicyHeader]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(PolicyConfig(kind=kind, hidden=(8,)), (dim,), width, 4).eval()
    space = Box(-1.0, 1.0, (4,), np.float32)
    return policy, PolicyHeader(
        policy_config=policy.config,
        encoder={"backbone": "tiny", "weights_digest": ""},
        embedding_shape=(dim,),
        proprio_keys=tuple(keys),
        action_space=action_space_record(space, "ee_delta", 5.0),  # pyright: ignore
        env_kwargs=dict(ENV_KWARGS),
        frames={},
        demos_digest="",
        train={},
        seed=0,
        head={},
        provenance={},
    )


def joint_state(stamp: int, positions: Sequence[float], names: Sequence[str] = PANDA) -> Any:
    return SimpleNamespace(
        header=header(stamp), name=list(names), position=list(positions), velocity=[], effort=[]
    )


HOME = [0.0, -0.04, 0.0, -2.33, 0.0, 2.29, 0.785, 0.03, 0.03]


class Pilot:
    """A policy runner on a clock moved by hand."""

    def __init__(self, kind: str = "mlp", **policy: Any) -> None:
        self.clock = Clock()
        self.log: list[tuple[Level, str]] = []
        self.policy, self.header = make_policy(kind, **policy)
        self.runner = PolicyRunner(
            self.policy,
            self.header,
            0.5,
            self.clock.ros,
            lambda level, text: self.log.append((level, text)),
            clock=self.clock,
        )
        self.sequence = 0

    def see(self, stamp: int | None = None, value: float = 1.0) -> Result:
        self.sequence += 1
        stamp = self.clock.ros() if stamp is None else stamp
        embedding = np.full(5, value, np.float32) * np.arange(1, 6, dtype=np.float32)
        top = header(stamp, sequence=self.sequence)
        timings = Timings(0, 0, 0, 0, 0)
        result = Result("image", top, {}, embedding, (5,), stamp, self.clock.s, timings)
        self.runner.take_embedding(result)
        return result

    def feel(
        self, positions: Sequence[float] = HOME, stamp: int | None = None, **more: Any
    ) -> None:
        stamp = self.clock.ros() if stamp is None else stamp
        self.runner.take_joints(joint_state(stamp, positions, **more))

    def step(self, seconds: float = 0.2) -> Any:
        """Time passes, a frame and joints arrive, the policy acts."""
        self.clock.forward(seconds)
        self.feel()
        self.see()
        return self.runner.tick()


READS_ALL = ("gripper_width", "ee_quat", "joint_pos", "joint_vel", "ee_pos")


@pytest.mark.parametrize("keys", [("ee_pos", "gripper_width"), READS_ALL])
def test_proprioception_is_the_environments(keys: tuple[str, ...]) -> None:
    env = PickCubeEnv()
    make, tracker = Proprioception(keys), JointTracker()
    rng = np.random.default_rng(0)
    obs, _ = env.reset(seed=3)
    for step in range(4):
        qpos, qvel = env.data.qpos[env._qpos], env.data.qvel[env._qvel[:7]]
        message = joint_state(NS + step, qpos)
        message.velocity = [*qvel, 0.0, 0.0]
        tracker.update(message, float(step))
        joints = tracker.read()
        assert joints is not None
        expected = stack_proprio({key: obs[key][None] for key in keys}, keys)
        np.testing.assert_allclose(make(joints), expected, atol=1e-5)
        obs, *_ = env.step(rng.uniform(-1, 1, 4))


@pytest.mark.parametrize("prefix", ["", "fr3_", "robot/", "left_panda_"])
def test_joint_names(prefix: str) -> None:
    names = [prefix + name.removeprefix("panda_") for name in PANDA]
    order = np.random.default_rng(0).permutation(9)
    tracker = JointTracker()
    message = joint_state(5, [HOME[i] for i in order], [names[i] for i in order])
    message.name.append("wheel_joint")
    message.position.append(99.0)
    tracker.update(message, 1.0)
    joints = tracker.read()
    assert joints is not None
    np.testing.assert_array_equal(joints.arm_rad, HOME[:7])
    assert joints.gripper_width_m == pytest.approx(0.06)
    assert joints.arm_rad_s is None


def test_arm_and_gripper_in_messages_of_their_own() -> None:
    tracker = JointTracker()
    assert tracker.read() is None
    tracker.update(joint_state(3 * NS, HOME[:7], PANDA[:7]), 1.0)
    with pytest.raises(JointError, match="lack finger_joint1; the last message named panda_joint1"):
        tracker.read()
    tracker.update(joint_state(2 * NS, [0.02], ["hand_finger_joint1"]), 2.0)  # mimicked by 2
    joints = tracker.read()
    assert joints is not None
    assert joints.gripper_width_m == pytest.approx(0.04)
    assert (joints.arrived_s, joints.stamp_ns) == (1.0, 2 * NS)  # the oldest of each
    tracker.update(joint_state(2 * NS, [0.9] * 7, PANDA[:7]), 3.0)  # overtaken: left out
    again = tracker.read()
    assert again is not None
    np.testing.assert_array_equal(again.arm_rad, HOME[:7])
    assert JointTracker(gripper=False).read() is None


def test_two_arms_need_a_prefix() -> None:
    names = [side + name for side in ("left_", "right_") for name in PANDA]
    message = joint_state(5, [*HOME, *([0.5] * 9)], names)
    with pytest.raises(JointError, match="two arms, 'left_panda_' and 'right_panda_'") as caught:
        JointTracker().update(message, 1.0)
    assert caught.value.kind == "joint_ambiguous"
    tracker = JointTracker("right_panda_")
    tracker.update(message, 1.0)
    joints = tracker.read()
    assert joints is not None
    np.testing.assert_array_equal(joints.arm_rad, [0.5] * 7)


@pytest.mark.parametrize(
    "kind, message",
    [
        ("joint_nan", joint_state(5, [*HOME[:3], float("nan"), *HOME[4:]])),
        ("joint_malformed", joint_state(5, HOME[:8])),
        ("joint_malformed", SimpleNamespace(header=header(5))),
    ],
)
def test_bad_joint_states(kind: str, message: Any) -> None:
    tracker = JointTracker()
    with pytest.raises(JointError) as caught:
        tracker.update(message, 1.0)
    assert caught.value.kind == kind


def test_policies_that_a_robot_cannot_run() -> None:
    with pytest.raises(MismatchError, match="reads cube_pos, which joint states do not give"):
        Pilot(keys=("ee_pos", "cube_pos"), width=6)
    policy, head = make_policy(dim=0)
    with pytest.raises(MismatchError, match="not frames"):
        PolicyRunner(policy, head, 0.5, lambda: 0, lambda *_: None)
    policy, head = make_policy()
    with pytest.raises(ValueError, match="stale_s is 0; allowed: seconds above 0"):
        PolicyRunner(policy, head, 0, lambda: 0, lambda *_: None)


def test_actions_are_the_policys_and_one_for_each_embedding() -> None:
    pilot = Pilot()
    action = pilot.step()
    twin, _ = make_policy()
    twin.reset(1)
    joints = pilot.runner._tracker.read()
    assert joints is not None
    proprio = torch.from_numpy(Proprioception(pilot.header.proprio_keys)(joints))
    expected = twin.act(torch.arange(1.0, 6.0)[None], proprio)[0].clamp(-1, 1)
    np.testing.assert_allclose(action.values, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert action.header.sequence == 1
    assert action.meaning == ("dx", "dy", "dz", "gripper")
    assert action.anew
    assert pilot.runner.tick() is None  # the same embedding again
    assert not pilot.step().anew
    assert pilot.runner.counts().actions == 2


@pytest.mark.parametrize("lacking", ["frames", "joints"])
@pytest.mark.parametrize("clock", ["arrival", "stamp"])
def test_watchdog(lacking: str, clock: str) -> None:
    pilot = Pilot()
    pilot.step()
    pilot.log.clear()
    for _ in range(5):
        pilot.clock.forward(0.2)
        old = pilot.clock.ros() - round(0.6 * NS)
        if clock == "stamp":  # messages arrive, but they are old
            pilot.see(old if lacking == "frames" else None)
            pilot.feel(stamp=old if lacking == "joints" else None)
        elif lacking == "joints":
            pilot.see()
        else:
            pilot.feel()
        action = pilot.runner.tick()
    assert action is None
    assert len(pilot.log) == 1
    assert pilot.log[0][0] is Level.ERROR
    assert f"{lacking}" in pilot.log[0][1]
    counts = pilot.runner.counts()
    assert (counts.paused, counts.pauses) == (f"stale_{lacking}", {f"stale_{lacking}": 1})
    assert policy_status("policy", counts).level is Level.ERROR
    assert pilot.step().anew
    assert [level for level, _ in pilot.log] == [Level.ERROR, Level.OK]
    assert policy_status("policy", pilot.runner.counts()).level is Level.OK


def test_stamps_in_the_future_are_refused() -> None:
    pilot = Pilot()
    pilot.feel()
    pilot.see(pilot.clock.ros() + NS)
    assert pilot.runner.tick() is None
    assert "1.00 s in the future" in pilot.log[0][1]


def test_before_anything_has_arrived() -> None:
    pilot = Pilot()
    assert pilot.runner.tick() is None
    assert pilot.runner.counts().paused == "no_joints"
    pilot.feel()
    assert pilot.runner.tick() is None
    assert pilot.runner.counts().paused == "no_frames"
    pilot.see()
    assert pilot.runner.tick() is not None


def test_bad_joints_and_nan_actions_stop_the_policy() -> None:
    pilot = Pilot()
    pilot.step()
    pilot.feel([float("nan")] * 9)
    pilot.see()
    assert pilot.runner.tick() is None
    assert pilot.runner.counts().paused == "joint_nan"
    assert pilot.step() is not None
    pilot.clock.forward(0.2)
    pilot.feel()
    pilot.see(value=float("nan"))
    assert pilot.runner.tick() is None
    assert pilot.runner.counts().paused == "action_nan"
    pilot.policy.act = lambda *_: 1 / 0  # type: ignore[method-assign]
    pilot.see()
    assert pilot.runner.tick() is None
    assert pilot.runner.counts().pauses["policy_ZeroDivisionError"] == 1


@pytest.mark.parametrize("kind", ["rnn_gmm", "transformer"])
def test_history_goes_on_at_the_rate_and_starts_anew_after_a_gap(kind: str) -> None:
    pilot = Pilot(kind)
    resets: list[float] = []
    reset = pilot.policy.reset
    pilot.policy.reset = lambda n: (resets.append(pilot.clock.s), reset(n))[1]  # type: ignore
    assert [pilot.step().anew for _ in range(4)] == [True, False, False, False]
    assert not pilot.step(0.4).anew  # one step was missed
    assert pilot.step(0.45).anew
    assert any("history anew" in text for _, text in pilot.log)
    assert not pilot.step().anew
    pilot.clock.ros_s -= 100  # the simulation was reset
    assert pilot.step().anew
    pilot.runner.start_anew()
    assert pilot.runner.tick() is None  # what was seen before is not acted on
    assert pilot.step().anew
    assert len(resets) == 4 == pilot.runner.counts().resets


def test_a_history_changes_what_the_policy_does() -> None:
    """Else the test above could not fail: the second action depends on the first frame."""
    actions = []
    for first in (1.0, -2.0):
        pilot = Pilot("rnn_gmm")
        pilot.clock.forward(0.2)
        pilot.feel()
        pilot.see(value=first)
        pilot.runner.tick()
        actions.append(pilot.step().values)
    assert np.abs(actions[0] - actions[1]).max() > 1e-4


# ----------------------------------------------------------------- the whole core
@pytest.fixture
def policy_file(tiny: str, tmp_path: Path) -> Path:
    encoder = build_encoder(NodeConfig(tiny, scales=(1,), readout="mean", device="cpu"))
    policy, head = make_policy(dim=encoder.embedding_dim)
    head = dataclasses.replace(head, encoder=encoder.spec.to_dict())
    save_policy(tmp_path / "policy.safetensors", policy, head)
    return tmp_path / "policy.safetensors"


def test_from_image_messages_to_actions(policy_file: Path) -> None:
    results: list[Result] = []
    config = NodeConfig(policy=str(policy_file), device="cpu", stale_s=5.0)
    core = NodeCore(config, results.append, time.time_ns, lambda *_: None)
    assert core.control_hz == 5.0
    assert core.model.endswith("(1) mean")
    core.start()
    frame = picture(1, 40, 48)[0]
    message = numbered(1, time.time_ns(), (40, 48), data=frame.tobytes())
    assert core.receive_image("image", message)
    wait_for(lambda: len(results) == 1)
    assert core.tick() is None  # no joint states yet
    core.receive_joints(joint_state(time.time_ns(), HOME))
    action = core.tick()
    assert action is not None
    assert action.header is message.header
    expected = build_encoder(config)(frame)[0].numpy()
    np.testing.assert_allclose(results[0].embedding, expected, rtol=1e-5, atol=1e-6)
    assert [status.name for status in core.diagnostics()] == ["encoder image", "policy"]
    core.disable()
    assert not core.receive_image("image", message)
    core.enable()
    assert core.tick() is None  # what was seen before is forgotten
    core.stop()
    with pytest.raises(ValueError, match="unknown topic 'imgae'"):
        core.receive_image("imgae", message)


def test_a_damaged_policy_file(policy_file: Path) -> None:
    policy_file.write_bytes(policy_file.read_bytes()[:-9])
    with pytest.raises(CorruptFileError):
        NodeCore(NodeConfig(policy=str(policy_file)), print, lambda: 0, lambda *_: None)


def test_a_policy_without_eyes(tmp_path: Path) -> None:
    policy, head = make_policy()
    head.encoder.clear()
    head.encoder["backbone"] = "state"
    save_policy(tmp_path / "blind.safetensors", policy, head)
    with pytest.raises(MismatchError, match="reads 'state', not frames"):
        build_encoder(NodeConfig(policy=str(tmp_path / "blind.safetensors")))


def test_several_cameras_together_and_apart(tiny: str) -> None:
    stamp = 50 * NS
    frames = {name: picture(1, 32, 32 + i, seed=i)[0] for i, name in enumerate(("left", "right"))}
    for synchronise in (True, False):
        results: list[Result] = []
        config = NodeConfig(
            tiny,
            scales=(1,),
            readout="mean",
            image_topics=("left", "right"),
            synchronise=synchronise,
            device="cpu",
        )
        core = NodeCore(config, results.append, lambda: stamp, lambda *_: None)
        encoder = build_encoder(config)
        headers = {}
        for i, (name, frame) in enumerate(reversed(frames.items())):
            size = frame.shape[0], frame.shape[1]
            message = numbered(0, stamp + i * NS // 1000, size, data=frame.tobytes())
            headers[name] = message.header
            core.receive_image(name, message)
        while core.worker.process_next():
            pass
        expected = {name: encoder(frame)[0].numpy() for name, frame in frames.items()}
        if synchronise:
            (result,) = results
            assert result.header is headers["left"]
            assert result.headers == headers
            assert result.shape == (2, encoder.embedding_dim)
            found = dict(zip(frames, result.embedding.reshape(result.shape), strict=True))
        else:
            found = {result.channel: result.embedding for result in results}
            assert all(result.header is headers[result.channel] for result in results)
        for name in frames:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_a_missing_camera_shows_in_diagnostics(tiny: str) -> None:
    clock = Clock()
    config = NodeConfig(tiny, image_topics=("left", "right"), device="cpu")
    channels = {"cameras": Reads()}
    core = NodeCore(
        config, lambda _: None, clock.ros, lambda *_: None, channels=channels, clock=clock
    )

    def second(topics: Sequence[str]) -> Any:
        for _ in range(30):
            for topic in topics:
                core.receive_image(topic, numbered(0, clock.ros()))
            core.worker.process_next()
            clock.forward(1 / 30)
        return core.diagnostics()[1]

    assert (second(["left", "right"]).level, second(["left", "right"]).message) == (
        Level.OK,
        "30 sets",
    )
    status = second(["left"])
    assert status.level is Level.ERROR
    assert "right (" in status.message
    second(["left", "right"])  # some of before are still given up
    assert second(["left", "right"]).level is Level.OK


# ---------------------------------------------------------------------- diagnostics
def test_levels_of_a_channel() -> None:
    bench = Bench(Broken(), stale_s=0.5)

    def status() -> Any:
        return channel_status("encoder", bench.counts, bench.worker.enabled, 0.5)

    assert (status().level, status().message) == (Level.WARN, "no frame has arrived yet")
    for _ in range(60):
        bench.push(2)
        bench.clock.forward(1 / 30)
    assert status().level is Level.OK
    assert float(status().message.split()[0]) == pytest.approx(30, rel=0.05)
    bench.push(1)
    assert (status().level, status().message) == (
        Level.WARN,
        "failures in the last 10 s: nan 1",
    )
    for _ in range(60):
        bench.push(2, encoding="rgb9")
        bench.clock.forward(1 / 30)
    assert status().level is Level.ERROR
    assert status().message.startswith("nothing is published; failures in the last 10 s: encoding")
    bench.clock.forward(12)
    assert (status().level, status().message) == (Level.ERROR, "no frames for 12.0 s")
    bench.worker.disable()
    assert status().level is Level.OK
    bench.worker.enable()
    for _ in range(400):
        stamp = bench.clock.ros() + NS
        bench.worker.offer("camera", {"camera": numbered(2, stamp)})
        bench.worker.process_next()
        bench.clock.forward(1 / 30)
    assert status().level is Level.WARN
    assert "stamps lie 1.00 s in the future" in status().message


def test_values_of_a_channel() -> None:
    bench = Bench(CameraEncoder(encoder_of(), ["camera"]))
    bench.push(1, size=(32, 32))
    bench.clock.forward(0.1)
    bench.push(1, encoding="rgb9")
    values = channel_status("encoder", bench.counts).values
    assert all(isinstance(text, str) for text in values.values())
    wanted = {
        "received": "2",
        "encoded": "1",
        "failed": "1",
        "failed_encoding": "1",
        "nan": "0",
        "backwards": "0",
        "dropped": "0",
        "reuse_hit_rate": "0.0000",
        "age_p95_ms": "0.00",
    }
    assert {key: values[key] for key in wanted} == wanted
    assert {"encode_p50_ms", "overhead_p95_ms", "received_hz", "published_hz"} <= values.keys()


def test_once_per_kind() -> None:
    told: list[str] = []
    reports = OncePerKind(lambda level, text: told.append(text))
    assert [reports.report(kind, kind) for kind in "abab"] == [True, True, False, False]
    reports.forget()
    assert reports.report("a", "a")
    assert [text[0] for text in told] == ["a", "b", "a"]


# ------------------------------------------------------------------------- no ROS
def test_the_core_imports_no_ros() -> None:
    code = """
import importlib, pkgutil, sys
banned = {"rospy", "rclpy", "cv2", "cv_bridge", "sensor_msgs", "std_msgs", "message_filters",
          "diagnostic_msgs", "builtin_interfaces", "genpy", "rosbags", "ament_index_python"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
import s2robot.plugins.ros.core as core
for module in pkgutil.iter_modules(core.__path__):
    importlib.import_module(f"{core.__name__}.{module.name}")
assert not banned & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
