"""PyTorch itself: as it is, compiled, or recorded as CUDA graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2robot.runtimes.base import RuntimeMissingError, TokenModel, refuse_gradients

MOST_GRAPHS = 32
"""Batch sizes that a CUDA graph is kept for; a further one runs without."""


class EagerRuntime:
    """PyTorch as it is. The only runtime that gives gradients."""

    name = "eager"
    exact = True

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        self.model = model
        self.bf16 = bf16

    def __call__(self, tiles: Tensor) -> Tensor:
        device = self.model.device.type
        with (
            torch.set_grad_enabled(self.model.trains),
            torch.autocast(device, torch.bfloat16, enabled=self.bf16),
        ):
            return self.model(tiles)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


class CompiledRuntime:
    """``torch.compile`` with any number of tiles; the first calls take up to minutes."""

    name = "compile"
    exact = True

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        self.model = model
        self.bf16 = bf16
        self.compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=True)

    def __call__(self, tiles: Tensor) -> Tensor:
        refuse_gradients(self.name, self.model)
        device = self.model.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            return self.compiled(tiles.float())

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "torch": torch.__version__}


class CudaGraphRuntime:
    """One recorded CUDA graph a number of tiles: a call costs one launch.

    Its buffers are its own; a call copies tiles in and tokens out, and calls exclude each other.
    """

    name = "cuda-graph"
    exact = True

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        if model.device.type != "cuda":
            raise RuntimeMissingError(
                f"runtime cuda-graph needs a CUDA device; the encoder is on {model.device}: "
                "use device cuda, or runtime auto"
            )
        self.model = model
        self.eager = EagerRuntime(model, bf16)
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
