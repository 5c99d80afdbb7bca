"""Parameters as ROS gives them, and the configuration that they make."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from array import array
from collections.abc import Mapping
from numbers import Real
from typing import Any

from s2robot.plugins.ros.core import NodeConfig

AUTOSTART, HARDWARE_ID = "autostart", "hardware_id"
OWN_PARAMETERS: dict[str, tuple[Any, str]] = {
    AUTOSTART: (True, "Configure and activate at the start, without a lifecycle manager."),
    HARDWARE_ID: ("", 'What /diagnostics says it is of; "" is the encoder.'),
}
"""Parameters of the ROS 2 node beside the fields of ``NodeConfig``: default and description."""
CONFIG_PARAMETERS: dict[str, Any] = {
    each.name: each.default for each in dataclasses.fields(NodeConfig)
}
"""Default of each field of ``NodeConfig``."""
_TYPES = {each.name: each.type for each in dataclasses.fields(NodeConfig)}


def config_of(values: Mapping[str, Any]) -> NodeConfig:
    """The configuration of parameters by name; None, which ROS makes of [], is the default.

    Numbers come as ``array.array``, and a list of one may be written without brackets.

    Raises:
        ValueError: an unknown parameter, one of another type, or a bad value.
    """
    return NodeConfig.from_parameters(
        {name: _plain(name, value) for name, value in values.items() if value is not None}
    )


def _plain(name: str, value: Any) -> Any:
    if not isinstance(CONFIG_PARAMETERS.get(name), tuple):
        return value
    if isinstance(value, array):
        value = value.tolist()
    found = list(value) if isinstance(value, (list, tuple, bytes)) else [value]
    wanted = Real if "float" in str(_TYPES[name]) else str
    if not all(isinstance(each, wanted) and not isinstance(each, bool) for each in found):
        what = "numbers" if wanted is Real else "texts"
        raise ValueError(f"{name} is {value!r}; allowed: a list of {what}")
    return found


def described(cls: type) -> dict[str, str]:
    """What stands under each field of a dataclass, by the field's name; {} without a source."""
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
