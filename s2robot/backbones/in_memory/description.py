"""What a model in memory computes, besides its weights: a description that a digest can be made of.

Weights alone do not tell two functions apart: a stride, an activation or a line of ``forward`` may
differ. So the description holds the class of every submodule, its attributes, and the source of
classes and functions that are not of PyTorch, torchvision or timm.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import nn

from s2robot.utils.io import digest_of, sha256_bytes

LIBRARIES = ("torch", "torchvision", "timm")
"""Packages whose classes are told by their names; of others, the source counts."""
_PLAIN = (bool, int, float, str, type(None))
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class InMemoryArchitecture:
    """Architecture of a model that was given in memory: it can be copied, and never built anew.

    Args:
        empty: the model without memory for its weights.
        description: what ``describe`` returned, and how the model is called.
    """

    empty: nn.Module
    description: Mapping[str, Any]

    def build(self) -> nn.Module:
        """Refuse: random weights of a model that others define are not known.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "a model that was given in memory has no other weights than those it came with"
        )

    def build_empty(self) -> nn.Module:
        """Return a copy of the model whose weights take no memory."""
        return copy.deepcopy(self.empty)

    def to_dict(self) -> dict[str, Any]:
        """Return everything besides the weights that decides the function."""
        return dict(self.description)


def describe(model: nn.Module) -> dict[str, Any]:
    """Describe the function of a model, its weights apart.

    Args:
        model: in memory.

    Returns:
        Its class, and a digest of the classes of all submodules, of their attributes that are
        numbers, texts, arrays, functions or collections of these, and of sources. Hooks, and
        global variables that its code reads, are not in it.
    """
    rows = [(name, _described(module)) for name, module in model.named_modules()]
    return {"module": _name_of(type(model)), "function": digest_of(rows)}


def _described(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    own = [each for each in kind.__mro__ if issubclass(each, nn.Module) and not _in_library(each)]
    attributes = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}
    if not own:  # timm's descriptions of published weights change with its version
        attributes = {k: v for k, v in attributes.items() if not isinstance(v, dict)}
    saved = module.state_dict().keys()
    tables = {key: value for key, value in module.named_buffers() if key not in saved}
    described = {key: _value(value) for key, value in {**attributes, **tables}.items()}
    return {
        "class": _name_of(kind),
        "shown": module.extra_repr(),
        "attributes": {key: value for key, value in sorted(described.items()) if value is not None},
        "sources": [_source(each) for each in own],
    }


def _value(value: Any) -> Any:
    """Describe an attribute; None where it is of no kind that can be described."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy() if value.dtype != torch.bfloat16 else value.tolist()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), sha256_bytes(value.tobytes())]
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return [_value(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _value(each) for key, each in value.items()}
    if isinstance(value, functools.partial):
        return [_value(value.func), _value(value.args), _value(value.keywords)]
    if isinstance(value, nn.Module) or not callable(value):
        return None
    return [_name_of(value), *([] if _in_library(value) else [_source(value)])]


def _in_library(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).split(".")[0] in LIBRARIES


def _name_of(thing: Any) -> str:
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{getattr(thing, '__module__', '')}.{name}"


def _source(thing: Any) -> str:
    """Return a digest of a class's or a function's source; of its bytecode where there is none."""
    try:
        return sha256_bytes(inspect.getsource(thing).encode())
    except (OSError, TypeError):
        members = vars(thing).values() if isinstance(thing, type) else [thing]
        codes = [each.__code__ for each in members if hasattr(each, "__code__")]
        return digest_of([_bytecode(code) for code in codes])


def _bytecode(code: CodeType) -> list[Any]:
    constants = [
        _bytecode(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts
    ]
    return [code.co_name, code.co_code.hex(), list(code.co_names), constants]
