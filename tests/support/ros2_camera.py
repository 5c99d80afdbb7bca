"""A camera for tests in a separate process: publishes frames of a file at a steady rate.

    python tests/support/ros2_camera.py frames.npy /camera/image_raw --hz 15 --record sent.txt

The header of frame i says so: frame_id is "frame i". Best-effort as cameras are, or --reliable.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

sys.path.append(str(Path(__file__).parents[1]))

from support.encoded_images import ENCODINGS, image_fields


def picture(frame: np.ndarray, index: int, encoding: str = "rgb8") -> Image:
    """Return the message of a frame (H, W, 3) uint8, without its stamp."""
    message = Image(**image_fields(frame, encoding))
    message.header.frame_id = f"frame {index}"
    return message


def publish(options: argparse.Namespace) -> None:
    """Publish until the process is told to end."""
    frames = np.load(options.frames)
    pictures = [picture(frame, i, options.encoding) for i, frame in enumerate(frames)]
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
    parser.add_argument("--encoding", default="rgb8", choices=ENCODINGS)
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
