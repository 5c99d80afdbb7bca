"""PyTorch itself: as it is, or compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2robot.runtimes.base import RuntimeFailedError, TokenModel, refuse_gradients
from s2robot.utils.deprecation import moved_names


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
        from torch._dynamo.exc import TorchDynamoException  # which few processes need

        refuse_gradients(self.name, self.model)
        device = self.model.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            try:
                return self.compiled(tiles.float())
            except TorchDynamoException as error:
                reason = " ".join(str(error).strip().splitlines()[:2])
                raise RuntimeFailedError(
                    f"torch.compile cannot compile this encoder ({reason}). It needs a compiler "
                    "(Debian, Ubuntu: `apt-get install build-essential python3-dev`); else use "
                    "runtime eager"
                ) from error

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "torch": torch.__version__}


__getattr__ = moved_names(
    __name__,
    {
        "CudaGraphRuntime": "s2robot.runtimes.cuda_graph",
        "MOST_GRAPHS": "s2robot.runtimes.cuda_graph",
    },
)
