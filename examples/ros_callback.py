"""Encode camera messages in a ROS callback; runs without ROS on a message-like object.

`frame_of` reads a message by its attributes, so it takes those of rospy, of rclpy and of
bag readers. In a ROS 1 node, the end of this file becomes:

    rospy.init_node("embedder")
    rospy.Subscriber("/camera/image_raw", Image, callback, queue_size=1, buff_size=2**24)
    rospy.spin()

and in a ROS 2 node, with `qos_profile_sensor_data` of `rclpy.qos`:

    node.create_subscription(Image, "/camera/image_raw", callback, qos_profile_sensor_data)
    rclpy.spin(node)

`s2robot` has complete nodes for both (docs/integrations/ros.md).

Expected output:

    stamp 12.500000000 s, frame camera: embedding (1, 384)
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from s2robot import FrameEncoder
from s2robot.plugins.ros.core import frame_of, stamp_ns

encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2))  # may be shared by threads


def callback(message: Any) -> None:
    """Encode one sensor_msgs/Image or CompressedImage."""
    frame = frame_of(message)  # (H, W, 3) uint8 RGB, whatever the encoding
    embedding = encoder(frame)  # (1, D) float32
    seconds = stamp_ns(message.header.stamp) / 1e9
    print(
        f"stamp {seconds:.9f} s, frame {message.header.frame_id}: "
        f"embedding {tuple(embedding.shape)}"
    )


def example_message() -> SimpleNamespace:
    """Return an object with the attributes of sensor_msgs/Image."""
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    stamp = SimpleNamespace(sec=12, nanosec=500_000_000)  # rospy: secs, nsecs
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id="camera"),
        height=480,
        width=640,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * 640,
        data=picture.tobytes(),
    )


if __name__ == "__main__":
    callback(example_message())
