"""What a node says where the ROS that it needs cannot be imported."""

from __future__ import annotations

import sys
from typing import NoReturn

_ADVICE = {
    "rospy": "source the setup.bash of ROS 1 and use its version of Python; on Debian 12: apt "
    "install python3-rospy python3-sensor-msgs python3-std-srvs python3-diagnostic-msgs, and use "
    "an environment of /usr/bin/python3 that sees the system's packages",
    "rclpy": "source the setup.bash of ROS 2 and use its version of Python; to try it without an "
    "installed ROS 2 (x86-64 Linux): pip install 'ros-jazzy-rclpy[fastrtps]' ros-jazzy-sensor-msgs "
    "ros-jazzy-std-srvs ros-jazzy-diagnostic-msgs",
}


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
    reason = " ".join(str(error).split())
    sys.exit(f"{sys.executable} cannot import {package} ({reason}): {_ADVICE[package]}")
