"""PyTorch itself: as it is, compiled, or recorded as CUDA graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2robot.errors import S2RobotError
from s2robot.runtimes.base import RuntimeMissingError, TokenModel

MOST_GRAPHS = 32
"""Batch sizes that a CUDA graph is kept for; a further one runs without."""


class EagerRuntime:
    """PyTorch as it is. The only runtime that gives gradients."""

    name = "eager"
    exact = True

    def __init__(self, model: TokenModel, low: bool) -> None:
        self.model = model
        self.low = low  # bfloat16

    def __call__(self, tiles: Tensor) -> Tensor:
        device = self.model.device.type
        with (
            torch.set_grad_enabled(self.model.trains),
            torch.autocast(device, torch.bfloat16, enabled=self.low),
        ):
            return self.model(tiles)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


def refuse_gradients(name: str, model: TokenModel) -> None:
    """Raise S2RobotError if a weight asks for gradients, which only eager PyTorch gives."""
    if model.trains:
        raise S2RobotError(
            f"runtime {name} gives no gradients and a weight of the encoder asks for them; "
            "use runtime=eager, or call it under torch.no_grad()"
        )


class CompiledRuntime:
    """``torch.compile`` with any number of tiles; the first calls take up to minutes."""

    name = "compile"
    exact = True

    def __init__(self, model: TokenModel, low: bool) -> None:
        self.model = model
        self.low = low
        self.compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=True)

    def __call__(self, tiles: Tensor) -> Tensor:
        refuse_gradients(self.name, self.model)
        device = self.model.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.low):
            return self.compiled(tiles.float())

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "torch": torch.__version__}


class CudaGraphRuntime:
    """One recorded CUDA graph a number of tiles: a call costs one launch.

    Its buffers are its own; a call copies tiles in and tokens out, and calls exclude each other.
    """

    name = "cuda-graph"
    exact = True

    def __init__(self, model: TokenModel, low: bool) -> None:
        if model.device.type != "cuda":
            raise RuntimeMissingError(
                f"runtime cuda-graph needs a CUDA device; the encoder is on {model.device}: "
                "use device=cuda, or runtime=auto"
            )
        self.model = model
        self.eager = EagerRuntime(model, low)
        self.graphs: dict[tuple[Any, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self.lock = threading.Lock()

    def __call__(self, tiles: Tensor) -> Tensor:
        refuse_gradients(self.name, self.model)
        key = (*tiles.shape, tiles.dtype)
        with self.lock, torch.no_grad():
            if key not in self.graphs and len(self.graphs) >= MOST_GRAPHS:
                return self.eager(tiles)
            if key not in self.graphs:
                self.graphs[key] = self._record(tiles)
            graph, given, tokens = self.graphs[key]
            given.copy_(tiles)
            graph.replay()
            return tokens.clone()

    def _record(self, tiles: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = tiles.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # libraries set themselves up outside of the recording
            for _ in range(3):
                self.eager(given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            tokens = self.eager(given)
        return graph, given, tokens

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "torch": torch.__version__}
