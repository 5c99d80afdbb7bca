"""A camera of ROS 2: publishes the frames of a recording, a webcam or a drawn episode."""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from s2robot.data.frame_sources import frame_stream
from s2robot.data.webcam import webcam_frames
from s2robot.plugins.ros.missing_ros import not_a_topic
from s2robot.plugins.ros.ros2_support import begin_ros, image_message, until_ros_ends

NODE_NAME = "s2robot_camera"
DEFAULT_HZ = 30.0
"""Rate at which recorded frames are published [Hz]."""
POLL_S = 0.05
"""Time between two counts of the subscribers before a recording is played once [s]."""
END_S = 5
"""Most that is waited for subscribers to get the last frames of a recording [s]."""


@dataclass(frozen=True)
class CameraSettings:
    """What a camera publishes, and where."""

    source: str
    """As ``frame_stream`` takes it, or the number of a webcam."""
    topic: str = "/camera/image_raw"
    hz: float | None = None
    """Frames a second [Hz]; 30 for recordings and a webcam's own when not given."""
    frame_id: str = "camera"
    once: bool = False
    """Whether to begin when somebody subscribes, and to end after the last frame; else a recording
    begins at once and again after its end."""
    best_effort: bool = False
    """Whether to offer best effort only; reliable is received by all subscribers."""


def run(settings: CameraSettings, args: Sequence[str] | None = None) -> int:
    """Publish frames until they or the process are asked to end, and return the exit status.

    Args:
        settings: what to publish, and where.
        args: the command line with its arguments of ROS, the program's name first.

    Raises:
        FileNotFoundError: there is no such source; see ``frame_stream`` for more.
        ValueError: the topic's name is invalid, or rclpy refuses its arguments.
    """
    frames = paced(source_frames(settings), settings)
    first = next(frames)  # a wrong source is refused before anything is published
    begin_ros(args, images=True)
    with until_ros_ends():
        _publish(settings, first, frames)
    return 0


def source_frames(settings: CameraSettings) -> Iterator[Any]:
    """Yield the frames ``(H, W, 3)`` uint8 RGB of the source, without end unless ``once`` is set.

    Args:
        settings: source and rate.
    """
    if settings.source.isdecimal():
        yield from webcam_frames(f"/dev/video{settings.source}", settings.hz)
        return
    while True:
        yield from frame_stream(settings.source)
        if settings.once:
            return


def paced(frames: Iterator[Any], settings: CameraSettings) -> Iterator[Any]:
    """Yield frames of a recording no faster than its rate; a webcam has a pace of its own.

    Args:
        frames: the frames.
        settings: source and rate.
    """
    period_s = 0.0 if settings.source.isdecimal() else 1 / (settings.hz or DEFAULT_HZ)
    due = time.monotonic()
    for frame in frames:
        time.sleep(max(0.0, due - time.monotonic()))
        yield frame
        due = max(due + period_s, time.monotonic())  # late frames are not made up for


def _publish(settings: CameraSettings, first: Any, rest: Iterator[Any]) -> None:
    node = rclpy.create_node(NODE_NAME, start_parameter_services=False)
    reliable = ReliabilityPolicy.RELIABLE
    offered = ReliabilityPolicy.BEST_EFFORT if settings.best_effort else reliable
    depth = 10 if settings.once else 1  # of a live camera only the latest frame is of use
    qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=offered)
    try:
        publisher = _publisher(node, settings.topic, qos)
        height, width, _ = first.shape
        node.get_logger().info(
            f"{settings.source}: frames of {width} x {height} pixels on {publisher.topic_name}"
        )
        while settings.once and rclpy.ok() and not publisher.get_subscription_count():
            time.sleep(POLL_S)
        for frame in itertools.chain([first], rest):
            if not rclpy.ok():
                return
            stamp = node.get_clock().now().to_msg()
            publisher.publish(image_message(frame, Header(stamp=stamp, frame_id=settings.frame_id)))
        publisher.wait_for_all_acked(Duration(seconds=END_S))
    finally:
        node.destroy_node()


def _publisher(node: Any, topic: str, qos: QoSProfile) -> Any:
    try:
        return node.create_publisher(Image, topic, qos)
    except NameValidationException as error:
        raise ValueError(not_a_topic(topic, error)) from None
