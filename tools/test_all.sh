#!/usr/bin/env bash
# Run all that `make test` stands for, with each stage's time; one of the tests builds the
# documentation site. Beside the tests, which have a process a core, run the check, whose type checker
# keeps one core busy, and the tests of the ROS nodes, which mostly wait for messages. The closed loop
# over ROS runs in real time and therefore last, alone. The exit status is 1 if any stage fails.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
failed=()
make=(nice -n 10 make --no-print-directory)

stage() {
  local name=$1 begun=$SECONDS
  shift
  echo "=== $name"
  "$@"
  local status=$?
  echo "=== $name: $((SECONDS - begun)) s (exit $status)"
  [ $status = 0 ] || failed+=("$name")
}

# Run a command in the background with its time; its output is kept for the end.
beside() {
  local name=$1 begun=$SECONDS
  shift
  "$@" >"$logs/$name" 2>&1
  local status=$?
  echo "=== $name, beside the tests: $((SECONDS - begun)) s (exit $status)" >>"$logs/$name"
  return $status
}

ros_nodes() { # one version after the other, so that no more runs beside the tests
  local status=0
  "${make[@]}" test-ros-nodes || status=$?
  "${make[@]}" test-ros2-nodes || status=$?
  return $status
}

ros_loops() {
  local status=0
  "${make[@]}" test-ros-loop || status=$?
  "${make[@]}" test-ros2-loop || status=$?
  return $status
}

beside check "${make[@]}" check &
check=$!
beside ros_nodes ros_nodes &
ros_nodes=$!

stage "tests" "${make[@]}" test-main
for name in check ros_nodes; do
  wait "${!name}" || failed+=("$name")
  cat "$logs/$name"
done
stage "closed loop over ROS" ros_loops
if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]}" >&2
  exit 1
fi
