#!/usr/bin/env bash
# Make an environment with LeRobot, s2robot and its two LeRobot plug-ins. LeRobot needs Python 3.12
# and torch before 2.12, so it is apart from the others.
#
#   tools/setup_lerobot_venv.sh [FOLDER]     FOLDER: .venv-lerobot; PYTHON312 names the interpreter
set -euo pipefail
venv=${1:-.venv-lerobot}
python=${PYTHON312:-python3.12}

if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))'; then
  echo "$python is no Python 3.12, which LeRobot needs; install it, or name it with PYTHON312=" >&2
  exit 1
fi
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet 'torch<2.12' 'lerobot[dataset,evaluation,training]==0.6.1'
"$venv/bin/pip" install --quiet -e '.[lerobot,ros]' 'torch<2.12' onnx pytest pytest-timeout pytest-xdist
"$venv/bin/pip" install --quiet --no-deps \
  -e integrations/lerobot/lerobot_policy_s2robot -e integrations/lerobot/lerobot_env_s2robot
"$venv/bin/python" -c 'import lerobot_policy_s2robot, lerobot_env_s2robot'
