"""ONNX files as weights: names of PyTorch's modules, nothing run, nothing fetched."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from s2robot.backbones.checkpoints import read_weights_file
from s2robot.backbones.from_packages.onnx_tensors import is_onnx, read_onnx
from s2robot.errors import CorruptFileError


def write(path: Path, tensors: dict[str, Any], nodes: list[Any]) -> Path:
    made = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in tensors.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "main", [], [], made)), path)
    return path


def test_a_matrix_gets_the_name_of_its_layer_and_is_turned(tmp_path: Path) -> None:
    matrix = np.arange(6).reshape(2, 3)
    node = helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], name="/mlp/fc1/MatMul")
    path = write(tmp_path / "a", {"onnx::MatMul_7": matrix, "mlp.fc1.bias": [1, 2, 3]}, [node])
    found = read_weights_file(path)
    assert sorted(found) == ["mlp.fc1.bias", "mlp.fc1.weight"]
    assert torch.equal(found["mlp.fc1.weight"], torch.from_numpy(matrix.T).float())


def test_another_tensor_is_called_after_the_node_that_uses_it(tmp_path: Path) -> None:
    node = helper.make_node("Concat", ["onnx::Concat_1", "x"], ["y"], name="/embeddings/Concat_6")
    path = write(tmp_path / "a", {"onnx::Concat_1": [[1, 2]]}, [node])
    assert torch.equal(read_onnx(path)["embeddings.Concat_6"], torch.tensor([[1.0, 2.0]]))


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.onnx", {"a": np.zeros(1000)}, [])
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(CorruptFileError, match=r"cut\.onnx \(900 bytes\) is not a complete ONNX"):
        read_weights_file(path)


def test_weights_in_another_file_are_not_fetched(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "a")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    model = helper.make_model(helper.make_graph([], "main", [], [], [tensor]))
    (tmp_path / "a").write_bytes(model.SerializeToString())
    with pytest.raises(CorruptFileError, match="keeps a in another file, which is not read"):
        read_onnx(tmp_path / "a")


def test_files_of_pytorch_are_no_onnx_files(tmp_path: Path) -> None:
    for new in (True, False):
        torch.save({"a": torch.zeros(2)}, tmp_path / "a", _use_new_zipfile_serialization=new)
        assert not is_onnx(tmp_path / "a")
    (tmp_path / "empty").touch()
    assert not is_onnx(tmp_path / "empty")


def test_without_the_package_onnx_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", {"a": [1]}, [])
    found = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return found(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="package onnx of the extra 'weights'"):
        read_onnx(path)
