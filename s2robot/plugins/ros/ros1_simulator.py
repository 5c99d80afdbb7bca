"""ROS 1 node that simulates a Panda picking a cube: camera and joint states out, actions in.

    rosrun s2robot_ros simulator
    rosrun s2robot_ros simulator _policy:=$HOME/policy.safetensors _episodes:=10
    roslaunch s2robot_ros simulation.launch policy:=$HOME/policy.safetensors episodes:=10
    roslaunch s2robot_ros simulation.launch policy:=$HOME/policy.safetensors synchronous:=true

Publishes ``image`` (sensor_msgs/Image, rgb8), ``joint_states``, ``episode`` (std_msgs/String, JSON
of each finished episode) and, where /use_sim_time is set, /clock. Subscribes to ``action``
(s2robot_msgs/ActionStamped). An action is executed when it arrives, and the arm stops when none
follows. With ``_synchronous:=true`` the world stands still until the action on its last frame is
here; that needs simulated time and subscribes to ``embedding`` (s2robot_msgs/EmbeddingStamped).
Private parameters are the fields of ``RobotConfig``.
"""

from __future__ import annotations

import sys
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
from s2robot.plugins.ros.core import Level
from s2robot.plugins.ros.core.simulation import Simulation
from s2robot.plugins.ros.ros1_master import MasterWatch
from s2robot.plugins.ros.ros1_messages import message_class
from s2robot.plugins.ros.simulated_robot import JOINT_NAMES, RobotConfig, SimulatedRobot

NAME = "s2robot_simulator"
FRAME = "camera"
_LOGGERS = {Level.OK: rospy.loginfo, Level.WARN: rospy.logwarn, Level.ERROR: rospy.logerr}


class _Link:
    """Topics of the robot; a ``RobotLink``."""

    def __init__(self, simulated_time: bool) -> None:
        self._image = rospy.Publisher("image", Image, queue_size=1, tcp_nodelay=True)
        self._joints = rospy.Publisher("joint_states", JointState, queue_size=1, tcp_nodelay=True)
        self._episode = rospy.Publisher("episode", String, queue_size=10, latch=True)
        self._clock = rospy.Publisher("/clock", Clock, queue_size=1) if simulated_time else None
        self._subscribers: list[rospy.Subscriber] = []

    def subscribe(self, simulation: Simulation, synchronous: bool) -> None:
        """Hand actions, and embeddings where the world waits for them, to a simulation."""

        def act(message: Any) -> None:
            values = np.array(message.data, np.float64)
            simulation.receive_action(values, message.header.stamp.to_nsec())

        def embedded(message: Any) -> None:
            simulation.receive_embedding(message.header.stamp.to_nsec())

        wanted = {"action": ("ActionStamped", act)}
        if synchronous:
            wanted["embedding"] = ("EmbeddingStamped", embedded)
        self._subscribers = [
            rospy.Subscriber(topic, message_class(kind), take, queue_size=1, tcp_nodelay=True)
            for topic, (kind, take) in wanted.items()
        ]

    def alive(self) -> bool:
        return not rospy.is_shutdown()

    def now_ns(self) -> int:
        return rospy.get_rostime().to_nsec()

    def publish_clock(self, now_ns: int) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=rospy.Time(nsecs=now_ns)))

    def publish_joints(self, stamp_ns: int, position: list[float], velocity: list[float]) -> None:
        message = JointState(header=_header(stamp_ns), name=list(JOINT_NAMES))
        message.position, message.velocity = position, velocity
        self._joints.publish(message)

    def publish_frame(self, stamp_ns: int, frame: np.ndarray) -> None:
        height, width, _ = frame.shape
        self._image.publish(
            Image(
                header=_header(stamp_ns),
                height=height,
                width=width,
                encoding="rgb8",
                step=3 * width,
                data=frame.tobytes(),
            )
        )

    def publish_episode(self, text: str) -> None:
        self._episode.publish(text)

    def frame_takers(self) -> int:
        return self._image.get_num_connections()

    def action_sources(self) -> int:
        return self._subscribers[0].get_num_connections()

    def log(self, level: Level, text: str) -> None:
        _LOGGERS[level]("%s", text)


def _header(stamp_ns: int) -> Header:
    return Header(stamp=rospy.Time(nsecs=stamp_ns), frame_id=FRAME)


class SimulatorNode:
    """Node that runs a ``SimulatedRobot`` in time; needs ``rospy.init_node`` first.

    Args:
        config: parameters of the robot.

    Raises:
        ValueError, OSError, S2RobotError: see ``SimulatedRobot`` and ``Simulation``.
    """

    def __init__(self, config: RobotConfig) -> None:
        simulated_time = bool(rospy.get_param("/use_sim_time", False))
        link = _Link(simulated_time)
        self._simulation = Simulation(SimulatedRobot(config), link, simulated_time)
        link.subscribe(self._simulation, config.synchronous)
        self._master = MasterWatch()

    def run(self) -> None:
        """Run until ROS shuts down or the last episode ends; the first waits for a publisher."""
        self._simulation.run()


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
