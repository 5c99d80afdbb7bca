"""OpenVINO on processors: float32 or bfloat16 as the spec says, or int8 calibrated on frames."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
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


def require(package: str, runtime: str) -> Any:
    """Import a package of the extra ``runtimes``.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RuntimeMissingError(
            f"runtime {runtime} needs {package}, which cannot be imported ({error}): "
            "pip install 's2robot[runtimes]'"
        ) from None


def require_cpu(runtime: str, model: TokenModel) -> None:
    """Raise RuntimeMissingError unless the weights lie in ordinary memory."""
    if model.device.type != "cpu":
        raise RuntimeMissingError(
            f"runtime {runtime} runs on the processor; the encoder is on {model.device}: "
            "use device=cpu, or runtime=auto"
        )


def converted(model: TokenModel, shape: tuple[int, int]) -> Any:
    """The model as an ``openvino.Model`` for any number of float32 tiles of ``shape`` (h, w).

    Raises:
        RuntimeFailedError: an operation of the model is unknown to OpenVINO.
    """
    openvino = require("openvino", "openvino")
    given = [([-1, 3, *shape], openvino.Type.f32)]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: sizes become constants, as is wanted
            return openvino.convert_model(
                fitted(model, shape), example_input=tiles_like(shape), input=given
            )
    except Exception as error:
        raise RuntimeFailedError(
            f"OpenVINO cannot take {model.backbone.card.name} over ({error}); use runtime=eager"
        ) from error


def compiled(model: Any, low: bool = False) -> Any:
    """Compile an ``openvino.Model`` for short latency on as many threads as PyTorch has."""
    openvino = require("openvino", "openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
    }
    return openvino.Core().compile_model(model, "CPU", settings)


class Request:
    """A compiled model that any thread may call."""

    def __init__(self, compiled_model: Any) -> None:
        self.compiled = compiled_model
        self.local = threading.local()  # requests hold buffers: one a thread

    def __call__(self, tiles: Tensor) -> Tensor:
        """float32 tiles ``(N, 3, h, w)`` to tokens ``(N, P + g, C)``."""
        if not hasattr(self.local, "request"):
            self.local.request = self.compiled.create_infer_request()
        given = np.ascontiguousarray(tiles.float().numpy())
        results = self.local.request.infer([given], share_inputs=True)
        return torch.from_numpy(next(iter(results.values())))


class OpenVinoRuntime:
    """OpenVINO in the precision of the spec; a tile size is converted when it is first met."""

    name = "openvino"
    exact = True

    def __init__(self, model: TokenModel, low: bool) -> None:
        require_cpu(self.name, model)
        self.version = require("openvino", self.name).__version__.split("-")[0]
        self.model = model
        self.low = low
        self.requests: dict[tuple[int, int], Request] = {}
        self.lock = threading.Lock()

    def __call__(self, tiles: Tensor) -> Tensor:
        refuse_gradients(self.name, self.model)
        height, width = tiles.shape[-2:]
        return self._request((height, width))(tiles)

    def _request(self, shape: tuple[int, int]) -> Request:
        with self.lock:
            if shape not in self.requests:
                request = self.requests[shape] = Request(
                    compiled(converted(self.model, shape), self.low)
                )
                if not self.low:
                    check_agreement(self.name, request, self.model, shape)
            return self.requests[shape]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "openvino": self.version}
