#!/usr/bin/env bash
# rmw_fastrtps_shared_cpp 8.4.3 (Jazzy): the name of a node whose process has ended may stay in another process's
# ROS graph for good, while its topics and services are gone.
#
# Expected: once a process has ended, `get_node_names()` (and `ros2 node list`) of others loses its nodes, at once
#   or when the participant's lease of 20 s is over.
# Seen: of nodes that end while the observer's process gets no time (here it is stopped for that moment; a busy
#   machine does it too), about one in fifteen is still named, after a minute too, and as long as the observer
#   lives. Its topics and services are not: they are right.
# Source: rmw_dds_common/src/graph_cache.cpp. Names come with messages of the topic ros_discovery_info, which one
#   thread reads; that a participant has gone, DDS tells another thread. update_participant_entities() adds the
#   participant of a message if it does not know it, so a last message that is read after the removal adds a
#   participant again that nobody will ever remove.
# Here: nothing of s2robot acts on names of nodes; its tests wait until services and publishers have gone
#   (tests/support/ros2_rig.py).
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env 'ros-jazzy-rclpy[fastrtps]==7.1.6' ros-jazzy-std-msgs==5.3.6 numpy==2.4.6 pyyaml
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$((1 + RANDOM % 90))
cat >observer.py <<'CODE'
import json
import sys

import rclpy

rclpy.init()
node = rclpy.create_node("observer")
for _ in sys.stdin:  # a line is a question
    names = sorted(set(node.get_node_names()) - {"observer"})
    topics = [name for name, _ in node.get_topic_names_and_types() if "chatter" in name]
    services = [name for name, _ in node.get_service_names_and_types() if "talker" in name]
    print(json.dumps([names, topics, services]), flush=True)
CODE
cat >talker.py <<'CODE'
import sys

import rclpy
from std_msgs.msg import String

rclpy.init()
node = rclpy.create_node(sys.argv[1])
publishers = [node.create_publisher(String, f"chatter{i}", 1) for i in range(5)]
sys.stdin.readline()
rclpy.shutdown()
CODE
env/bin/python - <<'CODE'
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time

ROUNDS = 100


def start(*words):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words], stdin=pipe, stdout=pipe, text=True)


def ask():
    print("?", file=observer.stdin, flush=True)
    return json.loads(observer.stdout.readline())


print("rmw_fastrtps_shared_cpp", importlib.metadata.version("ros-rmw-fastrtps-shared-cpp"))
observer = start("observer.py")
try:
    for count in range(1, ROUNDS + 1):
        talker = start("talker.py", f"talker{count}")
        while len(ask()[1]) < 5 or not ask()[0]:
            time.sleep(0.05)
        os.kill(observer.pid, signal.SIGSTOP)
        talker.communicate("end\n")
        os.kill(observer.pid, signal.SIGCONT)
        time.sleep(1)
        names, _, _ = ask()
        if names:
            break
    time.sleep(60)  # three times the lease
    later = ask()
finally:
    observer.kill()
print(f"of {count} nodes that have ended, still named after 1 s: {names}")
print("names, topics and services after a minute:", *later)
assert names == [f"talker{count}"]
assert later == [names, [], []]
CODE
