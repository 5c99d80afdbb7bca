"""CUDA graphs imitated on a processor: operations are recorded, and replayed on the same memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from s2robot.runtimes.cuda_graph import Recording


class _Tape(TorchDispatchMode):
    """Notes each operation with the memory that it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        args, kwargs = tree_map_only(Tensor, torch.ops.aten.detach.default, (args, kwargs or {}))
        found = func(*args, **kwargs)
        written = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
        self.operations.append((func, args, kwargs, written))
        return found

    def replay(self) -> None:
        for func, args, kwargs, written in self.operations:
            found = tree_leaves(func(*args, **kwargs))
            again = [leaf for leaf in found if isinstance(leaf, Tensor)]
            for old, new in zip(written, again, strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class ImitatedRecorder:
    """Stands in for ``GraphRecorder``; ``recorded`` counts recordings."""

    recorded = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        with torch.inference_mode(False), torch.no_grad():
            yield

    def record(self, function: Callable[[], tuple[Tensor, ...]]) -> Recording:
        ImitatedRecorder.recorded += 1
        tape = _Tape()
        with tape:
            results = function()
        return Recording(tape.replay, results)

    def buffers(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.clone(), like.clone()
