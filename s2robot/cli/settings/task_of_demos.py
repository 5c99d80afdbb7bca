"""The task of demonstrations that a command reads, as the user names it."""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.data.rendered_demonstrations import task_of_file
from s2robot.envs.tasks.loading import named_by_user


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
    path, stored = Path(source), named_by_user(name)
    own = task_of_file(path) if path.is_file() else None
    if own is None:
        raise ValueError(
            f"{flag} is {name}, the task of demonstrations of `s2robot collect`, and {source} "
            "holds none; leave it out"
        )
    if own != stored:
        raise ValueError(f"{flag} is {name}, and {source} is of task {own}; give {flag} {own}")
