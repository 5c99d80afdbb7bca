"""ROS 2 node that simulates a Panda picking a cube: camera and joint states out, actions in.

    python -m s2robot.plugins.ros.ros2_simulator
    ros2 run s2robot_ros simulator --ros-args -p level:=precise -p camera_hz:=15.0
    ros2 run s2robot_ros simulator --ros-args -p policy:=/data/policy.safetensors -p episodes:=10
    ros2 launch s2robot_ros simulation.launch.py policy:=/data/policy.safetensors episodes:=10

Publishes ``image`` (sensor_msgs/Image, rgb8), ``joint_states``, ``episode`` (std_msgs/String, JSON
of each finished episode) and, with ``-p use_sim_time:=true``, /clock. Subscribes to ``action``
(s2robot_msgs/ActionStamped). An action is executed when it arrives, and the arm stops when none
follows. Parameters are the fields of ``RobotConfig``.

The world stands still until the action on its last frame is here, however busy the computer is:

    ros2 run s2robot_ros simulator --ros-args -p synchronous:=true -p use_sim_time:=true
    ros2 run s2robot_ros encoder --ros-args -p use_sim_time:=true -p stale_s:=10.0 -p policy:=FILE

It is a managed node (lifecycle node) that configures and activates itself, unless
``-p autostart:=false`` leaves that to a manager. Deactivated, the world stands still:

    ros2 lifecycle set /s2robot_simulator deactivate
    ros2 lifecycle set /s2robot_simulator activate
"""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from s2robot.plugins.ros.missing_ros import end_without_ros

try:
    import rclpy
except ImportError as error:
    end_without_ros("rclpy", error, __name__)

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String

from s2robot.data.ros_messages.stamps import NS, message_stamp_ns
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core import Level
from s2robot.plugins.ros.core.simulation import Simulation
from s2robot.plugins.ros.parameters import AUTOSTART, described
from s2robot.plugins.ros.ros2_support import (
    ACTION_QOS,
    EMBEDDING_QOS,
    EPISODE_QOS,
    IMAGE_QOS,
    begin_ros,
    error_text,
    given_parameters,
    image_message,
    log,
    own_words,
    reject_invalid_transitions,
    until_ros_ends,
    value_of,
)
from s2robot.plugins.ros.simulated_robot import JOINT_NAMES, RobotConfig, SimulatedRobot

NODE_NAME = "s2robot_simulator"
FRAME = "camera"
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_LOOK_S = 0.1
"""Time between two looks at whether the node is active or has ended [s]."""
_END_S = 5
"""Most that is waited for subscribers to get the outcomes of the last episodes [s]."""


def _message_types() -> tuple[Any, Any]:
    """Return the classes of actions and embeddings."""
    try:
        from s2robot_msgs.msg import ActionStamped, EmbeddingStamped
    except ImportError as error:
        raise MismatchError(
            f"s2robot_msgs cannot be imported ({error}), and actions are messages of it. Build it: "
            "put ros/ros2/s2robot_msgs into the src folder of a workspace, then `colcon build "
            "--packages-select s2robot_msgs` and `source install/setup.bash`"
        ) from error
    return ActionStamped, EmbeddingStamped


