"""What tests do to the code under test: hide packages, count what a backbone is given."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make packages look as if they were not installed."""
    real = importlib.import_module

    def find(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in packages:
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", find)


def counting(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tiles that the backbone is given from now on, one a call."""
    seen: list[int] = []
    forward = encoder.backbone.forward

    def count(x: Tensor) -> Tensor:
        seen.append(len(x))
        return forward(x)

    monkeypatch.setattr(encoder.backbone, "forward", count)
    return seen


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, without the standard library."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names)
