"""ONNX Runtime on processors."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2robot.runtimes.base import (
    RuntimeFailedError,
    RuntimeMissingError,
    TokenModel,
    at_tile_size,
    check_agreement,
    tiles_like,
)
from s2robot.runtimes.cpu_base import ProcessorRuntime, require
from s2robot.runtimes.names import OPSET
from s2robot.utils.process_state import without_output, without_warnings


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the progress lines and warnings of PyTorch's exporter."""
    with without_warnings(), without_output():
        yield


class OnnxRuntime(ProcessorRuntime):
    """ONNX Runtime in float32."""

    name = "onnxruntime"

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        super().__init__(model)
        if bf16:
            raise RuntimeMissingError(
                "runtime onnxruntime computes in float32 and the encoder is bfloat16: "
                "use dtype float32, or runtime auto"
            )
        self.version = require("onnxruntime", self.name).__version__
        require("onnxscript", self.name)

    def make(self, shape: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        with tempfile.TemporaryDirectory() as folder:  # weights may lie in a file of their own
            path = Path(folder) / "model.onnx"
            export_tokens(self.model, shape, path)
            graph = functools.partial(run, session_of(path))
        check_agreement(self.name, graph, self.model, shape)
        return graph

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "onnxruntime": self.version}


def session_of(model: str | Path | bytes) -> Any:
    """Return a processor session of a model (file or content), with PyTorch's number of threads."""
    onnxruntime = require("onnxruntime", "onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def run(session: Any, tiles: Tensor) -> Tensor:
    """float32 tiles ``(N, 3, h, w)`` through a session of one input and one output."""
    given = {session.get_inputs()[0].name: tiles.float().contiguous().numpy()}
    return torch.from_numpy(session.run(None, given)[0])


def export_tokens(model: TokenModel, shape: tuple[int, int], path: Path) -> None:
    """Write the model as ONNX for any number of float32 tiles of ``shape`` (h, w).

    Raises:
        RuntimeFailedError: PyTorch's exporter does not know an operation of the model.
    """
    tiles = tiles_like(shape, count=3)  # 1 and 2 are sizes that tracing may take for constants
    batch = torch.export.Dim("n", min=1)
    try:
        with torch.no_grad(), quietly():
            program = torch.onnx.export(
                at_tile_size(model, shape),
                (tiles,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
            )
            assert program is not None
            program.save(str(path))
    except Exception as error:
        raise RuntimeFailedError(
            f"{model.backbone.card.name} cannot be exported to ONNX ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); use runtime eager"
        ) from error
