#!/usr/bin/env bash
# Run all that `make test` stands for, with each stage's time; one of the tests builds the
# documentation site. The tests of the ROS nodes, which mostly wait for messages, run beside the
# others and before them where both want the processor. The closed loop over ROS runs in real time and
# therefore last, alone. The exit status is 1 if any stage fails.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
make=(make --no-print-directory)

stage() {
  local name=$1 begun=$SECONDS
  shift
  echo "=== $name"
  nice -n 10 "$@"
  local status=$?
  echo "=== $name: $((SECONDS - begun)) s (exit $status)"
  [ $status = 0 ] || failed+=("$name")
}

timed_ros() {
  local begun=$SECONDS
  "${make[@]}" test-ros-nodes
  local status=$?
  echo "ROS nodes, beside the others: $((SECONDS - begun)) s"
  return $status
}

timed_ros >"$log" 2>&1 &
ros=$!

rest_of_ros() {
  wait $ros
  local status=$?
  cat "$log"
  return $status
}

stage "check" "${make[@]}" check
stage "tests" "${make[@]}" test-main
begun=$SECONDS
echo "=== ROS nodes, what is left of them"
rest_of_ros || failed+=("ROS nodes")
echo "=== ROS nodes, what is left of them: $((SECONDS - begun)) s"
stage "closed loop over ROS" "${make[@]}" test-ros-loop
if [ ${#failed[@]} != 0 ]; then
  echo "FAILED: ${failed[*]}" >&2
  exit 1
fi