class _Link:
    """Topics of the robot; a ``RobotLink``.

    Args:
        node: the node that owns them.
        simulated_time: whether /clock is published.
    """

    def __init__(self, node: LifecycleNode, simulated_time: bool) -> None:
        self._node = node
        self._image = self._publisher(Image, "image", IMAGE_QOS["reliable"])
        self._joints = self._publisher(JointState, "joint_states", EMBEDDING_QOS)
        self._episode = self._publisher(String, "episode", EPISODE_QOS)
        self._clock = self._publisher(Clock, "/clock", ACTION_QOS) if simulated_time else None
        self._subscriptions: list[Any] = []

    def _publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        return self._node.create_publisher(kind, topic, qos)

    def subscribe(self, simulation: Simulation, synchronous: bool) -> None:
        """Hand actions, and embeddings where the world waits for them, to a simulation."""
        action, embedding = _message_types()

        def act(message: Any) -> None:
            values = np.array(message.data, np.float64)
            simulation.receive_action(values, message_stamp_ns(message))

        def embedded(message: Any) -> None:
            simulation.receive_embedding(message_stamp_ns(message))

        wanted = [(action, "action", act, ACTION_QOS)]
        if synchronous:
            wanted.append((embedding, "embedding", embedded, EMBEDDING_QOS))
        self._subscriptions = [self._node.create_subscription(*each) for each in wanted]

    def close(self) -> None:
        """Destroy all publishers and subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in (self._image, self._joints, self._episode, self._clock):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def alive(self) -> bool:
        return self._node.context.ok()

    def now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def publish_clock(self, now_ns: int) -> None:
        if self._clock is not None:
            self._publish(self._clock, Clock(clock=_time(now_ns)))

    def publish_joints(self, stamp_ns: int, position: list[float], velocity: list[float]) -> None:
        message = JointState(header=_header(stamp_ns), name=list(JOINT_NAMES))
        message.position, message.velocity = position, velocity
        self._publish(self._joints, message)

    def publish_frame(self, stamp_ns: int, frame: np.ndarray) -> None:
        self._publish(self._image, image_message(frame, _header(stamp_ns)))

    def publish_episode(self, text: str) -> None:
        self._publish(self._episode, String(data=text))

    def wait_for_readers(self) -> None:
        """Wait until subscribers have the outcomes of all episodes, but not for long."""
        if self.alive():
            self._episode.wait_for_all_acked(Duration(seconds=_END_S))

    def _publish(self, publisher: Any, message: Any) -> None:
        if self.alive():
            publisher.publish(message)

    def frame_takers(self) -> int:
        return self._image.get_subscription_count()

    def action_sources(self) -> int:
        return self._node.count_publishers(self._subscriptions[0].topic_name)

    def log(self, level: Level, text: str) -> None:
        log(self._node, level, text)


def _time(nanoseconds: int) -> Time:
    return Time(sec=nanoseconds // NS, nanosec=nanoseconds % NS)


def _header(stamp_ns: int) -> Header:
    return Header(stamp=_time(stamp_ns), frame_id=FRAME)


class SimulatorNode(LifecycleNode):
    """Lifecycle node of a ``SimulatedRobot``; the module's docstring shows how to use it.

    An executor spins the node in one thread, and ``run`` belongs to another.

    Args:
        node_name: name of the node.
        kwargs: further arguments of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: ``autostart`` is neither true nor false.
    """

    def __init__(self, node_name: str = NODE_NAME, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._link: _Link | None = None
        self._simulation: Simulation | None = None
        self._active = threading.Event()
        self._running = threading.Lock()  # held while the world moves
        self._declare()
        reject_invalid_transitions(self, lambda text: log(self, Level.WARN, text))

    def _declare(self) -> None:
        about = ParameterDescriptor(description="Configure and activate at the start.")
        about.read_only = True
        self.declare_parameter(AUTOSTART, True, about)
        texts = described(RobotConfig)
        for name, value in vars(RobotConfig()).items():
            about = ParameterDescriptor(description=texts.get(name, ""), dynamic_typing=True)
            about.additional_constraints = "read when the node is configured"
            self.declare_parameter(name, value, about)

    def _config(self) -> RobotConfig:
        """Return the configuration; what was given at the start and is no parameter is refused."""
        ours = {AUTOSTART, "use_sim_time", "start_type_description_service"}
        given = [name for name in given_parameters(self) if "." not in name]
        names = [*vars(RobotConfig()), *(name for name in given if name not in ours)]
        return RobotConfig.from_parameters({name: value_of(self, name) for name in names})

    @property
    def autostart(self) -> bool:
        """True if the node configures and activates itself."""
        return value_of(self, AUTOSTART)

    def start(self) -> bool:
        """Configure and activate the node, and log what fails; return whether it is active."""
        return self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, build the robot and open its topics."""
        try:
            config, simulated_time = self._config(), bool(value_of(self, "use_sim_time"))
            robot = SimulatedRobot(config)
            self._link = _Link(self, simulated_time)
            self._simulation = Simulation(robot, self._link, simulated_time)
            self._link.subscribe(self._simulation, config.synchronous)
        except Exception as error:  # rclpy would not log it
            log(self, Level.ERROR, f"the node cannot be configured: {error_text(error)}")
            self._release()
            return _FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the world move."""
        self._active.set()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the world stand still."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the robot and its topics."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self._release()
        return super().on_shutdown(state)

    def _halt(self) -> None:
        self._active.clear()
        with self._running:
            pass

    def _release(self) -> None:
        self._halt()
        link, self._link, self._simulation = self._link, None, None
        if link:
            link.close()

    def run(self) -> None:
        """Run while the node is active, until ROS ends or the last episode is over."""
        while self.context.ok():
            if not self._active.wait(_LOOK_S):
                continue
            with self._running:
                simulation = self._simulation
                if simulation and simulation.run(self._active.is_set):
                    if self._link:
                        self._link.wait_for_readers()
                    return


def _spin(executor: SingleThreadedExecutor) -> None:
    """Run callbacks until ROS ends; a wait without a limit may miss that end, and never return."""
    try:
        while rclpy.ok():
            executor.spin_once(timeout_sec=_LOOK_S)
    except ExternalShutdownException:
        pass  # the node ends


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is asked to end or the last episode is over.

    Args:
        args: the command line, with the program's name first; ``sys.argv`` when not given.

    Returns:
        The exit code: 0 after the last episode, Ctrl-C or a shutdown, 1 where the node could not
        start.
    """
    argv = list(sys.argv if args is None else args)
    parser = argparse.ArgumentParser(
        "simulator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    try:
        parser.parse_args(own_words(argv))
        begin_ros(argv, images=True)
    except ValueError as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    try:
        return _run()
    except ParameterException as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1


def _run() -> int:
    """Run the node in this thread and its callbacks in another, and return the exit code."""
    thread = None
    with until_ros_ends():
        node = SimulatorNode()
        if node.autostart and not node.start():
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=_spin, args=(executor,), name="rclpy", daemon=True)
        thread.start()
        node.run()
    if thread is not None:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
