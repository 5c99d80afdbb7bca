"""Words of a command line that are for ROS, and the error where ROS is missing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from s2robot.cli.settings.flags import CommandParser
from s2robot.errors import S2RobotError


def ros_missing(package: str, error: ImportError) -> S2RobotError:
    """Return the error of a command whose ROS cannot be imported.

    Args:
        package: that it needs, "rospy" or "rclpy".
        error: what the import raised.
    """
    from s2robot.plugins.ros.missing_ros import without_ros

    return S2RobotError(without_ros(package, error))


def without_ros_args(argv: Sequence[str]) -> list[str]:
    """Return the words of a command line that are not arguments of ROS 2.

    Those stand between ``--ros-args`` and ``--`` or the end, as rclpy reads them.

    Args:
        argv: the words after the command's name.

    Examples:
        >>> without_ros_args(["run.mp4", "--ros-args", "-r", "a:=b", "--", "--once"])
        ['run.mp4', '--once']
    """
    found, of_ros = [], False
    for word in argv:
        if word == "--ros-args":
            of_ros = True
        elif of_ros:
            of_ros = word != "--"
        else:
            found.append(word)
    return found


def refuse_bare_ros_args(parser: CommandParser, words: Sequence[str]) -> None:
    """Refuse NAME:=VALUE that stands before ``--ros-args``, with the way to write it in ROS 2.

    Args:
        parser: parser of the command, which prints the error.
        words: the command's own words.

    Raises:
        SystemExit: there is such a word (status 2).
    """
    for word in words:
        name, given, _ = word.partition(":=")
        if given:
            flag = "-p" if name.startswith("_") or "/" not in word else "-r"
            parser.error(
                f"{word}: in ROS 2 such words follow --ros-args, after -r (a topic's new name) or "
                f"-p (a parameter): --ros-args {flag} {word.lstrip('_')}"
            )


def parsed(parser: CommandParser, argv: Sequence[str]) -> argparse.Namespace:
    """Return the values of a command's own words; those for ROS are left to rclpy.

    Args:
        parser: parser of the command.
        argv: the words after the command's name.

    Raises:
        SystemExit: a word is wrong (status 2).
    """
    words = without_ros_args(argv)
    refuse_bare_ros_args(parser, words)
    return parser.parse(words)
