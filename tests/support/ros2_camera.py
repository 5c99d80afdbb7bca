"""A camera for tests in a separate process: publishes frames of a file at a steady rate.

    python tests/support/ros2_camera.py frames.npy /camera/image_raw --hz 15 --record sent.txt

The header of frame i says so: frame_id is "frame i". Best-effort as cameras are, or --reliable.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def picture(frame: np.ndarray, index: int) -> Image:
    """Return the message of a frame (H, W, 3) uint8, without its stamp."""
    height, width, _ = frame.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = f"frame {index}"
    message.data = frame.tobytes()
    return message


def publish(options: argparse.Namespace) -> None:
    """Publish until the process is told to end."""
    pictures = [picture(frame, i) for i, frame in enumerate(np.load(options.frames))]
    node = rclpy.create_node("camera")
    reliability = ReliabilityPolicy.RELIABLE if options.reliable else ReliabilityPolicy.BEST_EFFORT
    qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability)
    publisher = node.create_publisher(Image, options.topic, qos)
    record = options.record.open("a", buffering=1) if options.record else None
    started, sent = time.monotonic(), 0
    while rclpy.ok():
        time.sleep(max(0.0, started + sent / options.hz - time.monotonic()))
        index = sent % len(pictures)
        now = node.get_clock().now()
        pictures[index].header.stamp = now.to_msg()
        if record:  # before it is sent: killed between the two, a frame seen would have no row
            record.write(f"{index} {now.nanoseconds}\n")
        publisher.publish(pictures[index])
        sent += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path, help=".npy, (N, H, W, 3) uint8")
    parser.add_argument("topic")
    parser.add_argument("--hz", type=float, default=15.0)
    parser.add_argument("--record", type=Path, help="gets `frame stamp_ns` of each")
    parser.add_argument("--reliable", action="store_true")
    options = parser.parse_args()
    rclpy.init(args=[])
    try:
        publish(options)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
