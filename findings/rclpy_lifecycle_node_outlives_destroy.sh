#!/usr/bin/env bash
# rclpy 7.1.6 (Jazzy): a lifecycle node that was destroyed stays in the ROS graph and keeps offering its services,
# until Python's garbage collector happens to run.
#
# Expected: destroy_node() takes a node out of the graph, as it does for rclpy.node.Node.
# Seen: after destroy_node() and `del`, other nodes see a Node go within 3 s. A LifecycleNode is still listed, and
#   so are its services such as change_state; a request to a new node of that name may reach the destroyed one,
#   which never answers. gc.collect() makes it go.
# Source: rclpy/lifecycle/node.py has no destroy_node() of its own, so nothing ends the state machine, which holds
#   the node's handle and these services. It goes with the Python object, and that is part of a cycle, since bound
#   methods of the node are the services' callbacks.
# Here: the processes of s2robot's nodes end with them; tests that make nodes in one process collect garbage first
#   (tests/support/ros2_rig.py).
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env 'ros-jazzy-rclpy[fastrtps]==7.1.6' ros-jazzy-lifecycle-msgs==2.0.3 numpy==2.4.6 pyyaml
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$((1 + RANDOM % 90))
env/bin/python -W ignore - <<'CODE'
import gc
import importlib.metadata
import time

import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

gc.disable()  # so that it does not run by chance in between
rclpy.init()
observer = Node("observer")


def eventually(condition, seconds):
    """Say whether a condition holds within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rclpy.spin_once(observer, timeout_sec=0.05)
        if condition():
            return True
    return False


def goes(kind):
    """Say whether the graph loses a node once it is destroyed, and once garbage is collected."""
    name = kind.__name__.lower()
    listed = lambda: name in observer.get_node_names()  # noqa: E731
    node = kind(name)
    assert eventually(listed, 30)
    node.destroy_node()
    del node
    gone = eventually(lambda: not listed(), 3)
    services = observer.get_service_names_and_types()
    answers = any(found == f"/{name}/change_state" for found, _ in services)
    gc.collect()
    return gone, answers, eventually(lambda: not listed(), 10)


print("rclpy", importlib.metadata.version("ros-rclpy"))
seen = {kind.__name__: goes(kind) for kind in (Node, LifecycleNode)}
for kind, (gone, answers, collected) in seen.items():
    print(f"{kind}: gone {gone}, change_state offered {answers}, gone after gc {collected}")
rclpy.shutdown()
assert seen == {"Node": (True, False, True), "LifecycleNode": (False, True, True)}
CODE
