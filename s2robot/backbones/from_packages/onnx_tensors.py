"""Weights in an ONNX file, under the names that they had in PyTorch.

The file is read as data: its graph is not run. PyTorch's exporter keeps the names of norms,
convolutions and biases. It transposes the matrices of linear layers and calls them
``onnx::MatMul_1966``; the node that uses one still has the layer's name,
``/encoder/layer.0/mlp/fc1/MatMul``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2robot.errors import CorruptFileError

if TYPE_CHECKING:
    from torch import Tensor

_UNNAMED = "onnx::"
"""Beginning of the names that PyTorch's exporter makes up."""


def is_onnx(path: Path) -> bool:
    """Return whether a file's content, whatever its name, begins as an ONNX file does."""
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x08 and 3 <= head[1] < 0x20  # the version of the format


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Return the weights of an ONNX file that PyTorch exported.

    Args:
        path: of the file.

    Returns:
        Tensors by name. The matrix of a linear layer is ``LAYER.weight``, (out, in) as in PyTorch.
        Another tensor without a name of its own is called after the node that uses it:
        ``embeddings.Reshape_1``.

    Raises:
        CorruptFileError: the file is incomplete, or its weights are in other files.
        ModuleNotFoundError: the package onnx is not installed.
    """
    graph = _graph(path)
    users = {
        name: (node, place)
        for node in graph.node
        for place, name in enumerate(node.input)
        if name.startswith(_UNNAMED)
    }
    return dict(_named(tensor, users.get(tensor.name), path) for tensor in graph.initializer)


def _graph(path: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} is an ONNX file, and reading it needs the package onnx of the extra "
            "'weights': pip install 'onnx>=1.17'",
            name=error.name,
        ) from None
    try:
        return onnx.load(path, load_external_data=False).graph
    except DecodeError as error:
        raise CorruptFileError(
            f"{path} ({path.stat().st_size} bytes) is not a complete ONNX file; copy or download "
            f"it again ({error})"
        ) from None


def _named(tensor: Any, user: tuple[Any, int] | None, path: Path) -> tuple[str, Tensor]:
    import torch
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise CorruptFileError(
            f"{path} keeps {tensor.name} in another file, which is not read; export the model "
            "with its weights inside"
        )
    values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
    if user is None:
        return tensor.name, values
    node, place = user
    layer = node.name.strip("/").replace("/", ".")
    if node.op_type == "MatMul" and place == 1 and values.ndim == 2:
        return f"{layer.rpartition('.')[0]}.weight", values.T.contiguous()
    return layer, values
