"""ROS 1 node that simulates a Panda picking a cube: camera and joint states out, actions in.

    rosrun s2robot_ros simulator
    rosrun s2robot_ros simulator _policy:=$HOME/policy.safetensors _episodes:=10
    roslaunch s2robot_ros simulation.launch policy:=$HOME/policy.safetensors episodes:=10

Publishes ``image`` (sensor_msgs/Image, rgb8), ``joint_states``, ``episode`` (std_msgs/String, JSON
of each finished episode) and, where /use_sim_time is set, /clock. Subscribes to ``action``
(s2robot_msgs/ActionStamped). An action is executed when it arrives, and the arm stops when none
follows. Private parameters are the fields of ``RobotConfig``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from typing import Any

import numpy as np

from s2robot.plugins.ros.missing_ros import end_without_ros

try:
    import rospy  # pyright: ignore[reportMissingImports]
except ImportError as error:
    end_without_ros("rospy", error, __name__)

from rosgraph_msgs.msg import Clock  # pyright: ignore[reportMissingImports]
from sensor_msgs.msg import Image, JointState  # pyright: ignore[reportMissingImports]
from std_msgs.msg import Header, String  # pyright: ignore[reportMissingImports]

from s2robot.errors import S2RobotError
from s2robot.plugins.ros.ros1_master import MasterWatch
from s2robot.plugins.ros.ros1_messages import message_class
from s2robot.plugins.ros.simulated_robot import (
    JOINT_NAMES,
    PAUSE_S,
    Episode,
    RobotConfig,
    SimulatedRobot,
)

NAME = "s2robot_simulator"
FRAME = "camera"


class SimulatorNode:
    """Node that runs a ``SimulatedRobot`` in time; needs ``rospy.init_node`` first.

    Args:
        config: parameters of the robot.

    Raises:
        ValueError, OSError, S2RobotError: see ``SimulatedRobot``.
    """

    def __init__(self, config: RobotConfig) -> None:
        self._robot = SimulatedRobot(config)
        self._config = config
        self._image = rospy.Publisher("image", Image, queue_size=1, tcp_nodelay=True)
        self._joints = rospy.Publisher("joint_states", JointState, queue_size=1, tcp_nodelay=True)
        self._episode = rospy.Publisher("episode", String, queue_size=10, latch=True)
        self._clock = (
            rospy.Publisher("/clock", Clock, queue_size=1)
            if rospy.get_param("/use_sim_time", False)
            else None
        )
        self._lock = threading.Lock()
        self._waiting: tuple[np.ndarray, int] | None = None  # action and stamp of its frame
        self._started_s = time.monotonic()
        self._first_ns = 0  # actions on older frames belong to an earlier episode
        self._done: list[Episode] = []
        self._actions = rospy.Subscriber(
            "action",
            message_class("ActionStamped"),
            self._receive_action,
            queue_size=1,
            tcp_nodelay=True,
        )
        self._master = MasterWatch()

    def run(self) -> None:
        """Run until ROS shuts down or the last episode ends; the first waits for a publisher."""
        step_s = 1 / self._config.joint_hz
        due_s = frame_due_s = self._robot.time_s
        while not rospy.is_shutdown():
            due_s += step_s
            self._wait_until(due_s)
            self._move(due_s)
            self._publish_joints()
            if self._robot.time_s >= frame_due_s - 1e-6:
                frame_due_s = max(frame_due_s, due_s - step_s) + 1 / self._config.camera_hz
                self._publish_frame()
            episode = self._robot.ended() if self._has_started() else None
            if episode and self._finish(episode):
                return
            if episode:
                due_s = frame_due_s = self._robot.time_s

    def _has_started(self) -> bool:
        if not self._first_ns and self._actions.get_num_connections():
            rospy.loginfo(
                "%s has a publisher: the first episode starts", self._actions.resolved_name
            )
            self._robot.reset()
            self._first_ns = self._now_ns()
        return bool(self._first_ns)

    def _wait_until(self, due_s: float) -> None:
        """Sleep until a simulated time is due by wall time; delays are not caught up."""
        rest = self._started_s + due_s / self._config.speed - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        else:
            self._started_s -= rest
        if self._clock is not None:
            self._clock.publish(Clock(clock=rospy.Time(nsecs=round(due_s * 1e9))))

    def _now_ns(self) -> int:
        """Return the time for stamps: simulated time if /clock is published, else ROS time [ns]."""
        if self._clock is not None:
            return round(self._robot.time_s * 1e9)
        return rospy.get_rostime().to_nsec()

    def _move(self, due_s: float) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting and waiting[1] >= self._first_ns > 0:
            try:
                self._robot.act(waiting[0])
            except ValueError as error:
                rospy.logerr("%s", error)
        self._robot.pass_until(due_s)

    def _receive_action(self, message: Any) -> None:
        values = np.array(message.data, np.float64)
        with self._lock:
            self._waiting = values, message.header.stamp.to_nsec()

    def _header(self) -> Header:
        return Header(stamp=rospy.Time(nsecs=self._now_ns()), frame_id=FRAME)

    def _publish_joints(self) -> None:
        position, velocity = self._robot.joints()
        self._joints.publish(
            JointState(
                header=self._header(), name=list(JOINT_NAMES), position=position, velocity=velocity
            )
        )

    def _publish_frame(self) -> None:
        if not self._image.get_num_connections():
            return
        header = self._header()
        frame = self._robot.frame()
        height, width, _ = frame.shape
        self._image.publish(
            Image(
                header=header,
                height=height,
                width=width,
                encoding="rgb8",
                step=3 * width,
                data=frame.tobytes(),
            )
        )

    def _finish(self, episode: Episode) -> bool:
        """Publish the outcome, start the next episode and return whether it was the last."""
        self._done.append(episode)
        self._episode.publish(json.dumps(dataclasses.asdict(episode)))
        wins, total = sum(e.success for e in self._done), len(self._done)
        outcome = f"lifted after {episode.seconds:.1f} s" if episode.success else episode.stage
        rospy.loginfo("episode %d: %s (%d of %d lifted)", episode.seed, outcome, wins, total)
        if total == self._config.episodes:
            time.sleep(0.5)  # time to send the last message
            return True
        self._robot.reset(episode.seed + 1)
        end_s = self._robot.time_s + PAUSE_S
        while self._robot.time_s < end_s - 1e-6 and not rospy.is_shutdown():
            due_s = self._robot.time_s + 1 / self._config.joint_hz
            self._wait_until(due_s)
            self._robot.pass_until(due_s)
            self._publish_joints()
        self._robot.reset(episode.seed + 1)  # undo the pause
        self._first_ns = self._now_ns()
        return False


def main() -> int:
    """Run the node until ROS shuts down, and return the exit status."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    rospy.init_node(NAME)
    try:
        node = SimulatorNode(RobotConfig.from_parameters(rospy.get_param(rospy.get_name(), {})))
    except (ValueError, OSError, S2RobotError) as error:
        rospy.logfatal("%s", error)
        return 1
    node.run()
    rospy.signal_shutdown("all episodes are done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
