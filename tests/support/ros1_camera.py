"""A camera for tests in a separate process: publishes frames of a file at a steady rate.

    python tests/support/ros1_camera.py frames.npy /camera/image_raw --hz 30 --record sent.txt

The header of frame i says so: frame_id is "frame i", seq 1000 + its number among those sent.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import rospy  # pyright: ignore[reportMissingImports]
from rosgraph_msgs.msg import Clock  # pyright: ignore[reportMissingImports]
from sensor_msgs.msg import CompressedImage, Image  # pyright: ignore[reportMissingImports]
from std_msgs.msg import Header  # pyright: ignore[reportMissingImports]

from s2robot.plugins.ros.ros1_master import MasterWatch

sys.path.append(str(Path(__file__).parents[1]))

from support.encoded_images import ENCODINGS, image_fields


def keep_seq(kind: type) -> type:
    """rospy overwrites the number in headers; a camera driver in C++ does not."""
    return type(kind.__name__, (kind,), {"_has_header": False, "__slots__": kind.__slots__})


def png_fields(frame: np.ndarray) -> dict[str, Any]:
    out = io.BytesIO()
    iio.imwrite(out, frame, extension=".png")
    return {"format": "rgb8; png compressed bgr8", "data": out.getvalue()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path, help=".npy, (N, H, W, 3) uint8")
    parser.add_argument("topic")
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--record", type=Path, help="gets `seq frame stamp_ns` of each")
    parser.add_argument("--encoding", default="rgb8", choices=ENCODINGS)
    parser.add_argument("--compressed", action="store_true")
    parser.add_argument("--clock", type=float, default=0.0, help="simulated seconds a second")
    options = parser.parse_args()
    frames = np.load(options.frames)
    pictures = [
        png_fields(frame) if options.compressed else image_fields(frame, options.encoding)
        for frame in frames
    ]
    rospy.init_node("camera")
    kind = keep_seq(CompressedImage if options.compressed else Image)
    publisher = rospy.Publisher(options.topic, kind, queue_size=1, tcp_nodelay=True)
    clock = rospy.Publisher("/clock", Clock, queue_size=10) if options.clock else None
    watch = MasterWatch(0.2)
    record = options.record.open("a", buffering=1) if options.record else None
    started, sent = time.monotonic(), 0
    while not rospy.is_shutdown():
        time.sleep(max(0.0, started + sent / options.hz - time.monotonic()))
        now = rospy.Time.from_sec(time.time())
        if clock:
            now = rospy.Time.from_sec(1000.0 + options.clock * sent / options.hz)
            clock.publish(Clock(now))
        index = sent % len(pictures)
        header = Header(1000 + sent, now, f"frame {index}")
        if record:  # before it is sent: killed between the two, a frame seen would have no row
            record.write(f"{header.seq} {index} {now.to_nsec()}\n")
        publisher.publish(kind(header=header, **pictures[index]))
        sent += 1
    watch.close()


if __name__ == "__main__":
    main()
