"""Emulated bfloat16 against PyTorch's own, which any processor computes, though slowly."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.paths import ROOT
from torch import Tensor

from s2robot.backbones import load_backbone
from s2robot.runtimes.base import TokenModel
from s2robot.runtimes.eager import EagerRuntime

ULP = 2.0**-7
"""Distance of neighboring bfloat16 numbers, as a share of the number, at most."""


@pytest.fixture(scope="module")
def emulation() -> ModuleType:
    path = ROOT / "benchmarks" / "bf16_emulation.py"
    spec = importlib.util.spec_from_file_location("bf16_emulation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


PRODUCTS: dict[str, Callable[[], Tensor]] = {
    "linear": lambda: F.linear(values(40, 96), values(50, 96, seed=1), values(50, seed=2)),
    "convolution": lambda: F.conv2d(
        values(2, 3, 32, 32), values(8, 3, 8, 8, seed=1), values(8, seed=2), stride=8
    ),
    "matmul": lambda: torch.matmul(values(3, 20, 64), values(3, 64, 30, seed=1)),
    "operator": lambda: values(20, 64) @ values(64, 30, seed=1),
    "attention": lambda: F.scaled_dot_product_attention(
        values(2, 3, 20, 64), values(2, 3, 20, 64, seed=1), values(2, 3, 20, 64, seed=2)
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_that_of_pytorchs_bfloat16_to_the_last_bit_but_one(
    emulation: ModuleType, name: str
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        expected = PRODUCTS[name]().float()
    with emulation.EmulatedBfloat16():
        found = PRODUCTS[name]()
    apart = (found - expected).abs()
    least = float(expected.abs().max()) * ULP / 4  # sums near zero round by their terms' size
    assert (apart <= (expected.abs() * ULP).clamp(min=least)).all()
    assert (apart == 0).float().mean() > 0.9
    assert not torch.equal(found, PRODUCTS[name]())  # float32 is another number


def test_tokens_of_a_model_are_those_of_pytorchs_bfloat16_to_rounding(
    emulation: ModuleType,
) -> None:
    model = TokenModel(load_backbone("s2r-vitt16-128"), "grid").eval()
    tiles = (values(2, 3, 128, 128) * 20 + 128).clamp(0, 255)
    full, low = EagerRuntime(model, False)(tiles), EagerRuntime(model, True)(tiles)
    emulated = emulation.EmulatedRuntime(model)(tiles)
    rounding = (low - full).norm() / full.norm()
    assert 0.5 < (emulated - full).norm() / full.norm() / rounding < 2
    assert (emulated - low).norm() / full.norm() < rounding  # not another, independent rounding
