"""Refuse files that are too large, TOML or YAML that does not parse, and left-over merge markers.

Usage: `python tools/check_files.py FILE ...`
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

LARGEST_KB = 1024
SHIPPED_WEIGHTS = Path("s2robot/backbones/weights")
MARKERS = (b"<<<<<<< ", b">>>>>>> ")


class _Loader(yaml.SafeLoader):
    """Accept unknown tags: MkDocs names Python objects in its configuration."""


_Loader.add_multi_constructor("", lambda loader, tag, node: None)


def problems_of(path: Path) -> list[str]:
    """Return what is wrong with a file, in sentences."""
    content = path.read_bytes()
    found = []
    if len(content) > LARGEST_KB * 1024 and SHIPPED_WEIGHTS not in path.parents:
        found.append(f"has {len(content) // 1024} KB; at most {LARGEST_KB} KB are allowed")
    if any(line.startswith(MARKERS) for line in content.splitlines()):
        found.append("contains a merge marker")
    try:
        if path.suffix == ".toml":
            tomllib.loads(content.decode())
        elif path.suffix in (".yaml", ".yml", ".cff"):
            yaml.load(content, _Loader)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        found.append(f"does not parse: {error}")
    return found


def main(arguments: list[str]) -> int:
    """Print the problems of all files; return 1 if there are any."""
    paths = [Path(argument) for argument in arguments]
    lines = [f"{path} {line}" for path in paths if path.is_file() for line in problems_of(path)]
    print("\n".join(lines), end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
