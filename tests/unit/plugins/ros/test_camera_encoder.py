"""Stamps, tile reuse and several cameras in the ROS nodes' core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.ros_doubles import (
    EPOCH_S,
    Bench,
    header,
)
from support.small_encoders import encoder_of, picture

from s2robot.data.ros_messages.stamps import NS, Order, age_s, order_after
from s2robot.plugins.ros.core import (
    CameraEncoder,
    StampError,
    TimeSynchronizer,
    stamp_ns,
)


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
        (SimpleNamespace(), "SimpleNamespace is not a stamp; a stamp has secs and nsecs"),
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


def test_tile_reuse_saves_work_and_is_reset_with_the_clock() -> None:
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


def stamped(camera: str, stamp_s: float) -> Any:
    return SimpleNamespace(camera=camera, s=stamp_s, header=header(round(stamp_s * NS)))


class Sets:
    """A synchronizer and the stamps of the sets that it emits."""

    def __init__(self, cameras: Sequence[str] = ("a", "b"), slop_s: float = 0.015, **more: int):
        self.found: list[tuple[float, ...]] = []
        self.sync = TimeSynchronizer(cameras, slop_s, self.take, **more)

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
    """Memory of the newest message only would never find equal stamps here."""
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
    sets.push(("a", 1.0), ("b", 1.0))  # the bag is restarted
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
        TimeSynchronizer(cameras, slop_s, print, depth)
