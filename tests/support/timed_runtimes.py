"""Runtimes by name that take given times, so that runtime "auto" chooses as a test wants."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from torch import Tensor

from s2robot.runtimes import auto, measurement
from s2robot.runtimes.base import Runtime, TokenModel
from s2robot.runtimes.eager import EagerRuntime

Times = dict[str, Callable[[int], float]]
"""Milliseconds by the number of tiles, for each runtime."""
FEW_TILES_ONLY: Times = {
    "eager": lambda tiles: 10.0 * tiles,
    "openvino": lambda tiles: 6.0 * tiles if tiles < 16 else 11.0 * tiles,
}
"""OpenVINO is faster for fewer than 16 tiles."""


class StandIn(EagerRuntime):
    """Another runtime by its name, which computes what eager does and adds a mark."""

    def __init__(self, name: str, mark: float, model: TokenModel, bf16: bool) -> None:
        super().__init__(model, bf16)
        self.name, self.mark = name, mark

    def __call__(self, tiles: Tensor) -> Tensor:
        return super().__call__(tiles) + self.mark


def give_times(monkeypatch: pytest.MonkeyPatch, times: Times) -> list[tuple[str, int]]:
    """Give runtimes times [ms]; returns the runtime and tiles of each timed call, in a list.

    OpenVINO's tokens are those of eager PyTorch plus 1, so that they are told apart.
    """
    seen: list[tuple[str, int]] = []

    def stand_in(runtime: Runtime, batches: list[Tensor]) -> float:
        tiles = sum(map(len, batches))
        seen.append((runtime.name, tiles))
        return times[runtime.name](tiles)

    monkeypatch.setattr(measurement, "milliseconds_of", stand_in)
    for mark, name in enumerate(("openvino", "onnxruntime"), start=1):
        monkeypatch.setitem(auto.MAKERS, name, functools.partial(StandIn, name, mark))
    return seen
