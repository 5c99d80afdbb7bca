"""The ROS 1 node: embeddings of a camera topic, and actions of a policy.

    rosrun s2robot_ros encoder image:=/camera/color/image_raw
    rosrun s2robot_ros encoder image:=/camera/color/image_raw _scales:="[1, 2]" _runtime:=auto
    rosrun s2robot_ros encoder image:=/camera/color/image_raw _policy:=$HOME/policy.safetensors
    roslaunch s2robot_ros encoder.launch image:=/camera/color/image_raw
    rosservice call /s2robot_encoder/enable false

Private parameters are the fields of ``s2robot.plugins.ros.core.NodeConfig``; topics are relative
names, remapped as any other. Without the catkin package the same is
``python -m s2robot.plugins.ros.ros1 ...``.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import rospy  # pyright: ignore[reportMissingImports]
from diagnostic_msgs.msg import (  # pyright: ignore[reportMissingImports]
    DiagnosticArray,
    DiagnosticStatus,
    KeyValue,
)
from sensor_msgs.msg import (  # pyright: ignore[reportMissingImports]
    CompressedImage,
    Image,
    JointState,
)
from std_msgs.msg import (  # pyright: ignore[reportMissingImports]
    Float32MultiArray,
    MultiArrayDimension,
    String,
)
from std_srvs.srv import SetBool, SetBoolResponse  # pyright: ignore[reportMissingImports]

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.errors import S2RobotError
from s2robot.plugins.ros.core import (
    SWITCH_S,
    EmbeddingResult,
    LazySubscription,
    Level,
    MessageTypes,
    NodeConfig,
    NodeCore,
    action_message,
    diagnostics_message,
    embedding_message,
)
from s2robot.plugins.ros.core.topics import embedding_topics
from s2robot.plugins.ros.ros1_master import MasterWatch
from s2robot.plugins.ros.ros1_messages import message_class

NAME = "s2robot_encoder"
POLL_S = 0.2
"""How often a node looks whether somebody subscribes to its embeddings."""
_BUFFER_BYTES = 2**24
"""rospy receives at most that much at once: more than a frame, or frames would queue up in it."""
_SAY = {Level.OK: rospy.loginfo, Level.WARN: rospy.logwarn, Level.ERROR: rospy.logerr}


def say(level: Level, text: str) -> None:
    """Write to the node's log, the topic /rosout included."""
    _SAY[level]("%s", text)


def now_ns() -> int:
    """ROS time, simulated where /use_sim_time is set."""
    return rospy.get_rostime().to_nsec()


def read_config() -> NodeConfig:
    """The node's private parameters.

    Raises:
        ValueError: one is unknown or has a bad value.
    """
    return NodeConfig.from_parameters(rospy.get_param(rospy.get_name(), {}))


def message_types() -> MessageTypes:
    """rospy's classes; those of ``s2robot_msgs`` need not be built."""
    return MessageTypes(
        message_class("EmbeddingStamped"),
        message_class("ActionStamped"),
        Float32MultiArray,
        MultiArrayDimension,
        DiagnosticArray,
        DiagnosticStatus,
        KeyValue,
    )


