#!/usr/bin/env bash
# Run every finding in a temporary folder of its own; print pass or fail with the time. The exit status is 1 if
# one fails. `findings/run_all.sh NAME ...` runs only those.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# = 0 ]; then
  for script in "$here"/*.sh; do
    case $(basename "$script" .sh) in run_all | lib) ;; *) set -- "$@" "$(basename "$script" .sh)" ;; esac
  done
fi
failed=0
for name; do
  folder=$(mktemp -d)
  begun=$SECONDS
  if (cd "$folder" && bash "$here/$name.sh") >"$folder/log" 2>&1; then
    verdict=pass
  else
    verdict=FAIL
    failed=$((failed + 1))
  fi
  sed 's/^/    /' "$folder/log"
  echo "$verdict $name ($((SECONDS - begun)) s)"
  rm -rf "$folder"
done
echo "$# findings, $failed failed"
[ "$failed" = 0 ]
