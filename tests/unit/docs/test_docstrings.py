"""Docstrings name the arguments that there are; the API reference is made of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import docs_site

FOLDERS = ("s2robot", "envs", "policies")
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (docs_site.ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
ARGS = re.compile(r"^Args:\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"^    (\S[^:\n]*):", re.MULTILINE)


def documented(docstring: str | None) -> list[str]:
    section = ARGS.search(docstring or "")
    return NAME.findall(section[1]) if section else []


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    found = node.args
    every = [*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg]
    return {argument.arg for argument in every if argument is not None}


def accepted(node: ast.AST) -> set[str]:
    """Names that the arguments of a function or of a class's construction may have."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return parameters(node)
    assert isinstance(node, ast.ClassDef)
    names = set()
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name in ("__init__", "__new__"):
            names |= parameters(child)
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            names.add(child.target.id)  # a field of a dataclass
    return names


def wrong_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for name in documented(ast.get_docstring(node)):
                if name.lstrip("*") not in accepted(node):
                    yield f"{path.relative_to(docs_site.ROOT)}: {node.name}: {name}"


def test_documented_arguments_exist() -> None:
    assert [name for path in FILES for name in wrong_names(path)] == []
