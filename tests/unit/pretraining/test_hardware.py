"""Choices by hardware."""

from __future__ import annotations

import pytest
import torch

from s2robot.pretraining import hardware
from s2robot.pretraining.hardware import resolve_precision


@pytest.mark.parametrize("faster, expected", [(True, torch.bfloat16), (False, torch.float32)])
def test_a_processors_precision_is_the_faster_one(
    monkeypatch: pytest.MonkeyPatch, faster: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(hardware, "bfloat16_trains_faster", lambda: faster)
    assert resolve_precision("auto", torch.device("cpu")) is expected
    assert resolve_precision("bfloat16", torch.device("cpu")) is torch.bfloat16


@pytest.mark.parametrize(
    "capability, expected", [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_a_gpu_that_emulates_bfloat16_takes_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda")) is expected
