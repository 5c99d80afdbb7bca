"""Devices by name, and those that a machine does not have."""

from __future__ import annotations

import pytest
import torch

from s2robot.utils.devices import present_device, resolve_device


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert present_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match=r"'cuda:1', but PyTorch finds no such GPU .*cuda:0"):
        present_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="found: none.; give device cpu or auto"):
        present_device("cuda")


def test_settings_may_name_the_gpu_of_another_machine() -> None:
    assert resolve_device("cuda:7") == torch.device("cuda:7")
    with pytest.raises(ValueError, match="allowed: auto, cpu, cuda"):
        resolve_device("gpu")
