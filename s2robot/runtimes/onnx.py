"""ONNX Runtime on processors."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s2robot.runtimes.base import (
    RuntimeFailedError,
    RuntimeMissingError,
    TokenModel,
    check_agreement,
    fitted,
    tiles_like,
)
from s2robot.runtimes.eager import refuse_gradients
from s2robot.runtimes.openvino import require, require_cpu

OPSET = 18


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the progress lines and warnings of PyTorch's exporter."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


class OnnxRuntime:
    """ONNX Runtime in float32; a tile size is exported when it is first met."""

    name = "onnxruntime"
    exact = True

    def __init__(self, model: TokenModel, low: bool) -> None:
        require_cpu(self.name, model)
        if low:
            raise RuntimeMissingError(
                "runtime onnxruntime computes in float32 and the encoder is bfloat16: "
                "use dtype=float32, or runtime=auto"
            )
        self.onnxruntime = require("onnxruntime", self.name)
        require("onnxscript", self.name)
        self.model = model
        self.sessions: dict[tuple[int, int], Any] = {}
        self.lock = threading.Lock()

    def __call__(self, tiles: Tensor) -> Tensor:
        refuse_gradients(self.name, self.model)
        height, width = tiles.shape[-2:]
        return run(self._session((height, width)), tiles)

    def _session(self, shape: tuple[int, int]) -> Any:
        with self.lock:
            if shape not in self.sessions:
                session = self._make(shape)
                check_agreement(self.name, lambda tiles: run(session, tiles), self.model, shape)
                self.sessions[shape] = session
            return self.sessions[shape]

    def _make(self, shape: tuple[int, int]) -> Any:
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory() as folder:  # weights may lie in a file of their own
            path = Path(folder) / "model.onnx"
            export_tokens(self.model, shape, path)
            return self.onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "onnxruntime": self.onnxruntime.__version__}


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
                fitted(model, shape),
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
            f"{str(error).splitlines()[0] if str(error) else ''}); use runtime=eager"
        ) from error
