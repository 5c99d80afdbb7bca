"""Tasks by name: which modules may be imported, and the task or environment of a name.

A name with a module in it is used only if the user gave it in this process: a policy or a data set
from elsewhere must not decide what is imported.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from s2robot.envs.gl import load_triton_first
from s2robot.envs.tasks.names import (
    GYM,
    MODULE,
    PACKAGED,
    check_stored,
    has_module,
    is_foreign,
    parts_of,
    stored_task,
)
from s2robot.errors import MismatchError, unknown

if TYPE_CHECKING:
    from s2robot.envs.tasks.contract import Task, TaskEnv

_OWN_OPTIONS = ("success_key", "frames", "proprio", "horizon", "rate_hz")
"""Options of a ``gym:`` name that are not passed to the environment."""
_trusted: set[str] = set()


def named_by_user(name: str) -> str:
    """Return the name in files of a task that the user named, whose module may be imported.

    Raises:
        ValueError: the name is of no known form, or unknown.
    """
    stored = stored_task(name)
    _trusted.add(stored)
    if is_foreign(stored):
        _check_registered(stored)
    return stored


def trusted_tasks() -> tuple[str, ...]:
    """Return the tasks that the user named in this process, for its worker processes."""
    return tuple(sorted(_trusted))


def trust(names: Iterable[str]) -> None:
    """Take over the tasks that the user named in the process that started this one."""
    _trusted.update(names)


def make_env(env_kwargs: Mapping[str, Any]) -> TaskEnv:
    """Return the environment of some arguments, whose ``level`` is the task's name in files.

    Raises:
        ValueError: an argument is not allowed, or the environment does not fit the contract.
        MismatchError: the task's module was not named by the user.
    """
    return task_named(str(env_kwargs.get("level", "easy"))).make(env_kwargs)


@functools.cache
def task_named(name: str) -> Task:
    """Return the task of a name in files.

    Raises:
        ValueError: the name is unknown.
        MismatchError: its module was not named by the user.
    """
    if not is_foreign(name):
        from s2robot.envs.tasks.pick_cube import PickCubeTask

        return PickCubeTask()
    check_stored(name)
    if has_module(name) and name not in _trusted:
        raise MismatchError(
            f"the file names the task {name!r}, which would import a module. Nothing is imported "
            f"because a file says so; if you trust it, name the task yourself: 'task={name}', or "
            "as --task of `s2robot export-dataset`, `recommend` and `replay`, or --data-task of "
            "`s2robot probe`"
        )
    load_triton_first()
    if name in PACKAGED:
        return _packaged_task(name)
    if name.startswith(MODULE):
        return _own_task(name)
    from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

    task = GymnasiumTask()
    task.name = name
    task.env_id, options = parts_of(name)
    if has_module(name):
        _search_present_folder()
    for key in _OWN_OPTIONS:
        if key in options:
            setattr(task, key, options.pop(key))
    if isinstance(task.proprio, str):
        task.proprio = (task.proprio,)
    task.options = options
    return task


def _check_registered(name: str) -> None:
    """Refuse a ``gym:`` id that Gymnasium does not know, and a module that is not there."""
    load_triton_first()
    if name in PACKAGED:
        _packaged_task(name).check_installed()
        return
    if name.startswith(MODULE):
        task_named(name)
        return
    import gymnasium

    module, _, env_id = parts_of(name)[0].rpartition(":")
    try:
        if module:
            _search_present_folder()
            importlib.import_module(module)
        gymnasium.spec(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        near = difflib.get_close_matches(env_id, gymnasium.registry, n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"task={name}: there is no environment {env_id!r} ({str(error).splitlines()[0]})"
            f"{hint} An environment of a package is named with the module that registers it, "
            f"{GYM}MODULE:ID, such as {GYM}gymnasium_robotics:FetchPickAndPlace-v4; the module is "
            "looked for in the present folder and among installed packages"
        ) from None


def _search_present_folder() -> None:
    """Let modules of the present folder be found, after those of installed packages."""
    if os.getcwd() not in sys.path:  # console scripts do not have it
        sys.path.append(os.getcwd())


def _packaged_task(name: str) -> Any:
    module, _, attribute = PACKAGED[name].partition(":")
    task = getattr(importlib.import_module(module), attribute)()
    task.name = name
    return task


def _own_task(name: str) -> Task:
    module_name, _, attribute = name.removeprefix(MODULE).rpartition(".")
    _search_present_folder()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the user's module is there and imports one that is not
        raise ValueError(
            f"task={name}: there is no module {module_name!r}; it is looked for in the present "
            "folder and among installed packages"
        ) from None
    if not hasattr(module, attribute):
        raise unknown(f"task in {module_name}", attribute, _classes(module))
    task = getattr(module, attribute)()
    missing = [each for each in ("make", "expert_of", "noise_of") if not hasattr(task, each)]
    if missing:
        raise ValueError(
            f"task={name} has no {', '.join(missing)}; derive the class from "
            "s2robot.envs.tasks.gymnasium_task.GymnasiumTask, or write all methods of "
            "s2robot.envs.tasks.contract.Task"
        )
    if hasattr(task, "name"):
        task.name = name
    return task


def _classes(module: Any) -> list[str]:
    return [key for key, value in vars(module).items() if isinstance(value, type)]
