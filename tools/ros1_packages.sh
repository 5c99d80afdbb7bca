#!/usr/bin/env bash
# Install ROS 1 from Debian where it is to be had and missing; exit status 3 where it is not.
set -euo pipefail
packages="python3-venv python3-rospy python3-rosmaster python3-roslaunch python3-rosbag
  python3-sensor-msgs python3-std-msgs python3-std-srvs python3-diagnostic-msgs"

sees_ros() {
  /usr/bin/python3 -c 'import rospy, rosmaster, roslaunch, rosbag, std_srvs, diagnostic_msgs, ensurepip' \
    2>/dev/null
}

sees_ros && exit 0
if ! command -v apt-get >/dev/null; then
  echo "ROS 1 is not here, and there is no apt to install it with." >&2
  exit 3
fi
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
$sudo apt-get update -qq
if ! apt-cache show python3-rospy >/dev/null 2>&1; then
  echo "ROS 1 is not here, and this system has no package python3-rospy (Debian 12 has)." >&2
  exit 3
fi
echo "installing ROS 1:" $packages
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages \
  >/dev/null
