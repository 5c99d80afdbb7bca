"""Record embeddings and the encoder's description in a bag of ROS 1: BAG COUNT."""

from __future__ import annotations

import sys
import threading
from typing import Any

import rosbag  # pyright: ignore[reportMissingImports]
import rospy  # pyright: ignore[reportMissingImports]


def main(path: str, count: int) -> None:
    rospy.init_node("recorder")
    lock, done, left = (
        threading.Lock(),
        threading.Event(),
        {"/embedding": count, "/s2robot/encoder": 1},
    )
    with rosbag.Bag(path, "w") as bag:

        def write(message: Any, topic: str) -> None:
            with lock:
                if left[topic] > 0:
                    told = message._connection_header
                    names = ("type", "md5sum", "message_definition")
                    header = {"topic": topic, **{name: told[name] for name in names}}
                    bag.write(topic, message, connection_header=header)
                    left[topic] -= 1
                if not any(left.values()):
                    done.set()

        for topic in left:
            rospy.Subscriber(topic, rospy.AnyMsg, write, callback_args=topic, queue_size=100)
        if not done.wait(60):
            sys.exit(f"not recorded: {left}")
        rospy.signal_shutdown("done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
