"""Diagnostics of a node, and its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.ros_doubles import (
    Bench,
    Broken,
    Clock,
    Reads,
    numbered,
)
from support.small_encoders import encoder_of
from support.tiny_models import write_tiny_model

from s2robot.data.ros_messages.stamps import NS
from s2robot.plugins.ros.core import (
    CameraEncoder,
    Level,
    LogThrottle,
    NodeConfig,
    NodeCore,
)
from s2robot.plugins.ros.core.diagnostics import channel_status


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


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
    second(["left", "right"])  # some earlier messages are still discarded
    assert second(["left", "right"]).level is Level.OK


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


def test_a_silent_clock_is_told_from_stamps_in_the_future(tiny: str) -> None:
    clock, now = Clock(), [0]
    config = NodeConfig(tiny, device="cpu")
    core = NodeCore(
        config,
        lambda _: None,
        lambda: now[0],
        lambda *_: None,
        channels={"image": Reads()},
        clock=clock,
    )

    def message() -> str:
        core.receive_image("image", numbered(0, clock.ros()))
        core.worker.process_next()
        (status,) = core.diagnostics()
        assert status.level is Level.WARN
        return status.message

    core.worker.enable()
    assert "use_sim_time is set, but /clock is silent" in message()
    now[0] = 1
    assert "s in the future: compare the clocks" in message()


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


def test_each_kind_of_problem_is_logged_once() -> None:
    told: list[str] = []
    reports = LogThrottle(lambda level, text: told.append(text))
    assert [reports.report(kind, kind) for kind in "abab"] == [True, True, False, False]
    reports.forget()
    assert reports.report("a", "a")
    assert [text[0] for text in told] == ["a", "b", "a"]
