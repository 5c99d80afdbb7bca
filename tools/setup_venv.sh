#!/usr/bin/env bash
# Make a virtual environment and install the package with its development tools into it.
#
#   tools/setup_venv.sh [FOLDER]       FOLDER: the environment (default: .venv)
#
# PYTHON      interpreter to use (python3)
# EXTRAS      extras to install (dev)
# INSTALLER   `uv` (the default) or `pip`; where uv cannot be installed or fails, pip takes over
set -euo pipefail
python=${PYTHON:-python3}
venv=$("$python" -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' "${1:-.venv}")
cd "$(dirname "$0")/.."
extras=${EXTRAS:-dev}
installer=${INSTALLER:-uv}
build_tools=(wheel "setuptools>=77" cmake)

"$python" - <<'CHECK'
import re, sys
bounds = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', open("pyproject.toml").read())
low, high = int(bounds[1]), int(bounds[2]) - 1
if not (3, low) <= sys.version_info[:2] <= (3, high):
    sys.exit(f"s2robot needs Python 3.{low} to 3.{high}, this is {sys.version.split()[0]}; "
             f"name another with `make PYTHON=python3.{high} ...`")
CHECK
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# robomimic's dependency egl_probe is compiled: its build runs `cmake` from PATH, without isolation,
# and its CMakeLists.txt asks for a policy version that cmake 4 dropped.
export PATH="$venv/bin:$PATH" CMAKE_POLICY_VERSION_MINIMUM=3.5

with_uv() {
  "$venv/bin/pip" install --quiet uv || return 1
  local settings
  settings=$("$venv/bin/python" tools/pip_settings_for_uv.py) || return 1
  eval "$settings"
  local install=("$venv/bin/uv" pip install --quiet --python "$venv/bin/python")
  "${install[@]}" "${build_tools[@]}" &&
    "${install[@]}" --no-build-isolation-package egl-probe --no-build-isolation-package s2robot \
      --editable ".[$extras]"
}

with_pip() {
  local install=("$venv/bin/pip" install --quiet)
  "${install[@]}" --upgrade pip "${build_tools[@]}"
  "${install[@]}" torch torchvision
  "${install[@]}" --no-build-isolation --editable ".[$extras]"
}

case $installer in
  uv) with_uv || { echo "uv cannot be used here; installing with pip" >&2; with_pip; } ;;
  pip) with_pip ;;
  *) echo "INSTALLER=$installer: use uv or pip" >&2; exit 2 ;;
esac
