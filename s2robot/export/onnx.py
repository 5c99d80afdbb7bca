"""One ONNX file from camera frames to embeddings, preprocessing included, checked before kept.

What it is made of is ``s2robot.export.module.EmbeddingGraph``; ``s2robot export`` is in
``s2robot.cli.export``.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot._version import __version__
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import S2RobotError, install_command
from s2robot.export.module import EmbeddingGraph
from s2robot.runtimes.base import difference
from s2robot.runtimes.onnx import OPSET, quietly, session_of
from s2robot.utils.io import atomic_path

AGREEMENT = 1e-3
"""Largest difference of an embedding that a file may have, as a share of the embeddings' std."""
ROUNDED_AGREEMENT = 2e-2
"""The same where frames are resized in floats and then rounded: sums in another order round a pixel
in a million to the other side, and one level of one pixel moves a token by up to 3e-3."""
HALF_AGREEMENT = 5e-2
"""The same for weights in half precision."""
MOST_BYTES = 2_000_000_000
"""Of one ONNX file; the format itself ends at 2 GiB."""
_WORTH_HALVING = 1024  # numbers of a weight
_PIXELS = "pyramid."  # names of the resizing's coefficients, which half precision would spoil


class ExportError(S2RobotError):
    """An encoder cannot be exported, or the file would not give its numbers."""


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked."""

    path: Path
    megabytes: float
    input_shape: tuple[int, int, int]
    """(H, W, 3) of the frames; their number is free."""
    embedding_dim: int
    exporter: str
    """PyTorch's exporter that made it: "dynamo" or "torchscript"."""
    differences: dict[str, float]
    """By runtime, the largest difference from the encoder as a share of the embeddings' std."""


