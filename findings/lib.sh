# Shared by the findings: environments in the current folder, which run_all.sh makes and removes.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# install FOLDER PACKAGE...: make the environment FOLDER where it is missing; install into it.
install() {
  local folder=$1
  shift
  [ -x "$folder/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder"
  if [ -x "$folder/bin/uv" ] || "$folder/bin/pip" install --quiet uv 2>/dev/null; then
    (
      eval "$("$folder/bin/python" "$root/tools/pip_settings_for_uv.py")"
      "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" "$@"
    )
  else
    "$folder/bin/pip" install --quiet "$@"
  fi
}
