"""Entry point of ``ros2 run s2robot_ros encoder``."""

import sys

HOW = """\
encoder: {error}
This is {python}.
s2robot must be installed for the Python that runs this node, and ROS 2's for the same version:
    python3 -m venv --system-site-packages ~/s2robot_venv
    ~/s2robot_venv/bin/pip install path/to/s2robot
    source ~/s2robot_venv/bin/activate
    source /opt/ros/$ROS_DISTRO/setup.bash && source install/setup.bash
    ros2 run s2robot_ros encoder
"""


def main():
    """Run the node; returns the exit code."""
    try:
        from s2robot.plugins.ros.ros2 import main as run
    except ImportError as error:
        print(HOW.format(error=error, python=sys.executable), file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
