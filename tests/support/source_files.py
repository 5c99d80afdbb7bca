"""The library's source files, each once."""

from __future__ import annotations

from pathlib import Path

from support.paths import ROOT

FOLDERS = ("s2robot", "envs", "policies")


def library_files() -> list[Path]:
    """Python files of the package, each once: three of its folders are also links."""
    links = {ROOT / "s2robot" / name for name in ("envs", "policies", "configs")}
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in files if not links & set(path.parents))
