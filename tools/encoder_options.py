"""Write the lines of encoder options in configs/variant.yaml from their declarations.

    python tools/encoder_options.py

``EncoderChoice`` in s2robot/encoder/spec.py declares the options. A test fails while the lines
differ from the declarations.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from s2robot.encoder.options import Option
from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.experiments.variant import VariantConfig

CONFIG = Path(__file__).parents[1] / "configs" / "variant.yaml"
_COLUMN = 28  # of the comments


def main() -> None:
    """Rewrite the file."""
    CONFIG.write_text(updated(CONFIG.read_text()))


def updated(text: str) -> str:
    """Return the text of the file with the lines of all options; new ones follow the others."""
    missing = list(ENCODER_OPTIONS)
    lines = []
    last = 0  # line after which new options go
    for line in text.splitlines():
        name = line.partition(":")[0]
        if name in ENCODER_OPTIONS:
            line = line_of(ENCODER_OPTIONS[name])
            missing.remove(name)
        if name in ENCODER_OPTIONS and name != "dtype":
            last = len(lines) + 1
        lines.append(line)
    lines[last:last] = [line_of(ENCODER_OPTIONS[name]) for name in missing]
    return "\n".join(lines) + "\n"


def line_of(option: Option) -> str:
    """Return the line of an option: name, default and help."""
    defaults = {field.name: field.default for field in dataclasses.fields(VariantConfig)}
    example = "" if option.example is None else f"; e.g. {_yaml(option.example, ',')}"
    return f"{option.name}: {_yaml(defaults[option.name])}".ljust(_COLUMN) + (
        f"# {option.line}{example}"
    )


def _yaml(value: Any, comma: str = ", ") -> str:
    """Write numbers, texts and nested tuples of them as YAML; whole numbers without a point."""
    if isinstance(value, tuple):
        return f"[{comma.join(_yaml(item, comma) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    main()
