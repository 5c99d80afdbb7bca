"""robomimic's own environment of robosuite, on robosuite with MuJoCo's own bindings.

robomimic 0.3.0 imports ``mujoco_py`` there, for the name of one exception, and nothing else of it.
robosuite since 1.4 runs on the package ``mujoco`` instead; ``mujoco_py`` needs a MuJoCo of 2021.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import mujoco
from robomimic.envs.env_base import EnvType
from robomimic.utils import env_utils

_CHANGED = "_s2robot_robosuite"
_MODULE, _MISSING = "robomimic.envs.env_robosuite", "mujoco_py"


def import_env_robosuite() -> Any:
    """Return robomimic's ``EnvRobosuite``, whose rollouts end at errors of ``mujoco``.

    With ``mujoco_py`` installed, this is robomimic's own import.

    Raises:
        ImportError: robosuite is missing.
    """
    if _MODULE in sys.modules or importlib.util.find_spec(_MISSING) is not None:
        return importlib.import_module(_MODULE).EnvRobosuite
    if importlib.util.find_spec("robosuite") is None:
        raise ImportError(
            "the environment is robosuite's (type 1 in env_args), and robosuite is missing; "
            "install it: pip install robosuite==1.5.2 'mujoco<3.9'"
        )
    errors = ModuleType(_MISSING)
    vars(errors)["builder"] = SimpleNamespace(MujocoException=mujoco.FatalError)
    sys.modules[_MISSING] = errors  # during this import alone; robomimic's module keeps it
    try:
        return importlib.import_module(_MODULE).EnvRobosuite
    finally:
        del sys.modules[_MISSING]


def install() -> None:
    """Let robomimic find its environment of robosuite where ``mujoco_py`` is missing, once."""
    if getattr(env_utils, _CHANGED, False):
        return
    find = env_utils.get_env_class

    @functools.wraps(find)
    def get_env_class(env_meta: Any = None, env_type: Any = None, env: Any = None) -> Any:
        if env_utils.get_env_type(env_meta, env_type, env) == EnvType.ROBOSUITE_TYPE:
            return import_env_robosuite()
        return find(env_meta=env_meta, env_type=env_type, env=env)

    env_utils.get_env_class = get_env_class
    setattr(env_utils, _CHANGED, True)
