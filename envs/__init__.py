"""Pick-cube tasks: MuJoCo scenes, the Gymnasium environment, a scripted expert.

Importing this package chooses a GL backend where none is set, and registers the environment:
``gymnasium.make("s2robot/PickCube-v0", level="precise")``. Gymnasium itself is imported by whoever
uses it; the environment is registered as soon as it is.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

from s2robot.envs.gl import select_gl

ENV_ID = "s2robot/PickCube-v0"


def _register() -> None:
    import gymnasium

    if ENV_ID not in gymnasium.registry:
        gymnasium.register(id=ENV_ID, entry_point="s2robot.envs.pick_cube:PickCubeEnv")


class _AfterGymnasium(importlib.abc.MetaPathFinder):
    """Registers the environment at the end of the import of Gymnasium."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return Gymnasium's own spec, whose loader then registers the environment."""
        del path, target
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: types.ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register
        return spec


select_gl()
if "gymnasium" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterGymnasium())
