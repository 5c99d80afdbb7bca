"""Devices by name, and those that a machine does not have."""

from __future__ import annotations

import re

import pytest
import torch

from s2robot.utils.devices import KINDS, check_device, present_device, resolve_device


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


def test_kinds_of_devices_are_known_without_pytorch_as_pytorch_names_them() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.device("gpu")
    named = re.search(r"one of (.*) device type", str(caught.value))
    assert named is not None
    assert set(named[1].replace(" ", "").split(",")) <= set(KINDS)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12", "mps", "meta"])
def test_settings_take_the_devices_that_pytorch_takes(device: str) -> None:
    check_device(device)
    assert str(torch.device(device)) == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:01", "cuda:-1", "cuda:x", "", "CPU"])
def test_settings_refuse_the_devices_that_pytorch_refuses(device: str) -> None:
    with pytest.raises(ValueError, match="allowed: auto, cpu, cuda"):
        check_device(device)
    with pytest.raises(ValueError, match="allowed: auto, cpu, cuda"):
        resolve_device(device)
