"""Receive embeddings of the ROS 2 node in a node of your own.

A camera and the node run beside it, and rclpy can be imported (extra `ros2`):

    s2robot ros2-camera pick-cube &
    s2robot ros2-node --ros-args -r image:=/camera/image_raw &
    python examples/ros2_subscriber.py

Where `s2robot_msgs` is built, messages are EmbeddingStamped and have the header of their frame.

Expected output:

    embedding (8, 8, 384), first numbers -0.73 0.17 -0.04
"""

# pyright: reportMissingImports=false

import argparse
import sys
import time
from typing import Any

from s2robot.plugins.ros.missing_ros import without_ros

SILENT_S = 5.0
"""Time without an embedding after which the reason is told, once [s]."""


def show(message: Any) -> None:
    """Print the shape of an embedding and its first numbers."""
    stamped = hasattr(message, "header")
    shape = message.shape if stamped else [each.size for each in message.layout.dim]
    first = " ".join(f"{number:.2f}" for number in message.data[:3])
    print(f"embedding {tuple(map(int, shape))}, first numbers {first}", flush=True)


def receive(topic: str, count: int) -> None:
    """Print embeddings until Ctrl-C, or until so many have come."""
    try:
        import rclpy
        from rclpy.executors import ExternalShutdownException
        from std_msgs.msg import Float32MultiArray
    except ImportError as error:
        sys.exit(without_ros("rclpy", error))

    kind: Any = Float32MultiArray
    try:
        from s2robot_msgs.msg import EmbeddingStamped

        kind = EmbeddingStamped
    except ImportError:  # not built: the node publishes arrays, which have no header
        pass
    rclpy.init()
    node = rclpy.create_node("subscriber")
    received: list[Any] = []
    begun, told = time.monotonic(), False
    node.create_subscription(kind, topic, lambda m: received.append(show(m)), 10)
    try:
        while not count or len(received) < count:
            rclpy.spin_once(node, timeout_sec=1)  # without a limit, SIGTERM may be missed
            if not received and not told and time.monotonic() - begun >= SILENT_S:
                told = True
                there = "no message" if node.count_publishers(topic) else "no publisher"
                advice = "are the camera and `s2robot ros2-node` running in this ROS_DOMAIN_ID?"
                print(f"{there} of {topic} yet: {advice}", file=sys.stderr, flush=True)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    rclpy.try_shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print embeddings of the ROS 2 node.")
    parser.add_argument("--topic", default="/embedding")
    parser.add_argument("--count", type=int, default=0, help="end after so many; 0: never")
    receive(**vars(parser.parse_args()))
