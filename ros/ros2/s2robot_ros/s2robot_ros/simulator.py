"""Entry point of ``ros2 run s2robot_ros simulator``."""

import sys

from s2robot_ros.encoder import HOW


def main():
    """Run the simulated robot; returns the exit code."""
    try:
        from s2robot.plugins.ros.ros2_simulator import main as run
    except ImportError as error:
        text = HOW.format(error=error, python=sys.executable)
        print(text.replace("encoder", "simulator"), file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
