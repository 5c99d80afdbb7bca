"""The task of demonstrations or of a run that a command reads, as the user names it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from s2robot.data.rendered_demonstrations import task_of_file
from s2robot.envs.tasks.loading import named_by_user
from s2robot.envs.tasks.names import has_module, stored_task


def trust_task(options: argparse.Namespace, flag: str, source: str) -> None:
    """Allow the task that the user named to be imported.

    Args:
        options: as a parser with ``add_task_flag`` returns them.
        flag: its name, for messages.
        source: the data, as the user named it.

    Raises:
        ValueError: there is no such task, or the data are not of it.
    """
    name = options.task_of_demos
    if name is None:
        return
    path = Path(source)
    named_by_user(name)
    own = task_of_file(path) if path.is_file() else None
    if own is None:
        raise ValueError(
            f"{flag} is {name}, the task of demonstrations of `s2robot collect`, and {source} "
            "holds none; leave it out"
        )
    check_named(flag, name, own, source)


def check_named(flag: str, name: str, own: str, source: str | Path) -> None:
    """Refuse a task that the user named and that is not the one of a source.

    Args:
        flag: with which it was named, for the message.
        name: as the user typed it.
        own: the task of the source, by its name in files.
        source: a run or demonstrations, as the user named it.

    Raises:
        ValueError: there is no such task, or the source is of another one.
    """
    if stored_task(name) != own:
        raise ValueError(
            f"{flag} is {name}, and {source} is of task {own}; give "
            f"{shlex.join([flag, own])}" + ("" if has_module(own) else f", or leave {flag} out")
        )
