#!/usr/bin/env bash
# rmw_fastrtps 8.4.3 with Fast DDS 2.14.5 (Jazzy): frames of 640 x 480 pixels in rgb8 that a camera offers best
# effort hardly arrive in another process of the same machine, although nothing else runs.
#
# Expected: best effort loses frames on a bad network; between two idle processes 30 frames a second arrive, as
#   rclpy's default middleware uses shared memory.
# Seen: of 921,600 bytes a frame most are lost, of 230,400 bytes none. Without another word the subscriber gets
#   nothing but the event "message lost". With 16 MiB in place of 512 KiB in the publisher's program all arrive. The
#   variable that names the file with that setting is FASTRTPS_DEFAULT_PROFILES_FILE in Jazzy, where
#   FASTDDS_DEFAULT_PROFILES_FILE is ignored; Kilted reads the latter.
# Source: a sample above 64 KB is sent in fragments, all of which lie in the writer's own shared memory segment
#   (512 KiB unless an XML profile says otherwise; SharedMemTransportDescriptor). The last ones take the place of
#   the first ones before the reader has copied them. github.com/ros2/rmw_fastrtps issue 739.
# Here: s2robot's nodes that publish images have a larger segment (s2robot/plugins/ros/fast_dds.py), the encoder
#   asks for reliable where a camera offers it, counts frames that were lost and says what to do.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env 'ros-jazzy-rclpy[fastrtps]==7.1.6' ros-jazzy-sensor-msgs==5.3.6 numpy==2.4.6 pyyaml
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$((1 + RANDOM % 90))
cat >large.xml <<'XML'
<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>memory</transport_id><type>SHM</type><segment_size>16777216</segment_size>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="large" is_default_profile="true">
    <rtps>
      <userTransports><transport_id>memory</transport_id></userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
XML
cat >camera.py <<'CODE'
import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

width, height, count = map(int, sys.argv[1:])
rclpy.init()
node = rclpy.create_node("camera")
quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, "image", quality)
message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
message.data = bytes(3 * width * height)
while not publisher.get_subscription_count():
    time.sleep(0.05)
time.sleep(1)
for _ in range(count):
    publisher.publish(message)
    time.sleep(1 / 30)
time.sleep(1)
rclpy.shutdown()
CODE
env/bin/python - <<'CODE'
import importlib.metadata
import os
import subprocess
import sys

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

COUNT = 150
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


def received(width, height, **variables):
    """Count the frames that arrive from a camera with these variables of its own."""
    frames = []
    quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = node.create_subscription(Image, "image", frames.append, quality)
    command = [sys.executable, "camera.py", str(width), str(height), str(COUNT)]
    camera = subprocess.Popen(command, env={**os.environ, **variables})
    while camera.poll() is None:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_subscription(subscription)
    print(f"{width} x {height} rgb8 {list(variables)}: {len(frames)} of {COUNT}", flush=True)
    return len(frames) / COUNT


print("rclpy", importlib.metadata.version("ros-rclpy"))
print("Fast DDS", importlib.metadata.version("ros-fastrtps"))
rclpy.init()
node = rclpy.create_node("subscriber")
assert received(320, 240) > 0.95
assert received(640, 480) < 0.5
assert received(640, 480, **{NEW: "large.xml"}) < 0.5
assert received(640, 480, **{OLD: "large.xml"}) > 0.95
rclpy.shutdown()
CODE
