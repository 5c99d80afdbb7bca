"""``s2robot ros2-camera``: a camera of ROS 2 from a recording, a webcam or a drawn episode."""

from __future__ import annotations

import argparse
import math

from s2robot.cli.ros.words import parsed, ros_missing
from s2robot.cli.settings.flags import CommandParser

_DESCRIPTION = """\
Publish frames on a topic as sensor_msgs/Image (rgb8), as a camera driver does, with the time of
their publication as stamp. SOURCE is a video, a picture, a folder of pictures, a bag of ROS 1 or
ROS 2 (BAG or BAG:/topic; extra `ros`), the number of a webcam (0 is /dev/video0), or pick-cube,
whose scripted expert is drawn. A recording begins again at its end.
"""
_EXAMPLES = """\
examples:
  s2robot ros2-camera pick-cube
  s2robot ros2-camera 0
  s2robot ros2-camera run.mp4 --hz 15 --topic /wrist/image_raw
  s2robot ros2-camera run.mcap:/camera/image_raw --once
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Args:
        argv: the words; those between --ros-args and -- or the end are left to rclpy.
    """
    parser = CommandParser("ros2-camera", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="SOURCE", help="video, picture, folder, bag, webcam or pick-cube")
    add("--topic", default="/camera/image_raw", help="default: /camera/image_raw")
    add("--hz", type=float, metavar="HZ", help="frames a second (default: 30; a webcam's own)")
    add("--frame-id", default="camera", metavar="NAME", help="of the headers (default: camera)")
    add("--once", action="store_true", help="wait for a subscriber, and end after the last frame")
    add("--best-effort", action="store_true", help="offer best effort only, as many drivers do")
    found = parsed(parser, argv)
    if found.hz is not None and not (math.isfinite(found.hz) and found.hz > 0):
        parser.error(f"--hz is {found.hz:g}; allowed: above 0")
    return found


def main(argv: list[str]) -> int:
    """Publish until the recording or the process is asked to end, and return the exit status.

    Args:
        argv: the words after the command's name.

    Raises:
        S2RobotError: rclpy or one of the message packages cannot be imported.
    """
    options = parse(argv)
    try:
        from s2robot.plugins.ros.ros2_recordings import camera
    except ImportError as error:
        raise ros_missing("rclpy", error) from error
    settings = camera.CameraSettings(
        source=options.source,
        topic=options.topic,
        hz=options.hz,
        frame_id=options.frame_id,
        once=options.once,
        best_effort=options.best_effort,
    )
    return camera.run(settings, ["s2robot ros2-camera", *argv])
