"""What a stored measurement depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.runtimes import measurement
from s2robot.runtimes.measurement import identity, remembered

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
