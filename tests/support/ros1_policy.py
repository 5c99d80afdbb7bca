"""The ROS 1 node with a policy, which gets one frame after the other and acts on each."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.ros1_rig import WAIT_S, Rig, wait_for

_JOINTS_FIRST_S = 0.05
"""Time for joint states to arrive before the frame of the same moment [s]."""


class PolicyNode:
    """A node with a policy in a process of its own; needs ``rospy.init_node`` first.

    Args:
        rig: master and processes.
        policy: the policy file.
        runtime: of the encoder.
    """

    def __init__(self, rig: Rig, policy: Path, runtime: str = "eager") -> None:
        import rospy  # pyright: ignore[reportMissingImports]
        from sensor_msgs.msg import Image, JointState  # pyright: ignore[reportMissingImports]

        from s2robot.plugins.ros.ros1_messages import message_class

        self._image = rospy.Publisher("/image", Image, queue_size=1, tcp_nodelay=True)
        self._joints = rospy.Publisher("/joint_states", JointState, queue_size=1, tcp_nodelay=True)
        self._actions = rig.subscribe("/action", message_class("ActionStamped"))
        words = ("__name:=policy_node", f"_policy:={policy}", f"_runtime:={runtime}")
        module = "s2robot.plugins.ros.ros1"
        self.process = rig.start(
            "policy_node", sys.executable, "-m", module, *words, "_stale_s:=60", "_device:=cpu"
        )
        for publisher in (self._image, self._joints):
            wait_for("the node listens", self._listens(publisher), 3 * WAIT_S)
        wait_for("the node acts", lambda: self._actions.connections(), WAIT_S)

    def _listens(self, publisher: Any) -> Any:
        def check() -> bool:
            assert self.process.running, self.process.text
            return publisher.get_num_connections() > 0

        return check

    def act(self, frame: np.ndarray, positions: Sequence[float]) -> tuple[np.ndarray, bool]:
        """Return the action (A,) on a moment, and whether the policy was reset before it.

        Args:
            frame: ``(H, W, 3)`` uint8 RGB.
            positions: of the joints [rad, m], in the order of ``JOINT_NAMES``.
        """
        import rospy  # pyright: ignore[reportMissingImports]
        from sensor_msgs.msg import Image, JointState  # pyright: ignore[reportMissingImports]
        from std_msgs.msg import Header  # pyright: ignore[reportMissingImports]

        from s2robot.plugins.ros.simulated_robot import JOINT_NAMES

        top = Header(stamp=rospy.Time.from_sec(time.time()), frame_id="camera")
        self._joints.publish(JointState(header=top, name=list(JOINT_NAMES), position=positions))
        time.sleep(_JOINTS_FIRST_S)
        height, width, _ = frame.shape
        shape = {"height": height, "width": width, "step": 3 * width, "encoding": "rgb8"}
        self._image.publish(Image(header=top, data=frame.tobytes(), **shape))
        message = self._actions.after(1)[-1]
        assert message.header.stamp == top.stamp
        return np.array(message.data, np.float32), bool(message.anew)
