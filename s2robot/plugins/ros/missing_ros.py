"""What nodes say where ROS cannot be imported, or refuses arguments or names that it was given."""

from __future__ import annotations

import re
import sys
from typing import NoReturn

_ADVICE = {
    "rospy": "source the setup.bash of ROS 1 and use its version of Python; on Debian 12: apt "
    "install python3-rospy python3-sensor-msgs python3-std-srvs python3-diagnostic-msgs, and use "
    "an environment of /usr/bin/python3 that sees the system's packages",
    "rclpy": "source the setup.bash of ROS 2 and use its version of Python; to try it without an "
    "installed ROS 2 (x86-64 Linux): pip install 'path/to/s2robot[ros2]'",
}


def without_ros(package: str, error: ImportError) -> str:
    """Return one line that says what cannot be imported, and what to install.

    Args:
        package: that the node needs, "rospy" or "rclpy".
        error: what an import of it, or of messages that come with it, raised.
    """
    reason = " ".join(str(error).split())
    return f"{sys.executable} cannot import {package} ({reason}): {_ADVICE[package]}"


def end_without_ros(package: str, error: ImportError, module: str) -> NoReturn:
    """End a program with one line and exit status 1; where a module is imported, raise the error.

    Args:
        package: that cannot be imported, "rospy" or "rclpy".
        error: what its import raised.
        module: ``__name__`` of the module that imports it; "__main__" for a program.

    Raises:
        SystemExit: the module is the program.
        ImportError: it is not.
    """
    if module != "__main__":
        raise error
    sys.exit(without_ros(package, error))


def refused_arguments(error: RuntimeError) -> str:
    """Return one line about arguments that rclpy refuses.

    Args:
        error: what ``rclpy.init`` raised; its class has no public name.

    Examples:
        >>> refused_arguments(RuntimeError("Couldn't parse remap rule: '-r image', at /rcl/a.c:3"))
        "ROS 2 refuses its arguments: Couldn't parse remap rule: '-r image'; allowed after ..."
    """
    return (
        f"ROS 2 refuses its arguments: {_reason(error)}; allowed after --ros-args: -r NAME:=NAME, "
        "-p PARAMETER:=VALUE, --params-file FILE and others of ROS 2"
    )


def not_a_topic(name: str, error: Exception) -> str:
    """Return one line about a name that no topic of ROS 2 can have.

    Args:
        name: as it was given.
        error: what rclpy raised.

    Examples:
        >>> not_a_topic("a b", RuntimeError("failed to resolve name: a space, at /rcl/b.c:73"))
        "'a b' is no name of a topic in ROS 2 (failed to resolve name: a space)"
    """
    return f"{name!r} is no name of a topic in ROS 2 ({_reason(error)})"


def _reason(error: Exception) -> str:
    """Return an error of rclpy's in one line, without the place in its own source."""
    return re.sub(r", at \S+:\d+", "", " ".join(str(error).split()))
