"""What a model in memory computes, besides its weights: a description that a digest can be made of.

Weights alone do not tell two functions apart: a stride, an activation or a line of ``forward`` may
differ. So the description holds the class of every submodule, its plain attributes, and, for
classes of other libraries than PyTorch's own, their source.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import nn

from s2robot.utils.io import digest_of

LIBRARIES = ("torch", "torchvision", "timm")
"""Packages whose classes are told by their names; of others, the source counts."""
_PLAIN = (bool, int, float, str, type(None), torch.Size)


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
        Its class, and a digest of classes, plain attributes and sources of all submodules. Global
        variables that its code reads are not in it.
    """
    rows = [(name, _described(module)) for name, module in model.named_modules()]
    return {"module": _name_of(type(model)), "function": digest_of(rows)}


def _described(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    plain = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }
    functions = {
        name: _name_of(value)
        for name, value in vars(module).items()
        if callable(value) and not isinstance(value, nn.Module)
    }
    found = {
        "class": _name_of(kind),
        "shown": module.extra_repr(),
        "values": {name: repr(value) for name, value in sorted(plain.items())},
        "functions": dict(sorted(functions.items())),
    }
    own = [each for each in kind.__mro__ if each.__module__.split(".")[0] not in LIBRARIES]
    sources = [_source(each) for each in own if issubclass(each, nn.Module)]
    return {**found, "sources": sources} if sources else found


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(each) for each in value)
    return isinstance(value, _PLAIN)


def _name_of(thing: Any) -> str:
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{getattr(thing, '__module__', '')}.{name}"


def _source(kind: type) -> str:
    """Return a digest of a class's source; of its bytecode where there is no source."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    except (OSError, TypeError):
        codes = [f.__code__ for f in vars(kind).values() if inspect.isfunction(f)]
        return digest_of([_bytecode(code) for code in codes])


def _bytecode(code: CodeType) -> list[Any]:
    constants = [
        _bytecode(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts
    ]
    return [code.co_name, code.co_code.hex(), list(code.co_names), constants]
