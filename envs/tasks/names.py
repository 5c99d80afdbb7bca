"""Names of tasks: ``pick-cube/precise``, ``so101/pick-cube``, ``gym:ID``, ``module:path.to.Task``.

Files hold a pick-cube task under its level alone, and the others under their whole name with all
its options. Importing this module imports neither a simulator nor Gymnasium.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from s2robot.envs import ENV_ID
from s2robot.envs.levels import LEVELS, get_level, levels_of_task
from s2robot.errors import unknown

PICK_CUBE = "pick-cube/"
GYM, MODULE = "gym:", "module:"
PACKAGED = {
    "so101/pick-cube": "s2robot.envs.tasks.foreign.so101:SO101PickCube",
    "so101/pick-place": "s2robot.envs.tasks.foreign.so101:SO101PickPlace",
    "robosuite/lift": "s2robot.envs.tasks.foreign.robosuite_lift:RobosuiteLift",
    "fetch/pick-and-place": "s2robot.envs.tasks.foreign.fetch:FetchPickAndPlace",
    "dm-control/lift-brick": "s2robot.envs.tasks.foreign.dm_control_lift:LiftBrick",
}
"""Tasks of other packages by name, and the class here that makes each of them."""
FORMS = (
    "pick-cube/LEVEL, gym:ID (any registered Gymnasium environment), module:path.to.Task, "
    f"{', '.join(PACKAGED)} (of other packages)"
)


def stored_task(name: str) -> str:
    """Return the name of a task in files, from the name that a user types.

    Raises:
        ValueError: the name is of no known form, or unknown.

    Examples:
        >>> stored_task("pick-cube/precise"), stored_task("easy")
        ('precise', 'easy')
    """
    if is_foreign(name):
        _check_form(name)
        return name
    level = name.removeprefix(PICK_CUBE)
    if level not in LEVELS:
        allowed = [f"{PICK_CUBE}{each}" for each in LEVELS]
        allowed += PACKAGED
        found = unknown("task", name, [*allowed, f"{GYM}ID", f"{MODULE}path.to.Task"])
        raise ValueError(f"{found}. Tasks are named {FORMS}")
    return level


def titled(name: str) -> str:
    """Return a task's name for sentences, with what it is.

    Args:
        name: of the task in files.

    Examples:
        >>> titled("precise"), titled("gym:Pusher-v5")
        ('level precise', 'task gym:Pusher-v5')
    """
    return f"{'task' if is_foreign(name) else 'level'} {name}"


def env_name_of(name: str) -> str:
    """Return the name of a task's environment in files of demonstrations.

    Pick-cube has one name there; its level is one of the arguments.

    Args:
        name: of the task in files.

    Examples:
        >>> env_name_of("precise"), env_name_of("fetch/pick-and-place")
        ('s2robot/PickCube-v0', 'fetch/pick-and-place')
    """
    return name if is_foreign(name) else ENV_ID


def is_foreign(name: str) -> bool:
    """Return whether a task is not a level of pick-cube."""
    return name in PACKAGED or name.startswith((GYM, MODULE))


def check_stored(name: str) -> None:
    """Raise a ValueError where a name from a file or a setting is no task's."""
    if is_foreign(name):
        _check_form(name)
    else:
        get_level(name)


def related_tasks(name: str) -> list[str]:
    """Return the tasks that share policies with a task: those with another appearance, itself."""
    return [name] if is_foreign(name) else levels_of_task(name)


def appearance_entries(name: str) -> int:
    """Return how many entries at the end of a state are its appearance."""
    return 0 if is_foreign(name) else int(get_level(name).appearance_varies)


def rare_share(name: str) -> float:
    """Return the share of episodes with a visual perturbation."""
    return 0.0 if is_foreign(name) else get_level(name).rare_share


def file_name(name: str) -> str:
    """Return a task's name as a part of file names; a level's is itself.

    Examples:
        >>> file_name("precise"), file_name("gym:Pusher-v5?width=96")
        ('precise', 'gym-Pusher-v5-width-96')
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-")[:80] if is_foreign(name) else name


def parts_of(name: str) -> tuple[str, dict[str, Any]]:
    """Return the id and the options of a ``gym:`` name; values are read as JSON where they are.

    Examples:
        >>> parts_of("gym:Pusher-v5?width=96&success_key=done")
        ('Pusher-v5', {'width': 96, 'success_key': 'done'})
    """
    env_id, _, query = name.removeprefix(GYM).partition("?")
    return env_id, {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def has_module(name: str) -> bool:
    """Return whether a task's name has a module in it, which making the task imports.

    Packaged tasks import only the packages that this one names itself.
    """
    return name not in PACKAGED and (name.startswith(MODULE) or ":" in parts_of(name)[0])


def _check_form(name: str) -> None:
    if name in PACKAGED:
        return
    if name.startswith(MODULE):
        parts = name.removeprefix(MODULE).split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(
                f"task is {name!r}; allowed: {MODULE}path.to.Task, a module and a class in it, "
                f"such as {MODULE}own_task.Reach"
            )
        return
    if not parts_of(name)[0]:
        raise ValueError(f"task is {name!r}; allowed: {GYM}ID, such as {GYM}Pusher-v5")
