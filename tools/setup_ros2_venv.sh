#!/usr/bin/env bash
# Make an environment with rclpy, FastDDS and our own messages, from wheels of ROS 2, beside all that
# another one has; what is there is not installed twice, and nothing is changed there.
#
#   tools/setup_ros2_venv.sh [FOLDER] [OTHER] [DISTRO]
#
# FOLDER: .venv-ros2, OTHER: .venv, DISTRO: jazzy, or kilted.
#
# The wheels are for x86-64 Linux. They are one way to test and to try the node; a robot has the ROS 2
# of its system.
set -euo pipefail
venv=${1:-.venv-ros2}
other=${2:-.venv}
distro=${3:-jazzy}

# Without its [fastrtps] rclpy cannot be imported. What builds messages comes second; not all of these
# are named as requirements of each other.
case $distro in
  jazzy)
    node=('rclpy[fastrtps]==7.1.6' sensor-msgs==5.3.6 diagnostic-msgs==5.3.6 std-srvs==5.3.6
      lifecycle-msgs==2.0.3)
    build=(rosidl-default-generators==1.6.0 rosidl-default-runtime==1.6.0
      rosidl-core-generators==0.2.0 ament-cmake==2.5.4 ament-package==0.16.4
      ament-cmake-include-directories==2.5.4 ament-cmake-ros==0.12.0 ament-cmake-gmock==2.5.4
      ament-cmake-gtest==2.5.4 ament-cmake-pytest==2.5.4 python-cmake-module==0.11.1) ;;
  kilted)
    node=('rclpy[fastrtps]==9.1.2' sensor-msgs==5.5.1 diagnostic-msgs==5.5.1 std-srvs==5.5.1
      lifecycle-msgs==2.3.0)
    build=(rosidl-default-generators==1.7.1 rosidl-default-runtime==1.7.1
      rosidl-core-generators==0.3.1 ament-cmake==2.7.3 ament-package==0.17.2
      ament-cmake-include-directories==2.7.3 ament-cmake-ros==0.14.5 ament-cmake-ros-core==0.14.5
      ament-cmake-gmock==2.7.3 ament-cmake-gtest==2.7.3 ament-cmake-pytest==2.7.3) ;;
  *) echo "unknown distribution of ROS 2 '$distro'; available: jazzy, kilted" >&2; exit 2 ;;
esac

for tool in g++ make; do
  command -v "$tool" >/dev/null || { echo "$tool is needed to build the messages: install it" >&2; exit 1; }
done
"$other/bin/python" -m venv --clear "$venv"
venv=$(cd "$venv" && pwd)
python=$venv/bin/python
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
site=$("$other/bin/python" -c "$purelib")
echo "import site; site.addsitedir('$site')" >"$("$python" -c "$purelib")/s2robot_shared.pth"
bash "$(dirname "$0")/add_command.sh" "$venv"

# A .pth of these wheels tells the loader where their shared libraries are, so they must be in the
# environment that runs the node.
"$python" -m pip install --quiet \
  "${node[@]/#/ros-$distro-}" "${build[@]/#/ros-$distro-}" catkin-pkg==1.1.1 cmake==4.4.5

# The wheels' CMake files have the headers of the machine that built them.
numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
built='/opt/python/cp3[0-9]+-cp3[0-9]+'
grep -rlE "$built" "$venv/share" --include='*.cmake' | xargs sed -i -E \
  -e "s#$built/lib/python3\.[0-9]+/site-packages/numpy/_core/include#$numpy#g" \
  -e "s#$built/include/python3\.[0-9]+#$headers#g"

cmake=("$python" -c 'import sys; from cmake import cmake; cmake()')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PATH="$venv/bin:$PATH"
"${cmake[@]}" -S "$(dirname "$0")/../ros/ros2/s2robot_msgs" -B "$folder" \
  -DCMAKE_PREFIX_PATH="$venv" -DCMAKE_INSTALL_PREFIX="$venv" -DPython3_EXECUTABLE="$python" \
  -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"${cmake[@]}" --build "$folder" --target install >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"$python" -c 'import rclpy, torch, s2robot; from s2robot_msgs.msg import ActionStamped, EmbeddingStamped'
