"""Names, defaults and descriptions of the nodes' parameters."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from typing import Any

from s2robot.plugins.ros.core import NodeConfig

NODE_NAME = "s2robot_encoder"
AUTOSTART, HARDWARE_ID = "autostart", "hardware_id"
OWN_PARAMETERS: dict[str, tuple[Any, str]] = {
    AUTOSTART: (True, "Configure and activate at the start, without a lifecycle manager."),
    HARDWARE_ID: ("", 'Name of the hardware in /diagnostics; "" is the encoder.'),
}
"""Parameters of the ROS 2 node besides the fields of ``NodeConfig``: default and description."""
CONFIG_PARAMETERS: dict[str, Any] = {
    each.name: each.default for each in dataclasses.fields(NodeConfig)
}
"""Defaults of the fields of ``NodeConfig`` by name."""


def described(cls: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields by name; {} if its source is not available."""
    try:
        body = ast.parse(inspect.getsource(cls)).body[0]
    except OSError:
        return {}
    lines = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for entry, text in zip(lines, lines[1:], strict=False):
        if (
            isinstance(entry, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[ast.unparse(entry.target)] = " ".join(str(text.value.value).split())
    return found
