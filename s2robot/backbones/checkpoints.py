"""Weights from files: read without running code, checked, and loaded strictly."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from s2robot.backbones.architectures import BuildsModel
from s2robot.backbones.from_packages.onnx_tensors import is_onnx, read_onnx
from s2robot.backbones.state_dicts import StateDict, shorten
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.utils.io import digest_of

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)


def read_weights_file(path: str | Path) -> Any:
    """Return the content of a ``.safetensors`` or ONNX file, or of a PyTorch file without code.

    A PyTorch file may hold tensors and plain containers only. Tensors are mapped from the file
    where its format allows, so that they take memory only when they are used.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: the file is of another format, or would run code.
    """
    target = Path(path)
    if not target.is_file():
        raise FileNotFoundError(f"no weights at {target}")
    if is_safetensors(target):
        return read_safetensors(target)
    if is_onnx(target):
        return read_onnx(target)
    try:
        return torch.load(target, map_location="cpu", weights_only=True, mmap=_is_zip(target))
    except pickle.UnpicklingError as error:
        if _is_pickle(target):
            raise CorruptFileError(_refusal(target, error)) from error
        raise CorruptFileError(_broken(target, error)) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CorruptFileError(_broken(target, error)) from error


def _broken(path: Path, error: Exception) -> str:
    return (
        f"{path} ({path.stat().st_size} bytes) is not a complete PyTorch or safetensors file; copy "
        f"or download it again ({_first_line(error)})"
    )


def _refusal(path: Path, error: Exception) -> str:
    named = re.search(r"(?:GLOBAL|global:?|class) ([\w.]+)", str(error))
    wanted = f" (it asks for {named[1]})" if named else ""
    return (
        f"{path} is refused: it holds more than tensors and plain containers{wanted}, and "
        "unpickling that could run code. If you trust its source, convert it there: "
        "torch.save(model.state_dict(), PATH), or safetensors"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()


def is_safetensors(path: Path) -> bool:
    """Return whether a file's content, whatever its name, is of the safetensors format."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _is_pickle(path: Path) -> bool:
    """Return whether a file is a PyTorch archive or an old pickle, rather than a web page."""
    with path.open("rb") as file:
        return file.read(1) in (b"P", b"\x80")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, mapped from it.

    Raises:
        CorruptFileError: the file is incomplete.
    """
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a complete safetensors file ({error})") from None


def check_fit(expected: Mapping[str, Tensor], state: StateDict, origin: str) -> None:
    """Compare names and shapes of tensors with those of a model.

    Args:
        expected: the model's tensors.
        state: the tensors to load.
        origin: where they come from, for messages.

    Raises:
        MismatchError: they differ; the message lists the differences.
    """
    problems = {
        "missing": [k for k in expected if k not in state],
        "unknown": [k for k in state if k not in expected],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(v.shape)}"
            for k, v in expected.items()
            if k in state and state[k].shape != v.shape
        ],
    }
    if any(problems.values()):
        differences = "; ".join(
            f"{kind}: {shorten(keys)}" for kind, keys in problems.items() if keys
        )
        raise MismatchError(f"the weights from {origin} do not fit the architecture: {differences}")


def load_strict(architecture: BuildsModel, state: StateDict, origin: str) -> nn.Module:
    """Return the model with the weights ``state``, in the model's precision.

    The tensors become the model's own: nothing is copied, and no weight is initialized first.

    Args:
        architecture: builds the model.
        state: tensors under the architecture's names.
        origin: where they come from, for messages.

    Raises:
        MismatchError: names or shapes differ; the message lists the differences.
    """
    model = architecture.build_empty()
    expected = model.state_dict()
    check_fit(expected, state, origin)
    fitted = {name: state[name].to(tensor.dtype) for name, tensor in expected.items()}
    model.load_state_dict(fitted, assign=True)
    return model


def model_digest(
    architecture: BuildsModel, preprocessing: Mapping[str, Any], state: StateDict
) -> str:
    """Return the SHA-256 of everything that decides a backbone's output.

    Weights count by value as loaded, so the format of their file does not matter.

    Args:
        architecture: of the model.
        preprocessing: the rules as ``Preprocessing.to_dict`` gives them.
        state: tensors under the architecture's names.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest_of(
        {
            "architecture": architecture.to_dict(),
            "preprocessing": dict(preprocessing),
            "tensors": digest.hexdigest(),
        }
    )


def changes_of(tensors: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """Return what differs after weights were changed in place or replaced; no value is read.

    It is the place of each tensor in memory and PyTorch's count of its changes, which
    optimizers and ``load_state_dict`` raise. ``tensor.data.mul_`` raises none.
    """
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)


@torch.no_grad()
def fingerprint(state: Mapping[str, Tensor]) -> tuple[Any, ...]:
    """Return what differs after any change of weights; much faster than a digest.

    Besides what ``changes_of`` sees, it holds a sum of all values.

    Args:
        state: tensors by name.
    """
    tensors = [tensor.detach() for tensor in state.values()]
    sums = [_sum_of_bits(tensor) for tensor in tensors]
    values = [int(found) for found in torch.stack([s.cpu() for s in sums])] if sums else []
    return tuple(state), changes_of(state.values()), tuple(values)


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor's bytes, read as large integers, times the number of their row."""
    rows = tensor.contiguous().reshape(len(tensor) if tensor.ndim and tensor.numel() else 1, -1)
    width, start = rows.shape[1] * rows.element_size(), rows.storage_offset() * rows.element_size()
    whole = next(kind for kind in _WHOLE if width % kind.itemsize == start % kind.itemsize == 0)
    numbers = torch.arange(1, len(rows) + 1, device=rows.device)
    return (rows.view(whole).sum(dim=1, dtype=torch.int64) * numbers).sum()
