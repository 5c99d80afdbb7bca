"""The command line; each command has a module."""

from __future__ import annotations

import importlib
from typing import Any

from s2robot.utils.deprecation import moved_names

_OLD = ("USER_ERRORS", "VERBS", "Verb", "train_policy")
"""Names that this package had as a module."""

_old_name = moved_names(__name__, dict.fromkeys(_OLD, "s2robot.cli.main"))


def __getattr__(name: str) -> Any:
    if name == "main":  # a function when this package was a module; the module can be called
        return importlib.import_module("s2robot.cli.main")
    return _old_name(name)