class EncoderNode:
    """Subscribes, publishes and keeps the timers of a ``NodeCore``, after ``rospy.init_node``.

    Args:
        config: of the node.

    Raises:
        ValueError, S2RobotError, FileNotFoundError: see ``NodeCore``.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._types = message_types()
        self._topics = embedding_topics(config)
        rospy.loginfo("loading %s", config.policy or config.encoder or "the encoder that ships")
        self._core = NodeCore(config, self._publish, now_ns, say)
        self._inputs: list[rospy.Subscriber] = []
        self._outputs = self._advertise()
        self._actions = self._advertise_actions()
        self._diagnostics = rospy.Publisher("/diagnostics", DiagnosticArray, queue_size=10)
        self._about = rospy.Publisher(ENCODER_TOPIC, String, queue_size=1, latch=True)
        self._about.publish(self._core.description())
        self._core.start()
        self._demand = LazySubscription(
            self._core,
            self._subscribe,
            self._unsubscribe,
            always=bool(config.policy) or not config.lazy,
            on=config.start_enabled,
        )
        self._services = [rospy.Service("~enable", SetBool, self._enable)]
        self._ended = threading.Event()
        self._start_timers()
        self._master = MasterWatch()
        rospy.on_shutdown(self.close)

    def _advertise(self) -> dict[str, rospy.Publisher]:
        kind = self._types.embedding if self._config.stamped else Float32MultiArray
        return {
            channel: rospy.Publisher(topic, kind, queue_size=2, tcp_nodelay=True)
            for channel, topic in self._topics.items()
        }

    def _advertise_actions(self) -> rospy.Publisher | None:
        if not self._config.policy:
            return None
        kind = self._types.action if self._config.stamped else Float32MultiArray
        return rospy.Publisher(self._config.action_topic, kind, queue_size=1, tcp_nodelay=True)

    def _start_timers(self) -> None:
        self._every(POLL_S, self._poll)
        if self._config.diagnostics_hz:
            self._every(1 / self._config.diagnostics_hz, self._diagnose)
        if self._core.control_hz:
            period = rospy.Duration.from_sec(1 / self._core.control_hz)
            self._control = rospy.Timer(period, self._tick, reset=True)

    def _every(self, seconds: float, call: Any) -> None:
        """Wall time: diagnostics are wanted most when a simulated clock has stopped."""

        def run() -> None:
            while not self._ended.wait(seconds):
                self._guarded(call)

        threading.Thread(target=run, name=f"s2robot-{call.__name__}", daemon=True).start()

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except rospy.ROSException as error:  # topics close while the node ends
            if not self._ended.is_set():
                say(Level.ERROR, f"{call.__name__}: {error}")

    def close(self) -> None:
        """End subscriptions and threads; nothing is published afterwards."""
        self._ended.set()
        self._master.close()
        self._demand.close()
        self._core.stop()
        for service in self._services:
            service.shutdown()

    # ----------------------------------------------------------------- inputs
    def _subscribe(self) -> None:
        for topic in self._config.image_topics:
            compressed = self._config.is_compressed(rospy.resolve_name(topic))
            kind = CompressedImage if compressed else Image
            self._inputs.append(
                rospy.Subscriber(
                    topic,
                    kind,
                    self._receive_image,
                    callback_args=topic,
                    queue_size=1,
                    buff_size=_BUFFER_BYTES,
                    tcp_nodelay=True,
                )
            )
        if self._config.policy:
            self._inputs.append(
                rospy.Subscriber(
                    self._config.joint_topic,
                    JointState,
                    self._core.receive_joints,
                    queue_size=10,  # arm and gripper may each have a publisher
                    tcp_nodelay=True,
                )
            )

    def _unsubscribe(self) -> None:
        for subscriber in self._inputs:
            subscriber.unregister()
        self._inputs.clear()

    def _receive_image(self, message: Any, topic: str) -> None:
        self._core.receive_image(topic, message)

    # ---------------------------------------------------------------- outputs
    def _publish(self, result: EmbeddingResult) -> None:
        message = embedding_message(self._types, result, self._core.model, self._config.stamped)
        self._outputs[result.channel].publish(message)

    def _tick(self, _: Any) -> None:
        if self._actions is None or not self._demand.flowing:
            return  # switched off: what was seen before must not be acted on
        action = self._core.tick()
        if action is None:
            return
        name, hz = Path(self._config.policy).name, self._core.control_hz or 0.0
        message = action_message(self._types, action, name, hz, self._config.stamped)
        self._guarded(lambda: self._actions.publish(message))  # pyright: ignore

    def _poll(self) -> None:
        self._demand.count(sum(output.get_num_connections() for output in self._outputs.values()))

    def _diagnose(self) -> None:
        message = diagnostics_message(
            self._types,
            self._core.diagnostics(),
            rospy.get_rostime(),
            rospy.get_name().lstrip("/"),
            self._core.model,
        )
        self._diagnostics.publish(message)

    def _enable(self, request: Any) -> SetBoolResponse:
        text = self._demand.switch(bool(request.data))
        rospy.loginfo("%s", text)
        return SetBoolResponse(success=True, message=text)


def main() -> int:
    """Run the node until ROS ends; returns the exit status."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    sys.setswitchinterval(SWITCH_S)
    rospy.init_node(NAME)
    try:
        EncoderNode(read_config())
    except (ValueError, OSError, S2RobotError) as error:
        rospy.logfatal("%s", error)
        return 1
    rospy.spin()
    return 0


if __name__ == "__main__":
    sys.exit(main())
