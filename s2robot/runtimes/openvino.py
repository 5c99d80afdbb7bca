"""OpenVINO on processors: float32 or bfloat16 as the spec says, or int8 calibrated on frames."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from s2robot.runtimes.base import (
    RuntimeFailedError,
    TokenModel,
    at_tile_size,
    check_agreement,
    tiles_like,
)
from s2robot.runtimes.cpu_base import ProcessorRuntime, require
from s2robot.utils.process_state import without_warnings


def converted(model: TokenModel, shape: tuple[int, int]) -> Any:
    """Convert the model to an ``openvino.Model`` for float32 tiles of ``shape`` (h, w).

    Raises:
        RuntimeFailedError: an operation of the model is unknown to OpenVINO.
    """
    openvino = require("openvino", "openvino")
    given = [([-1, 3, *shape], openvino.Type.f32)]
    try:
        with torch.no_grad(), without_warnings():  # of tracing: sizes become constants, as wanted
            return openvino.convert_model(
                at_tile_size(model, shape), example_input=tiles_like(shape), input=given
            )
    except Exception as error:
        raise RuntimeFailedError(
            f"OpenVINO cannot take {model.backbone.card.name} over ({error}); use runtime eager"
        ) from error


def compiled(model: Any, bf16: bool = False) -> Any:
    """Compile an ``openvino.Model`` for short latency on as many threads as PyTorch has."""
    openvino = require("openvino", "openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    return openvino.Core().compile_model(model, "CPU", settings)


def _precision() -> str:
    """Return the precision in which this processor computes where bfloat16 is asked for."""
    openvino = require("openvino", "openvino")
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


class Request:
    """A compiled model that any thread may call."""

    def __init__(self, compiled_model: Any) -> None:
        self.compiled = compiled_model
        self.local = threading.local()  # requests hold buffers: one a thread

    def __call__(self, tiles: Tensor) -> Tensor:
        """float32 tiles ``(N, 3, h, w)`` to tokens ``(N, P + g, C)``."""
        return self.outputs(tiles)[0]

    def outputs(self, tiles: Tensor) -> list[Tensor]:
        """All outputs of the model for float32 tiles ``(N, 3, h, w)``."""
        if not hasattr(self.local, "request"):
            self.local.request = self.compiled.create_infer_request()
        given = np.ascontiguousarray(tiles.float().numpy())
        results = self.local.request.infer([given], share_inputs=True)
        return [torch.from_numpy(output) for output in results.values()]


_graphs: WeakValueDictionary[tuple[Any, ...], Request] = WeakValueDictionary()
"""Graphs in use, by all that decides their output: encoders of equal weights share them, since
making one takes seconds."""
_latest: deque[Request] = deque(maxlen=2)
"""The last graphs made, which stay for the next run of a sweep when nobody holds them."""
_making = threading.Lock()


class OpenVinoRuntime(ProcessorRuntime):
    """OpenVINO in the precision of the spec."""

    name = "openvino"

    def __init__(self, model: TokenModel, bf16: bool) -> None:
        super().__init__(model)
        self.version = require("openvino", self.name).__version__.split("-")[0]
        self.bf16 = bf16
        self.precision = _precision() if bf16 else "f32"

    def make(self, shape: tuple[int, int]) -> Request:
        """Return the graph for tiles of ``shape``, which runtimes of equal weights share.

        Raises:
            RuntimeFailedError: the model cannot be taken over, or gives other numbers.
        """
        model = self.model
        what = (model.pooling, model.layers, model.layers_merge, shape, self.bf16)
        pixels = (
            *model.get_buffer("mean").flatten().tolist(),
            *model.get_buffer("std").flatten().tolist(),
        )
        key = (model.backbone.weights_digest, pixels, *what, torch.get_num_threads())
        with _making:
            request = _graphs.get(key)
            if request is None:
                request = _graphs[key] = self._new(shape)
                _latest.append(request)
        self.precision = request.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        return request

    def _new(self, shape: tuple[int, int]) -> Request:
        request = Request(compiled(converted(self.model, shape), self.bf16))
        if not self.bf16:
            check_agreement(self.name, request, self.model, shape)
        return request

    def describe(self) -> dict[str, Any]:
        """With the precision in force, where bfloat16 is asked for.

        Without AVX-512, OpenVINO takes the wish for bfloat16 and computes in float32.
        """
        described = {"name": self.name, "openvino": self.version}
        if self.bf16:
            described["precision"] = self.precision
        return described