def export_encoder(
    encoder: FrameEncoder,
    path: str | Path,
    frame_shape: tuple[int, int],
    opset: int = OPSET,
    half: bool = False,
    force: bool = False,
) -> Exported:
    """Write an encoder as one ONNX file that takes the camera's own frames.

    Its input ``frames`` is uint8 RGB ``(batch, H, W, 3)`` of one H and W, its output ``embedding``
    float32 ``(batch, D)``. The file is checked by ONNX, then run in ONNX Runtime (and OpenVINO
    where it is installed) against the encoder, and only kept if they agree.

    Args:
        encoder: on the CPU, in float32.
        path: of the file; its folder must be there.
        frame_shape: (H, W) of the frames [px].
        opset: version of ONNX's operators, at least 18.
        half: store weights in half precision, which halves the file; the arithmetic stays float32.
        force: replace a file that is there.

    Raises:
        ValueError: the encoder is elsewhere or in another precision, or ``opset`` is too low.
        FileNotFoundError: there is no such folder.
        ExportError: there is such a file already, a package is missing, the weights are too large
            for one file, the model cannot be exported, or the file's numbers differ from the
            encoder's by more than ``allowed_difference``.

    Examples:
        >>> encoder = FrameEncoder.from_name("s2r-vitt16-128", (1, 2), device="cpu")
        >>> export_encoder(encoder, "encoder.onnx", (480, 640)).embedding_dim  # doctest: +SKIP
        384
    """
    target = Path(path)
    if opset < OPSET:
        raise ValueError(f"opset must be at least {OPSET}; got {opset}")
    _check_target(target, force)
    onnx, *_ = (_require(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    _check_size(encoder, half)
    graph = EmbeddingGraph(encoder, *frame_shape)
    model, exporter = _exported(graph, opset)
    fold_resizes(model)
    if half:
        halve_weights(model)
    onnx.helper.set_model_props(model, metadata_of(encoder, frame_shape))
    with atomic_path(target) as temporary:
        temporary.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(temporary), full_check=True)
        differences = compare(temporary, encoder, frame_shape)
        _check_differences(differences, allowed_difference(encoder, half), target)
        megabytes = temporary.stat().st_size / 1e6
    shape = (*frame_shape, 3)
    return Exported(target, megabytes, shape, encoder.embedding_dim, exporter, differences)


def _check_target(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {target.parent} to write {target.name} to; make it first"
        )
    if target.is_dir():
        raise ValueError(f"{target} is a folder; name a file, such as {target / 'encoder.onnx'}")
    if target.exists() and not force:
        raise ExportError(f"{target} is there already; give another name, or --force to replace it")


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ExportError(
            f"exporting needs {package}, which cannot be imported ({error}): "
            f"{install_command('runtimes')}"
        ) from None


def _check_size(encoder: FrameEncoder, half: bool) -> None:
    size = encoder.parameters_count * (2 if half else 4)
    if size > MOST_BYTES:
        advice = (
            "take a smaller backbone"
            if half
            else "give half=True (--half), or take a smaller backbone"
        )
        raise ExportError(
            f"the weights of {encoder.spec.backbone} take {size / 1e9:.1f} GB; one ONNX file "
            f"holds at most {MOST_BYTES / 1e9:.0f} GB: {advice}"
        )


# -------------------------------------------------------------------------------------- exporting
def _exported(graph: EmbeddingGraph, opset: int) -> tuple[Any, str]:
    """Return the graph as an ``onnx.ModelProto``, and which of PyTorch's exporters made it."""
    frames = torch.from_numpy(some_frames(*graph.frame_shape))
    try:
        return by_dynamo(graph, frames, opset), "dynamo"
    except Exception as first:
        try:
            return by_torchscript(graph, frames, opset), "torchscript"
        except Exception as second:
            raise ExportError(
                f"{graph.token_model.backbone.card.name} cannot be exported: PyTorch's exporter "
                f"says {_headline(first)}; the older one says {_headline(second)}"
            ) from first


def _headline(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def by_dynamo(graph: EmbeddingGraph, frames: Tensor, opset: int) -> Any:
    """Export with ``torch.export``."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad(), quietly():
        program = torch.onnx.export(
            graph,
            (frames,),
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=opset,
            input_names=["frames"],
            output_names=["embedding"],
        )
    assert program is not None
    return program.model_proto


def by_torchscript(graph: EmbeddingGraph, frames: Tensor, opset: int) -> Any:
    """Export by tracing, for models that ``torch.export`` does not take."""
    import onnx

    memory: Any = io.BytesIO()  # PyTorch's types name paths alone
    with torch.no_grad(), quietly():
        torch.onnx.export(
            graph,
            (frames,),
            memory,
            dynamo=False,
            dynamic_axes={"frames": {0: "batch"}, "embedding": {0: "batch"}},
            opset_version=opset,
            input_names=["frames"],
            output_names=["embedding"],
        )
    return onnx.load_from_string(memory.getvalue())


def fold_resizes(model: Any) -> None:
    """Compute what is resized of weights (position embeddings) once, now.

    Few runtimes know ONNX's antialiased resizing, and none needs to do it for every frame.
    """
    import onnx

    nodes = model.graph.node
    fixed = {tensor.name for tensor in model.graph.initializer} | {""}
    for node in nodes:
        if all(name in fixed for name in node.input):
            fixed.update(node.output)
    resizes = [n for n in nodes if n.op_type == "Resize" and n.output[0] in fixed]
    for node in resizes:
        name = node.output[0]
        part = _ancestors(model, name)
        session = session_of(part.SerializeToString())
        value = session.run([name], {})[0]
        nodes.remove(node)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    _drop_unused(model)


def _ancestors(model: Any, name: str) -> Any:
    """Return the part of a model that computes ``name`` from its weights alone."""
    import onnx

    wanted, nodes = {name}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            nodes.insert(0, node)
            wanted |= _asked_by(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    output = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph(nodes, "fixed", [], [output], weights)
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    part.ir_version = model.ir_version
    return part


def _drop_unused(model: Any) -> None:
    """Remove nodes and weights that nothing asks for."""
    wanted = {output.name for output in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if wanted & set(node.output):
            wanted.update(_asked_by(node))
        else:
            model.graph.node.remove(node)
    for tensor in list(model.graph.initializer):
        if tensor.name not in wanted:
            model.graph.initializer.remove(tensor)


def _asked_by(node: Any) -> set[str]:
    """Names that a node and the graphs within it (loops, branches) use."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(output.name for output in graph.output)
            for inner in graph.node:
                names |= _asked_by(inner)
    return names


def halve_weights(model: Any) -> None:
    """Store the backbone's larger float32 weights in half precision; they are widened when used."""
    import onnx

    casts = []
    for tensor in model.graph.initializer:
        small = np.prod(tensor.dims) < _WORTH_HALVING
        if tensor.data_type != onnx.TensorProto.FLOAT or small or tensor.name.startswith(_PIXELS):
            continue
        narrow, name = onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(narrow, f"{name}.half"))
        to = onnx.TensorProto.FLOAT
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=to))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *rest])


