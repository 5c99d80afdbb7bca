"""``s2robot ros2-record``: topics of ROS 2 to a bag, without an installed ROS."""

from __future__ import annotations

import argparse
import importlib
import math
from pathlib import Path

from s2robot.cli.ros.words import parsed, ros_missing
from s2robot.cli.settings.flags import CommandParser

_DESCRIPTION = """\
Record topics of ROS 2 to a bag, for machines without `ros2 bag`. Each message is written as it
arrives, byte for byte, with the definition of its type, so Foxglove, PlotJuggler and s2robot read
it. Ctrl-C ends the recording; the bag has its name once it is complete. OUT is NAME.mcap, or NAME
for a folder with metadata.yaml. Needs the extras `ros` and, without an installed ROS, `ros2`.
"""
_EXAMPLES = """\
examples:
  s2robot ros2-record run.mcap /camera/image_raw /joint_states
  s2robot ros2-record embeddings.mcap /embedding --seconds 60
  s2robot ros2-camera run.mcap:/camera/image_raw
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Args:
        argv: the words; those between --ros-args and -- or the end are left to rclpy.
    """
    parser = CommandParser("ros2-record", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add("out", metavar="OUT", type=Path, help="bag: NAME.mcap, or NAME for a folder")
    add("topics", metavar="TOPIC", nargs="+", help="names of topics; they may appear later")
    add("--seconds", type=float, metavar="S", help="from the first message on (default: no end)")
    add("--force", action="store_true", help="replace an existing bag")
    found = parsed(parser, argv)
    if found.seconds is not None and not (math.isfinite(found.seconds) and found.seconds > 0):
        parser.error(f"--seconds is {found.seconds:g}; allowed: above 0")
    if found.out.suffix not in ("", ".mcap"):
        parser.error(f"{found.out}: allowed are NAME.mcap, and NAME without a dot for a folder")
    doubled = sorted({each for each in found.topics if found.topics.count(each) > 1})
    if doubled:
        parser.error(f"{', '.join(doubled)} is given more than once")
    return found


def main(argv: list[str]) -> int:
    """Record until the time is over or the process is asked to end, and return the exit status.

    Args:
        argv: the words after the command's name.

    Raises:
        S2RobotError: rclpy or rosbags cannot be imported, or nothing was recorded.
    """
    options = parse(argv)
    importlib.import_module("s2robot.data.rosbag")  # says what to install where rosbags is missing
    try:
        from s2robot.plugins.ros.ros2_recordings import recorder
    except ImportError as error:
        raise ros_missing("rclpy", error) from error
    settings = recorder.RecorderSettings(
        out=options.out,
        topics=tuple(options.topics),
        seconds=options.seconds,
        force=options.force,
    )
    return recorder.run(settings, ["s2robot ros2-record", *argv])
