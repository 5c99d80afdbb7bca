"""Graphs of processors' runtimes: kept by tile size, made anew where weights changed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.runtimes.cpu_base import ProcessorRuntime

Make = Callable[..., FrameEncoder]


class Counting(ProcessorRuntime):
    """A runtime whose graphs give the number of graphs that were made before."""

    name = "counting"
    made = 0

    def make(self, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        self.made += 1
        number = self.made
        return lambda tiles: torch.full((len(tiles),), number)


def test_a_graph_is_made_once_for_each_tile_size(make: Make) -> None:
    runtime = Counting(make().token_model)
    small, large = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 48, 48)
    assert [int(runtime(tiles)) for tiles in (small, large, small, large)] == [1, 2, 1, 2]


def test_weights_that_were_trained_further_make_a_new_graph(make: Make) -> None:
    encoder = make()
    runtime = Counting(encoder.token_model)
    tiles = torch.zeros(1, 3, 32, 32)
    assert int(runtime(tiles)) == 1
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(0.1)
    assert [int(runtime(tiles)) for _ in range(2)] == [2, 2]


def test_weights_that_were_replaced_make_a_new_graph(make: Make) -> None:
    encoder = make()
    runtime, tiles = Counting(encoder.token_model), torch.zeros(1, 3, 32, 32)
    assert int(runtime(tiles)) == 1
    weight = next(encoder.backbone.parameters())
    weight.data = weight + 0.1
    assert [int(runtime(tiles)) for _ in range(2)] == [2, 2]