def metadata_of(encoder: FrameEncoder, frame_shape: tuple[int, int]) -> dict[str, str]:
    """Return the metadata of the file; see ``onnxruntime``'s ``session.get_modelmeta()``."""
    spec, license = encoder.spec, encoder.backbone.card.license
    return {
        "s2robot.version": __version__,
        "s2robot.encoder": spec.backbone,
        "s2robot.spec": json.dumps(spec.to_dict()),
        "s2robot.spec_digest": spec.digest(),
        "s2robot.frame_shape": json.dumps([*frame_shape, 3]),
        "s2robot.output_shape": json.dumps(list(encoder.output_shape)),
        "s2robot.licence": license.name,
        "s2robot.non_commercial": json.dumps(license.non_commercial),
    }


# ---------------------------------------------------------------------------------------- checking
def some_frames(height: int, width: int) -> np.ndarray:
    """Return frames to compare on ``(4, height, width, 3)``: noise, ramps, a chessboard, white."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    down, across = np.linspace(0, 255, height), np.linspace(255, 0, width)
    smooth = np.stack(np.broadcast_arrays(down[:, None], across, np.float64(90)), axis=-1)
    board = (np.arange(height)[:, None] // 16 + np.arange(width) // 16) % 2 * 255
    chess = np.repeat(board[..., None], 3, axis=-1)
    white = np.full_like(noise, 255)
    return np.stack([noise, smooth.astype(np.uint8), chess.astype(np.uint8), white])


def compare(path: Path, encoder: FrameEncoder, frame_shape: tuple[int, int]) -> dict[str, float]:
    """Measure how far a file's embeddings are from the encoder's, for one frame and for several.

    Returns:
        By runtime that is installed, the largest difference as a share of the embeddings' std.

    Raises:
        ExportError: a runtime cannot run the file.
    """
    frames = some_frames(*frame_shape)
    with torch.no_grad():
        expected = encoder(frames)
    runs = {"onnxruntime": _onnxruntime}
    if importlib.util.find_spec("openvino"):
        runs["openvino"] = _openvino
    found = {}
    for name, run in runs.items():
        try:
            several, single = run(path, [frames, frames[:1]])
        except Exception as error:
            raise ExportError(f"{name} cannot run the exported graph: {error}") from error
        both = torch.cat([torch.from_numpy(several), torch.from_numpy(single)])
        found[name] = difference(both, torch.cat([expected, expected[:1]]))
    return found


def _onnxruntime(path: Path, batches: list[np.ndarray]) -> list[np.ndarray]:
    session = session_of(path)
    return [np.asarray(session.run(None, {"frames": frames})[0]) for frames in batches]


def _openvino(path: Path, batches: list[np.ndarray]) -> list[np.ndarray]:
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(model(frames)[0]) for frames in batches]


def allowed_difference(encoder: FrameEncoder, half: bool) -> float:
    """Largest difference that a file may have, as a share of the embeddings' std."""
    pixels = encoder.backbone.card.preprocessing
    rounded = pixels.resampler == "rounded" or (
        pixels.resampler == "uint8" and not pixels.antialias
    )
    return HALF_AGREEMENT if half else ROUNDED_AGREEMENT if rounded else AGREEMENT


def _check_differences(differences: dict[str, float], allowed: float, target: Path) -> None:
    for name, distance in differences.items():
        if not distance <= allowed:
            raise ExportError(
                f"{name} gives embeddings that differ from the encoder's by {distance:.1e} of "
                f"their std; allowed is {allowed:.0e}: {target} was not written"
            )
