"""What a stored measurement depends on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.runtimes import measurement
from s2robot.runtimes.measurement import identity, remembered
from s2robot.runtimes.other_work import OtherWork

Make = Callable[..., FrameEncoder]
TILES = (5, 3, 32, 32)


def test_processors_of_one_name_with_other_instructions_are_told_apart(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make().token_model
    found = []
    for flags in ({"avx2"}, {"avx2", "avx512_bf16"}):
        monkeypatch.setattr(measurement, "cpu_flags", lambda flags=flags: frozenset(flags))
        found.append(identity(model, [TILES]))
    assert found[0]["processor"] == found[1]["processor"]
    assert found[0] != found[1]


def test_fewer_cores_are_another_machine(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(make().token_model, [TILES])
    monkeypatch.setattr(measurement, "usable_cores", lambda: 64)
    assert identity(make().token_model, [TILES]) != before


@pytest.mark.parametrize(
    "settings", [{"layers": (0,)}, {"layers": (0, 1), "layers_merge": "mean"}, {"readout": "mean"}]
)
def test_each_model_is_measured(make: Make, settings: dict) -> None:
    usual = identity(make(layers=(0, 1)).token_model, [TILES])
    assert identity(make(**settings).token_model, [TILES]) != usual


def test_other_weights_are_measured(make: Make) -> None:
    # A runtime may agree with PyTorch for some weights and not for others.
    first, second = make(), make()
    with torch.no_grad():
        next(second.backbone.parameters()).add_(1)
    assert identity(first.token_model, [TILES]) != identity(second.token_model, [TILES])


def test_a_gpu_is_named_by_the_encoders_device(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make().token_model
    asked = []
    monkeypatch.setattr(type(model), "device", torch.device("cuda:1"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: asked.append(device) or "B")
    assert identity(model, [TILES])["gpu"] == "B"
    assert asked == [torch.device("cuda:1")]


def test_a_measurement_is_kept_by_its_key(fresh_home: Path) -> None:
    def measure() -> dict:
        return {"fastest": "a", "milliseconds": {"a": 1.0}, "left_out": {}}

    assert remembered({"key": 1}, ["a"], measure)["fastest"] == "a"
    assert remembered({"key": 1}, ["a"], lambda: pytest.fail("measured again"))["key"] == 1
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        remembered({"key": 2}, ["a"], lambda: pytest.fail("measured again"))


def test_a_measurement_beside_other_work_is_made_again_once_that_is_gone(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.9, 0.0])  # while it is measured
    now = [0.5, 0.0]  # when it is asked for again

    def measure() -> dict:
        made.append("a")
        return {"fastest": "a", "milliseconds": {"a": 1.0}, "left_out": {}}

    def ask() -> dict:
        return remembered({"key": 1}, ["a"], measure, again_when_quiet=True)

    made: list[str] = []
    monkeypatch.setattr(measurement.OtherWork, "share", lambda _: next(shares))
    monkeypatch.setattr(measurement, "share_now", lambda: now.pop(0))
    assert ask()["other_work"] == 0.9
    assert ask()["other_work"] == 0.9  # still busy
    assert len(made) == 1
    # What decides how numbers are computed stays as it is.
    assert remembered({"key": 1}, ["a"], lambda: pytest.fail("measured"))["other_work"] == 0.9
    assert ask()["other_work"] == 0.0
    assert len(made) == 2
    assert ask()["other_work"] == 0.0  # looks no more: `now` is empty
    assert len(made) == 2


def test_the_work_of_another_process_is_seen_and_the_own_is_not() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processes cannot be bound to a core here")
    cores = os.sched_getaffinity(0)
    busy = "import time\nwhile True: time.perf_counter()"
    os.sched_setaffinity(0, {min(cores)})
    try:
        with subprocess.Popen([sys.executable, "-c", busy]) as other:
            try:
                work, until = OtherWork(), time.perf_counter() + 1.0
                while time.perf_counter() < until:
                    pass
                beside = work.share()
            finally:
                other.kill()
    finally:
        os.sched_setaffinity(0, cores)
    # One core, two that want it: about half. Other tests may run beside, which makes it more.
    assert 0.25 < beside < 0.99
