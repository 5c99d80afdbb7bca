"""Commands and settings as text that a shell and Hydra read as it is meant, to be copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]+")
"""Values that Hydra reads without quotes."""


def override(name: str, value: str | Path) -> str:
    """Return ``NAME=VALUE`` for Hydra, which needs quotes around brackets, commas, "=" and others.

    Args:
        name: of the setting.
        value: a path or other text.

    Examples:
        >>> override("out", "runs/a-b_1"), override("out", "runs[1]/a,b")
        ('out=runs/a-b_1', 'out="runs[1]/a,b"')
    """
    text = str(value)
    return f"{name}={text if _PLAIN.fullmatch(text) else quoted(text)}"


def quoted(text: str) -> str:
    r"""Return a text in quotes, in which Hydra reads no letter as one of its own.

    Examples:
        >>> print(quoted('epoch=3/a"b'))
        "epoch=3/a\"b"
    """
    escaped = re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + "\\" * bool(m[2]) + m[2], text)
    return f'"{escaped}"'


def command(verb: str, **settings: str | Path) -> str:
    """Return a command that a shell and Hydra read as it is meant, to be copied.

    Args:
        verb: such as "eval".
        settings: paths and other text by name.

    Examples:
        >>> print(command("eval", checkpoint="runs[1]/policy.safetensors"))
        s2robot eval 'checkpoint="runs[1]/policy.safetensors"'
    """
    return shlex.join(["s2robot", verb, *(override(*each) for each in settings.items())])
