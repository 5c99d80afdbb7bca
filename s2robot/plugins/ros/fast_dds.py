"""Shared memory of Fast DDS, the default middleware of ROS 2, that is large enough for images.

A program that publishes images hands them over in shared memory of its own, 512 KiB by default. A
larger frame does not fit, and most of those that are offered best effort get lost. This prints the
line that a camera's program wants in its shell before it starts:

    python -m s2robot.plugins.ros.fast_dds
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import MutableMapping
from pathlib import Path

PROFILE = Path(__file__).with_name("fast_dds.xml")
"""Settings for Fast DDS: its usual transports, with 16 MiB of shared memory."""
OLD_VARIABLE, NEW_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
_NEW_SINCE = 9  # rclpy of Kilted, which comes with Fast DDS 3; that of Jazzy is 7
_OWN_CHOICE = (OLD_VARIABLE, NEW_VARIABLE, "FASTDDS_BUILTIN_TRANSPORTS")
_OWN_FILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")


def profile_variable() -> str:
    """Return the name of the variable from which the installed Fast DDS takes its settings.

    Each name is read by some versions, and the wrong one is ignored or warned about.
    """
    for name in ("ros-rclpy", "rclpy"):
        try:
            major = importlib.metadata.version(name).partition(".")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        return NEW_VARIABLE if int(major) >= _NEW_SINCE else OLD_VARIABLE
    return OLD_VARIABLE


def advice() -> str:
    """Return what to do where frames of a camera get lost."""
    return (
        "with Fast DDS, frames above 512 KiB need more shared memory in the camera's program: "
        f"start it with {profile_variable()}={PROFILE}, or let it offer reliable"
    )


def use_large_segment(variables: MutableMapping[str, str] | None = None) -> bool:
    """Let the node that this process is about to make have shared memory that holds images.

    Args:
        variables: environment of the process; ``os.environ`` when not given.

    Returns:
        False, and nothing is changed, where another middleware is chosen or somebody has settings
        for Fast DDS.
    """
    found = os.environ if variables is None else variables
    other = found.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if not other.startswith("rmw_fastrtps") or any(name in found for name in _OWN_CHOICE):
        return False
    if any(Path(name).exists() for name in _OWN_FILES):  # Fast DDS reads them from this folder
        return False
    found[profile_variable()] = str(PROFILE)
    return True


if __name__ == "__main__":
    print(f"export {profile_variable()}={PROFILE}")
