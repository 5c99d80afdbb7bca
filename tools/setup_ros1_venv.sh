#!/usr/bin/env bash
# Make an environment of the system's Python, which has ROS 1, with all that another one has.
# The packages are not installed twice: where both are the same Python (3.11 ...), it looks into the
# other environment. Where they are not, everything is installed.
set -euo pipefail
venv=${1:-.venv-ros}
other=${2:-.venv}

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

/usr/bin/python3 -m venv --clear --system-site-packages "$venv"
if [ "$(version /usr/bin/python3)" = "$(version "$other/bin/python")" ]; then
  site=$("$other/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  own=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "import site; site.addsitedir('$site')" >"$own/s2robot_shared.pth"
  bash "$(dirname "$0")/add_command.sh" "$venv"
else
  PYTHON=/usr/bin/python3 bash tools/setup_venv.sh "$venv"
fi
"$venv/bin/python" -c 'import rospy, torch, s2robot'
