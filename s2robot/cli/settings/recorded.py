"""Flags that choose from recorded data, by the words of the settings that go with ``data=``."""

from __future__ import annotations

import argparse

from s2robot.cli.arguments import Names, positive
from s2robot.data.datasets.choice import DataChoice


def add_data_flags(
    parser: argparse.ArgumentParser, *, all_rows: bool = True, low_dim: bool = True
) -> None:
    """Add a group of flags.

    Args:
        parser: of the command.
        all_rows: the command reads actions, not frames alone.
        low_dim: it reads observations, too.
    """
    add = parser.add_argument_group("recorded data").add_argument
    add("--cameras", nargs="+", action=Names, default=(), metavar="NAME",
        help="cameras of the data, to be named where it has several")  # fmt: skip
    if not all_rows:
        return
    if low_dim:
        add("--low-dim", nargs="+", action=Names, default=(), metavar="KEY",
            help="observations of the policy (default: all that a robot measures)")  # fmt: skip
    add("--action", nargs="+", action=Names, default=(), metavar="TOPIC",
        help="of ROS bags: topics of the actions")  # fmt: skip
    add("--tolerance-s", type=positive, metavar="S",
        help="of ROS bags: largest distance of a message from its row [s]")  # fmt: skip


def add_task_flag(parser: argparse.ArgumentParser, flag: str) -> None:
    """Add the flag that names the task of demonstrations, so that its module may be imported.

    Args:
        parser: of the command.
        flag: its name.
    """
    parser.add_argument(flag, dest="task_of_demos", metavar="NAME",
        help="task of demonstrations of `s2robot collect`, where it is"
        " module:path.to.Task")  # fmt: skip


def data_choice(options: argparse.Namespace) -> DataChoice:
    """Return what the flags choose.

    Args:
        options: as a parser with ``add_data_flags`` returns them.
    """
    names = ("cameras", "low_dim", "action", "tolerance_s")
    return DataChoice(**{name: getattr(options, name) for name in names if name in options})
