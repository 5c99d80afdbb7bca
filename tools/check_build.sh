#!/usr/bin/env bash
# Build the wheel and the sdist into dist/, install each into a new environment outside the tree, and
# try it there. Dependencies are not installed again: the new environments see those of the given
# interpreter, through a plain path, so that its editable install of this package stays invisible.
#
#   tools/check_build.sh [PYTHON]      PYTHON has the dependencies (default: .venv/bin/python)
set -euo pipefail
python=${1:-.venv/bin/python}
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$(dirname "$0")/.."
tree=$PWD
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT

rm -rf dist
"$python" -m build --no-isolation --outdir dist . >"$outside/build.log" 2>&1 ||
  { tail -40 "$outside/build.log" >&2; exit 1; }
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cd "$outside"
for file in "$tree"/dist/*.whl "$tree"/dist/*.tar.gz; do
  rm -rf fresh
  "$python" -m venv --without-pip fresh
  own=$(fresh/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "$site" >"$own/dependencies.pth"
  "$python" -m pip --python fresh/bin/python install --quiet --no-deps --no-build-isolation \
    --force-reinstall "$file"
  fresh/bin/s2robot --version
  fresh/bin/python "$tree/tools/smoke_test.py" "$own"
  echo "ok: $(basename "$file")"
done
