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

import functools
import sys
import threading
from collections.abc import Sequence
from typing import Any

from s2robot.plugins.ros.missing_ros import end_without_ros

try:
    import rospy  # pyright: ignore[reportMissingImports]
except ImportError as error:
    end_without_ros("rospy", error, __name__)

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
    POLL_S,
    SWITCH_S,
    EmbeddingResult,
    LazySubscription,
    Level,
    MessageBuilder,
    MessageTypes,
    NodeConfig,
    NodeCore,
    TopicPublisher,
    diagnostics_message,
    why_silent,
)
from s2robot.plugins.ros.core.config import embedding_topics
from s2robot.plugins.ros.parameters import NODE_NAME
from s2robot.plugins.ros.ros1_master import MasterWatch
from s2robot.plugins.ros.ros1_messages import message_class
from s2robot.utils.deprecation import moved_names

_BUFFER_BYTES = 2**24
"""Size of rospy's receive buffer; frames queue up in it if it is smaller than a frame."""
_LOGGERS = {Level.OK: rospy.loginfo, Level.WARN: rospy.logwarn, Level.ERROR: rospy.logerr}


def log(level: Level, text: str) -> None:
    """Write a line to the node's log, which includes the topic /rosout.

    Args:
        level: severity of the line.
        text: the line.
    """
    _LOGGERS[level]("%s", text)


def now_ns() -> int:
    """Return the ROS time [ns], which is simulated if /use_sim_time is set."""
    return rospy.get_rostime().to_nsec()


def read_config() -> NodeConfig:
    """Read the configuration from the node's private parameters.

    Returns:
        The configuration; parameters that are not set have their defaults.

    Raises:
        ValueError: a parameter is unknown or has a bad value.
    """
    parameters = rospy.get_param(rospy.get_name(), {})
    return NodeConfig.from_parameters(parameters, functools.partial(log, Level.WARN))


