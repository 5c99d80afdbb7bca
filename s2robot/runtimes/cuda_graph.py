"""CUDA graphs: the kernels of a model are recorded once, and a call replays them by one launch.

A graph reads weights and inputs where they lay when it was recorded. ``RecordableModel`` tells when
weights were moved, ``GraphRecorder`` holds all that only a GPU can do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from s2robot.backbones.checkpoints import changes_of
from s2robot.runtimes.base import (
    RuntimeFailedError,
    RuntimeMissingError,
    TokenModel,
    refuse_gradients,
)
from s2robot.runtimes.eager import EagerRuntime

MOST_GRAPHS = 32
"""Batch sizes that a CUDA graph is kept for; a further one runs without."""
_WARM_UPS = 3


class RecordableModel:
    """A token model for recording, which knows when its weights were changed or moved.

    In bfloat16 the matrices are rounded once, and not in every call as autocast does; the numbers
    are the same.

    Args:
        model: to run.
        bf16: in bfloat16 rather than float32.
    """

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        self.model, self.bf16 = model, bf16
        self._places = [
            (held, name)
            for module in model.modules()
            for held in (module._parameters, module._buffers)
            for name, tensor in held.items()
            if tensor is not None
        ]
        self._matrices = [
            (f"{path}.{name}", module, name)
            for path, module in model.named_modules()
            if bf16 and isinstance(module, (nn.Linear, nn.Conv2d))
            for name in ("weight", "bias")
            if module._parameters.get(name) is not None
        ]
        self._rounded: dict[str, Tensor] = {}
        self._seen: tuple[tuple[int, int], ...] = ()

    def refresh(self) -> bool:
        """Take up changes of the weights; return whether earlier recordings are void."""
        tensors = (held[name] for held, name in self._places)
        seen = changes_of(tensor for tensor in tensors if tensor is not None)
        if seen == self._seen:
            return False
        moved = [place for place, _ in seen] != [place for place, _ in self._seen]
        self._seen = seen
        for key, module, name in self._matrices:
            weight = module._parameters[name]
            assert weight is not None  # or it would not be among the matrices
            if moved:
                self._rounded[key] = weight.detach().to(torch.bfloat16)
            else:
                self._rounded[key].copy_(weight)
        return moved

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)``, after ``refresh``."""
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            return functional_call(self.model, self._rounded, (tiles,))


@dataclass(frozen=True)
class Recording:
    """Recorded kernels, and the tensors that a replay writes."""

    replay: Callable[[], None]
    results: tuple[Tensor, ...]


class GraphRecorder:
    """Recorder of graphs on one GPU, which share memory: one may run at a time.

    Args:
        device: of all tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()
            self._done = torch.cuda.Event()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Use the graphs' tensors, after whoever used them before, on any stream."""
        with torch.cuda.device(self.device), torch.inference_mode(False), torch.no_grad():
            stream = torch.cuda.current_stream()
            stream.wait_event(self._done)
            yield
            self._done.record(stream)

    def record(self, function: Callable[[], tuple[Tensor, ...]]) -> Recording:
        """Record what a function does on the GPU, within a turn.

        Args:
            function: reads and returns tensors that stay where they are.

        Raises:
            RuntimeFailedError: it does what a graph cannot hold, or memory does not suffice.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(stream):  # libraries and tables set themselves up before
                for _ in range(_WARM_UPS):
                    function()
            torch.cuda.current_stream().wait_stream(stream)
            # "thread_local": other threads may go on with the GPU meanwhile
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                results = function()
        except RuntimeError as error:  # PyTorch's own are of this class, out of memory too
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RuntimeFailedError(
                f"runtime cuda-graph cannot record this encoder ({reason}): use runtime eager"
            ) from error
        return Recording(graph.replay, results)

    def buffers(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return a copy of a tensor in page-locked memory, and one on the GPU."""
        return like.pin_memory(), like.to(self.device)


class CudaGraphRuntime:
    """One recorded CUDA graph a number of tiles: a call costs one launch.

    Its buffers are its own; a call copies tiles in and tokens out, and calls exclude each other.
    """

    name = "cuda-graph"
    exact = True

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        require_gpu(model)
        self.model = model
        self.eager = EagerRuntime(model, bf16)
        self.recordable = RecordableModel(model, bf16)
        self.recorder = GraphRecorder(model.device)
        self.graphs: dict[tuple[Any, ...], tuple[Recording, Tensor]] = {}
        self.lock = threading.Lock()

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the float32 tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)`` in 0-255."""
        refuse_gradients(self.name, self.model)
        key = (*tiles.shape, tiles.dtype)
        with self.lock, self.recorder.turn():
            if self.recordable.refresh():
                self.graphs.clear()
            if key not in self.graphs and len(self.graphs) >= MOST_GRAPHS:
                return self.eager(tiles)
            if key not in self.graphs:
                given = tiles.clone()
                recording = self.recorder.record(lambda: (self.recordable(given),))
                self.graphs[key] = recording, given
            recording, given = self.graphs[key]
            given.copy_(tiles)
            recording.replay()
            return recording.results[0].clone()

    def describe(self) -> dict[str, Any]:
        """Return the name and PyTorch's version."""
        return {"name": self.name, "torch": torch.__version__}


def require_gpu(model: TokenModel) -> None:
    """Raise RuntimeMissingError unless the weights lie on a CUDA device."""
    if model.device.type != "cuda":
        raise RuntimeMissingError(
            f"runtime cuda-graph needs a CUDA device; the encoder is on {model.device}: "
            "use device cuda, or runtime auto"
        )
