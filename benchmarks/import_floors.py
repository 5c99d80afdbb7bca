"""Count the floors, circles and sizes of the package's import structure.

A floor is a step of the longest chain of imports; modules that import each other in a circle stand
on one floor. Imports under ``TYPE_CHECKING`` and inside functions count.

    python benchmarks/import_floors.py --root . --out benchmarks/results/import_floors.json
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDERS = ("s2robot", "envs", "policies")


def main() -> int:
    """Measure a checkout and print or write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="a checkout (default: this one)")
    parser.add_argument("--name", default="now", help="name of the record (default: now)")
    parser.add_argument("--out", type=Path, help="JSON file to add the record to")
    options = parser.parse_args()
    record = measure(options.root.resolve())
    print(json.dumps(record, indent=1))
    if options.out:
        whole = json.loads(options.out.read_text()) if options.out.exists() else {}
        options.out.write_text(json.dumps({**whole, options.name: record}, indent=1) + "\n")
    return 0


def measure(root: Path) -> dict[str, Any]:
    """Return floors and circles by module and by top-level name, and sizes of files and functions.

    Args:
        root: folder of a checkout.
    """
    sys.path.insert(0, str(root))
    import grimp

    graph = grimp.build_graph("s2robot", cache_dir=None)
    imports = {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
        if module != "s2robot" and not _is_package(root, module)
    }
    top: dict[str, set[str]] = defaultdict(set)
    for module, others in imports.items():
        name = module.split(".")[1]
        top[name] |= {o.split(".")[1] for o in others if o.count(".")} - {name}
    return {
        "modules": _structure(imports),
        "top_level_names": _structure(top),
        **_sizes(root),
    }


def _is_package(root: Path, module: str) -> bool:
    return (root / module.replace(".", "/") / "__init__.py").exists()


def _structure(imports: dict[str, set[str]]) -> dict[str, Any]:
    """Floors and circles of a graph: names by what they import."""
    nodes = {name: others & imports.keys() for name, others in imports.items()}
    circles = _circles(nodes)
    of_circle = {name: circle for circle in circles for name in circle}
    heights: dict[frozenset[str], int] = {}

    def height(group: frozenset[str]) -> int:
        if group not in heights:
            below = {o for name in group for o in nodes[name]} - group
            heights[group] = 1 + max(
                (height(of_circle.get(o, frozenset([o]))) for o in below), default=0
            )
        return heights[group]

    floors = max(height(of_circle.get(name, frozenset([name]))) for name in nodes)
    return {
        "names": len(nodes),
        "imports": sum(len(others) for others in nodes.values()),
        "floors": floors,
        "circles": [sorted(circle) for circle in circles],
    }


def _circles(nodes: dict[str, set[str]]) -> list[frozenset[str]]:
    """Strongly connected components of two or more names."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    names = sorted(nodes)
    number = {name: i for i, name in enumerate(names)}
    pairs = [(number[a], number[b]) for a, others in nodes.items() for b in others]
    rows, columns = zip(*pairs, strict=True)
    shape = (len(names), len(names))
    matrix = csr_matrix(([1] * len(pairs), (rows, columns)), shape=shape)
    _, labels = connected_components(matrix, directed=True, connection="strong")
    groups: dict[int, set[str]] = defaultdict(set)
    for name, label in zip(names, labels, strict=True):
        groups[int(label)].add(name)
    return [frozenset(group) for group in groups.values() if len(group) > 1]


def _sizes(root: Path) -> dict[str, Any]:
    links = {root / "s2robot" / name for name in ("envs", "policies", "configs")}
    files = [path for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    files = [path for path in files if not links & set(path.parents)]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    per_package: dict[str, int] = defaultdict(int)
    for path in files:
        if path.name != "__init__.py":
            per_package[str(path.parent.relative_to(root))] += 1
    functions = sorted(n for path in files for n in _function_lengths(path))
    return {
        "files": len(files),
        "files_over_400_lines": sum(n > 400 for n in lines.values()),
        "longest_file": max(lines.values()),
        "modules_per_package": dict(sorted(per_package.items(), key=lambda item: -item[1])),
        "functions": len(functions),
        "function_lines_median": statistics.median(functions),
        "function_lines_90_percent": functions[int(0.9 * len(functions))],
        "functions_over_50_lines": sum(n > 50 for n in functions),
    }


def _function_lengths(path: Path) -> list[int]:
    """Lines of each function, without decorators and docstring."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)
            found.append(length)
    return found


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


if __name__ == "__main__":
    sys.exit(main())
