#!/usr/bin/env bash
# Everything that needs a GPU, on a box without a network; see benchmarks/gpu.py for the flags.
#
#     bash benchmarks/gpu.sh --minutes 9      # again and again, until it prints "all done"
#
# WHEELS=FOLDER holds the wheels of s2robot's dependencies and of pytest, for a box that lacks them:
#     pip download -d wheels '.[runtimes,dev]'       # on a machine with a network, same Python
# They go into VENV (default .venv-gpu), beside what the box has. Without WHEELS, PYTHON runs (default:
# .venv/bin/python where there is one, else python3).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")

if [[ -n ${WHEELS:-} ]]; then
  venv=${VENV:-$root/.venv-gpu}
  if [[ ! -e $venv/.complete ]]; then
    "${PYTHON:-python3}" -m venv --clear --system-site-packages "$venv"
    # all at once: pip takes the newest of each in the folder, and asks no index
    "$venv/bin/pip" install --quiet --no-index --find-links "$WHEELS" "$WHEELS"/*.whl
    touch "$venv/.complete"
  fi
  python=$venv/bin/python
elif [[ -n ${PYTHON:-} ]]; then
  python=$PYTHON
elif [[ -x $root/.venv/bin/python ]]; then
  python=$root/.venv/bin/python
else
  python=python3
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
exec "$python" "$here/gpu.py" "$@"
