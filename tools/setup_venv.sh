#!/usr/bin/env bash
# Make a virtual environment and install the package with its development tools into it.
set -euo pipefail
venv=${1:-.venv}
python=${PYTHON:-python3}

"$python" - <<'CHECK'
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(f"s2robot needs Python 3.10 to 3.12, this is {sys.version.split()[0]}; "
             "name another with `make PYTHON=python3.11 ...`")
CHECK
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
export PATH="$PWD/$venv/bin:$PATH" CMAKE_POLICY_VERSION_MINIMUM=3.5
"$venv/bin/pip" install --quiet --upgrade pip wheel "setuptools>=77" cmake
"$venv/bin/pip" install --quiet torch torchvision
# Built against the cmake above, without isolation; see the note in the Makefile.
"$venv/bin/pip" install --quiet --no-build-isolation "robomimic==0.3.0"
"$venv/bin/pip" install --quiet --no-build-isolation -e ".[dev]"
