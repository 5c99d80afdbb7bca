"""The worker of the ROS nodes: latest frames only, their headers, counted failures."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.ros_doubles import (
    BAD,
    EPOCH_S,
    Bench,
    Broken,
    Clock,
    Reads,
    accounted,
    header,
    numbered,
)
from support.small_encoders import encoder_of

from s2robot.data.ros_messages.stamps import NS
from s2robot.plugins.ros.core import (
    CameraEncoder,
    EmbeddingResult,
    LatestFrameWorker,
    Level,
    LogThrottle,
)
from s2robot.plugins.ros.core.counters import Counters, Spread


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


def test_jitter_does_not_lower_the_limited_rate() -> None:
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


@pytest.mark.parametrize("kind", BAD)
def test_bad_messages_are_counted_and_logged_once(kind: str) -> None:
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
    def refuse(result: EmbeddingResult) -> None:
        raise OSError("the topic is gone")

    bench = Bench(publish=refuse)
    bench.worker._throttle = LogThrottle(refuse)  # type: ignore[arg-type]
    for sequence in range(3):
        assert bench.push(sequence)
    assert bench.counts.failed == {"publish": 3}
    assert bench.counts.published == 0


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


def test_late_frames_are_skipped_and_do_not_replace_newer_ones() -> None:
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


def test_a_bag_that_restarts() -> None:
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


def test_frames_whose_stamp_was_never_set() -> None:
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


def test_disabling_discards_frames_that_wait_or_are_being_encoded() -> None:
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
