"""What the LeRobot plug-ins import from s2robot is there, also where LeRobot is not installed.

LeRobot only logs an error of a plug-in's import, so a name that moved would leave it unknown.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
from support.paths import ROOT

FILES = [
    *sorted((ROOT / "integrations" / "lerobot").rglob("*.py")),
    *sorted((ROOT / "benchmarks").glob("lerobot_*.py")),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_that_are_imported_exist(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "s2robot":
            module = importlib.import_module(str(node.module))
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {', '.join(missing)}"