def message_types() -> MessageTypes:
    """Return the message classes of rospy; ``s2robot_msgs`` need not be built."""
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
    """Subscriptions, publishers and timers of a ``NodeCore``; needs ``rospy.init_node`` first.

    Args:
        config: parameters of the node.

    Raises:
        ValueError, S2RobotError, FileNotFoundError: see ``NodeCore``.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        rospy.loginfo("loading %s", config.policy or config.encoder or "the encoder that ships")
        self._core = NodeCore(config, self._publish, now_ns, log)
        self._messages = MessageBuilder(message_types(), config, self._core.model)
        self._subscribers: list[rospy.Subscriber] = []
        self._embeddings = self._advertise_embeddings()
        self._actions = self._advertise_actions()
        self._diagnostics = rospy.Publisher("/diagnostics", DiagnosticArray, queue_size=10)
        self._description = rospy.Publisher(ENCODER_TOPIC, String, queue_size=1, latch=True)
        self._description.publish(self._core.description())
        self._core.start()
        self._subscription = LazySubscription(
            self._core,
            self._subscribe,
            self._unsubscribe,
            always=config.always_subscribed,
            on=config.start_enabled,
        )
        self._services = [rospy.Service("~enable", SetBool, self._enable)]
        self._ended = threading.Event()
        self._start_timers()
        self._master = MasterWatch()
        rospy.on_shutdown(self.close)

    def _advertise_embeddings(self) -> dict[str, rospy.Publisher]:
        kind = self._messages.embedding_type
        return {
            channel: rospy.Publisher(topic, kind, queue_size=2, tcp_nodelay=True)
            for channel, topic in embedding_topics(self._config).items()
        }

    def _advertise_actions(self) -> rospy.Publisher | None:
        if not self._config.policy:
            return None
        kind = self._messages.action_type
        return rospy.Publisher(self._config.action_topic, kind, queue_size=1, tcp_nodelay=True)

    def _start_timers(self) -> None:
        self._every(POLL_S, self._poll)
        if self._config.diagnostics_hz:
            self._every(1 / self._config.diagnostics_hz, self._diagnose)
        if self._core.control_hz:
            period = rospy.Duration.from_sec(1 / self._core.control_hz)
            self._control = rospy.Timer(period, self._tick, reset=True)

    def _every(self, seconds: float, call: Any) -> None:
        """Call a method periodically in wall time, also while a simulated clock stands still."""

        def run() -> None:
            while not self._ended.wait(seconds):
                self._guarded(call)

        threading.Thread(target=run, name=f"s2robot-{call.__name__}", daemon=True).start()

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except rospy.ROSException as error:  # topics are closed while the node ends
            if not self._ended.is_set():
                log(Level.ERROR, f"{call.__name__}: {error}")

    def close(self) -> None:
        """Close subscriptions and end threads; nothing is published afterwards."""
        self._ended.set()
        self._master.close()
        self._subscription.close()
        self._core.stop()
        for service in self._services:
            service.shutdown()

    # ---------------------------------------------------------- subscriptions
    def _kind(self, topic: str) -> Any:
        if topic not in self._config.image_topics:
            return JointState
        compressed = self._config.is_compressed(rospy.resolve_name(topic))
        return CompressedImage if compressed else Image

    def _subscribe(self) -> None:
        for topic in self._config.image_topics:
            self._subscribers.append(
                rospy.Subscriber(
                    topic,
                    self._kind(topic),
                    self._receive_image,
                    callback_args=topic,
                    queue_size=1,
                    buff_size=_BUFFER_BYTES,
                    tcp_nodelay=True,
                )
            )
        if self._config.policy:
            self._subscribers.append(
                rospy.Subscriber(
                    self._config.joint_topic,
                    JointState,
                    self._core.receive_joints,
                    queue_size=10,  # arm and gripper may each have a publisher
                    tcp_nodelay=True,
                )
            )

    def _unsubscribe(self) -> None:
        for subscriber in self._subscribers:
            subscriber.unregister()
        self._subscribers.clear()

    def _receive_image(self, message: Any, topic: str) -> None:
        self._core.receive_image(topic, message)

    # ------------------------------------------------------------- publishers
    def _publish(self, result: EmbeddingResult) -> None:
        self._embeddings[result.channel].publish(self._messages.embedding(result))

    def _tick(self, _: Any) -> None:
        if self._actions is None or not self._subscription.flowing:
            return  # switched off: the policy must not act on earlier frames
        action = self._core.tick()
        if action is None:
            return
        message = self._messages.action(action, self._core.control_hz or 0.0)
        self._guarded(lambda: self._actions.publish(message))  # pyright: ignore

    def _poll(self) -> None:
        publishers = self._embeddings.values()
        self._subscription.count(sum(each.get_num_connections() for each in publishers))

    def _diagnose(self) -> None:
        message = diagnostics_message(
            self._messages.types,
            self._core.diagnostics(self._why_silent),
            rospy.get_rostime(),
            rospy.get_name().lstrip("/"),
            self._core.model,
        )
        self._diagnostics.publish(message)

    def _why_silent(self, topic: str) -> str:
        name = rospy.resolve_name(topic)
        try:
            types = dict(rospy.get_published_topics())
        except OSError as error:
            return f"the ROS master does not answer ({error}); start it again"
        kind = self._kind(topic)._type
        publishers = [TopicPublisher("its publisher", types[name])] if name in types else []
        return why_silent(name, kind, publishers)

    def _enable(self, request: Any) -> SetBoolResponse:
        text = self._subscription.switch(bool(request.data))
        rospy.loginfo("%s", text)
        return SetBoolResponse(success=True, message=text)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until ROS shuts down, and return the exit status.

    Args:
        args: the command line, with the program's name first; ``sys.argv`` when not given.
    """
    argv = list(sys.argv if args is None else args)
    if {"-h", "--help"} & set(argv[1:]):
        print(__doc__)
        return 0
    sys.setswitchinterval(SWITCH_S)
    rospy.init_node(NODE_NAME, argv=argv)
    try:
        EncoderNode(read_config())
    except (ValueError, OSError, S2RobotError) as error:
        rospy.logfatal("%s", error)
        return 1
    rospy.spin()
    return 0


__getattr__ = moved_names(
    __name__,
    {"NAME": "s2robot.plugins.ros.parameters:NODE_NAME", "say": f"{__name__}:log"},
)


if __name__ == "__main__":
    sys.exit(main())
