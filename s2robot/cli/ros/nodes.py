"""``s2robot ros2-node`` and ``s2robot ros1-node``: start the encoder's nodes."""

from __future__ import annotations

from s2robot.cli.ros.words import parsed, ros_missing
from s2robot.cli.settings.flags import CommandParser

_ABOUT = """\
Start the node that turns camera images into embeddings and, with a policy, into actions. It
subscribes to `image`, publishes `embedding`, `/diagnostics` and, with a policy, `action`. What
follows is passed on to ROS {version}.
"""
_PARAMETERS = """\

Parameters (all of them: ros/{version}/s2robot_ros/config/encoder.yaml, docs/integrations/ros.md):
  encoder, scales, readout    the encoder: `s2robot encoders`, [1.0, 2.0] ..., spatial_softmax ...
  policy                      policy file; its encoder is used and actions are published
  image_topics                topics of several cameras
  output                      stamped, float32multiarray or auto
  max_rate_hz, stale_s        highest rate of embeddings; age from which frames are not used [s]
  lazy                        false: encode also while nobody subscribes
"""
_ROS2_EXAMPLES = """\
examples:
  s2robot ros2-node --ros-args -r image:=/camera/image_raw
  s2robot ros2-node --ros-args -p policy:=policy.safetensors -r image:=/camera/image_raw
  s2robot ros2-node --ros-args -p "image_topics:=[/left/image_raw, /right/image_raw]"
  s2robot ros2-node --ros-args -p encoder:=s2r-vitt16-128 -p "scales:=[1.0]" -p lazy:=false
  s2robot ros2-node --ros-args --params-file ros/ros2/s2robot_ros/config/encoder.yaml
  s2robot ros2-node --ros-args -p autostart:=false     # a lifecycle manager activates it
"""
_ROS1_EXAMPLES = """\
examples:
  s2robot ros1-node image:=/camera/image_raw
  s2robot ros1-node image:=/camera/image_raw _policy:=policy.safetensors
  s2robot ros1-node _image_topics:="[/left/image_raw, /right/image_raw]"
  s2robot ros1-node image:=/camera/image_raw _encoder:=s2r-vitt16-128 _scales:="[1.0]" _lazy:=false
"""


def parse_ros2(argv: list[str]) -> None:
    """Print the help of ``ros2-node``, or refuse a word that neither it nor ROS 2 takes.

    Args:
        argv: the words after the command's name.
    """
    description = _ABOUT.format(version=2) + _PARAMETERS.format(version="ros2")
    parser = CommandParser("ros2-node", description, _ROS2_EXAMPLES)
    parser.usage = "s2robot ros2-node [-h] [--ros-args ...]"
    parsed(parser, argv)


def run_ros2(argv: list[str]) -> int:
    """Run the node of ROS 2 until it is asked to end, and return the exit status.

    Args:
        argv: arguments of ROS 2.

    Raises:
        S2RobotError: rclpy or one of the message packages cannot be imported.
    """
    try:
        from s2robot.plugins.ros import ros2
    except ImportError as error:
        raise ros_missing("rclpy", error) from error
    return ros2.main(["s2robot ros2-node", *argv])


def parse_ros1(argv: list[str]) -> None:
    """Print the help of ``ros1-node``, or refuse a word that neither it nor ROS 1 takes.

    Args:
        argv: the words after the command's name.
    """
    description = _ABOUT.format(version=1) + _PARAMETERS.format(version="ros1")
    parser = CommandParser("ros1-node", description, _ROS1_EXAMPLES)
    parser.usage = "s2robot ros1-node [-h] [TOPIC:=TOPIC] [_PARAMETER:=VALUE] ..."
    parser.parse([word for word in argv if ":=" not in word])


def run_ros1(argv: list[str]) -> int:
    """Run the node of ROS 1 until it is asked to end, and return the exit status.

    Args:
        argv: arguments of ROS 1.

    Raises:
        S2RobotError: rospy or one of the message packages cannot be imported.
    """
    try:
        from s2robot.plugins.ros import ros1
    except ImportError as error:
        raise ros_missing("rospy", error) from error
    return ros1.main(["s2robot ros1-node", *argv])
