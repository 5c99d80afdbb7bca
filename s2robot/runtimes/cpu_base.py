"""Base of the runtimes of other packages: on processors, with one graph for each tile size."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from s2robot.backbones.checkpoints import changes_of
from s2robot.errors import install_command
from s2robot.runtimes.base import RuntimeMissingError, TokenModel, refuse_gradients


def require(package: str, runtime: str) -> Any:
    """Import a package of the extra ``runtimes``.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RuntimeMissingError(
            f"runtime {runtime} needs {package}, which cannot be imported ({error}): "
            f"{install_command('runtimes')}"
        ) from None


def require_cpu(runtime: str, model: TokenModel) -> None:
    """Raise RuntimeMissingError unless the weights lie in ordinary memory."""
    if model.device.type != "cpu":
        raise RuntimeMissingError(
            f"runtime {runtime} runs on the processor; the encoder is on {model.device}: "
            "use device cpu, or runtime auto"
        )


class ProcessorRuntime(ABC):
    """A runtime that makes a graph for each tile size when it first meets one.

    Any thread may call it.
    """

    name: str
    exact = True

    def __init__(self, model: TokenModel) -> None:
        require_cpu(self.name, model)
        self.model = model
        self._graphs: dict[tuple[int, int], Callable[[Tensor], Tensor]] = {}
        self._changes = self._seen_changes()
        self._lock = threading.Lock()

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the float32 tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)`` in 0-255."""
        refuse_gradients(self.name, self.model)
        height, width = tiles.shape[-2:]
        with self._lock:
            changes = self._seen_changes()
            if changes != self._changes:  # graphs hold the weights of their making
                self._graphs.clear()
                self._changes = changes
            if (height, width) not in self._graphs:
                self._graphs[height, width] = self.make((height, width))
            graph = self._graphs[height, width]
        return graph(tiles)

    def _seen_changes(self) -> tuple[tuple[int, int], ...]:
        return changes_of([*self.model.parameters(), *self.model.buffers()])

    @abstractmethod
    def make(self, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Return the graph for tiles of ``shape`` (h, w) [px].

        Raises:
            RuntimeFailedError: the model cannot be taken over, or gives other numbers.
        """
