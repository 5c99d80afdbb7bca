"""Message classes, qualities of service, parameters, transitions and end of the ROS 2 nodes."""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray, Header, MultiArrayDimension

from s2robot.errors import MismatchError, S2RobotError, unknown
from s2robot.plugins.ros.core import Level, MessageTypes, NodeConfig
from s2robot.plugins.ros.core.config import AUTO_OUTPUT, RENAMED_PARAMETERS, embedding_topics
from s2robot.plugins.ros.core.encoder_parameters import DESCRIPTIONS
from s2robot.plugins.ros.fast_dds import use_large_segment
from s2robot.plugins.ros.missing_ros import refused_arguments
from s2robot.plugins.ros.parameters import (
    AUTOSTART,
    CONFIG_PARAMETERS,
    HARDWARE_ID,
    OWN_PARAMETERS,
    described,
)
from s2robot.utils.deprecation import moved_names

WAKE_S = 0.5
"""Most that a node without other work takes to see that ROS has ended [s]."""
_NOT_OURS = ("use_sim_time", "start_type_description_service")


def begin_ros(args: Sequence[str] | None, images: bool = False) -> None:
    """Begin ROS in this process, which the first Ctrl-C ends in order.

    Python would raise KeyboardInterrupt wherever the main thread is, for example where it has just
    taken a lock that nobody would free then. ROS ends either way, and with it whoever spins. A
    second Ctrl-C raises.

    Args:
        args: the command line with its arguments of ROS, the program's name first; ``sys.argv``
            when not given.
        images: whether its nodes publish images, which Fast DDS would lose (see ``fast_dds``).

    Raises:
        ValueError: rclpy refuses the arguments.
    """
    if images:
        use_large_segment()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _raise_next_time)  # rclpy's own handler calls it
    try:
        rclpy.init(args=None if args is None else list(args))
    except RuntimeError as error:
        raise ValueError(refused_arguments(error)) from error


def own_words(args: Sequence[str]) -> list[str]:
    """Return a command line without its program's name and the arguments of ROS.

    Raises:
        ValueError: ROS refuses its arguments.
    """
    try:
        return remove_ros_args(list(args))[1:]
    except RuntimeError as error:
        raise ValueError(refused_arguments(error)) from error


def _raise_next_time(_number: int, _frame: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def until_ros_ends() -> Iterator[None]:
    """Do the work of a node's process; Ctrl-C and other ends of ROS end it without a traceback.

    After a signal a thread of rclpy's own ends ROS, so any call of it raises where that thread is
    faster by a moment.
    """
    try:
        with _ended_elsewhere():
            yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        with _ended_elsewhere():
            rclpy.try_shutdown()


def spin(node: Node) -> None:
    """Run the callbacks of a node until ROS ends; the node is of no use afterwards.

    ``rclpy.spin`` may wait on for good after a signal: rclpy's thread wakes it a moment before it
    ends ROS, and a node whose timers stand still has nothing else that wakes it.

    Raises:
        rclpy.executors.ExternalShutdownException: ROS ended while nothing was to be done.
    """
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    # A timer of the node's, not a limit of each wait: rclpy would make one anew for each callback.
    node.create_timer(WAKE_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
    while node.context.ok():
        executor.spin_once()


@contextlib.contextmanager
def _ended_elsewhere() -> Iterator[None]:
    """Leave out errors of rclpy's calls once ROS has ended."""
    try:
        yield
    except RuntimeError:  # RCLError
        if rclpy.ok():
            raise


def log(node: Node, level: Level, text: str) -> None:
    """Log a text; each level needs a line of its own, as rclpy lets no line log at two.

    Args:
        node: whose log it is.
        level: of the text.
        text: the line.
    """
    if level == Level.ERROR:
        node.get_logger().error(text)
    elif level == Level.WARN:
        node.get_logger().warning(text)
    else:
        node.get_logger().info(text)


def image_message(frame: np.ndarray, header: Header) -> Image:
    """Return a frame as ``sensor_msgs/Image``.

    Args:
        frame: ``(H, W, 3)`` uint8 RGB.
        header: its stamp and coordinate frame.
    """
    height, width, _ = frame.shape
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = frame.tobytes()  # of bytes; an array would be copied number by number
    return message


def _qos(
    reliability: ReliabilityPolicy,
    depth: int,
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


IMAGE_QOS = {
    "best_effort": _qos(ReliabilityPolicy.BEST_EFFORT, 1),
    "reliable": _qos(ReliabilityPolicy.RELIABLE, 1),
}
"""Of subscriptions to cameras, by reliability."""
JOINT_STATES_QOS = _qos(ReliabilityPolicy.BEST_EFFORT, 10)
"""Works with every publisher; arm and gripper may have one each, so several messages are kept."""
EMBEDDING_QOS = _qos(ReliabilityPolicy.RELIABLE, 10)
"""Of embeddings and diagnostics; a subscriber may request either reliability."""
DESCRIPTION_QOS = _qos(ReliabilityPolicy.RELIABLE, 1, DurabilityPolicy.TRANSIENT_LOCAL)
"""Of the encoder's description, which later subscribers such as a recorder receive too."""
EPISODE_QOS = _qos(ReliabilityPolicy.RELIABLE, 1000, DurabilityPolicy.TRANSIENT_LOCAL)
"""Of the outcomes of episodes; later subscribers receive those of earlier episodes too."""
ACTION_QOS = _qos(ReliabilityPolicy.RELIABLE, 1)
"""Of actions: an action that a newer one has replaced must not be executed."""


_BUILD = (
    "Build it: put ros/ros2/s2robot_msgs into the src folder of a workspace, then `colcon build "
    "--packages-select s2robot_msgs` and `source install/setup.bash`"
)


def with_known_output(config: NodeConfig, warn: Callable[[str], None]) -> NodeConfig:
    """Return a configuration whose output is not "auto", but the best that can be published.

    Args:
        config: parameters of the node.
        warn: receives a text where the messages get no headers because ``s2robot_msgs`` is missing.
    """
    if config.output != AUTO_OUTPUT:
        return config
    try:
        import s2robot_msgs.msg  # noqa: F401
    except ImportError as error:
        warn(
            "messages are std_msgs/Float32MultiArray, without the header of their frame, as "
            f"s2robot_msgs cannot be imported ({error}). {_BUILD}. Or set the parameter "
            "output:=float32multiarray, if you need no headers"
        )
        return dataclasses.replace(config, output="float32multiarray")
    return dataclasses.replace(config, output="stamped")


def message_types(stamped: bool) -> MessageTypes:
    """Return the message classes; those of ``s2robot_msgs`` only if they are published.

    Args:
        stamped: whether messages of ``s2robot_msgs`` are published.

    Raises:
        MismatchError: ``s2robot_msgs`` is needed but not built.
    """
    embedding = action = Float32MultiArray
    if stamped:
        try:
            from s2robot_msgs.msg import ActionStamped, EmbeddingStamped
        except ImportError as error:
            raise MismatchError(
                f"output is 'stamped', but s2robot_msgs cannot be imported ({error}). {_BUILD}. Or "
                "set the parameter output:=float32multiarray, which does not need s2robot_msgs"
            ) from error
        embedding, action = EmbeddingStamped, ActionStamped
    return MessageTypes(
        embedding,
        action,
        Float32MultiArray,
        MultiArrayDimension,
        DiagnosticArray,
        DiagnosticStatus,
        KeyValue,
        level=lambda number: bytes([number]),
    )


def declare_parameters(node: Node) -> None:
    """Declare all parameters on a node.

    Types are dynamic, as rclpy does not accept 10 for 10.0 and treats [] as a list of bytes.

    Raises:
        rclpy.exceptions.ParameterException: ``autostart`` is neither true nor false.
    """
    texts = DESCRIPTIONS | described(NodeConfig)
    default, text = OWN_PARAMETERS[AUTOSTART]
    about = ParameterDescriptor(description=text, read_only=True)
    node.declare_parameter(AUTOSTART, default, about)
    default, texts[HARDWARE_ID] = OWN_PARAMETERS[HARDWARE_ID]
    for name, value in {**CONFIG_PARAMETERS, HARDWARE_ID: default}.items():
        about = ParameterDescriptor(
            description=texts.get(name, ""),
            additional_constraints="read when the node is configured",
            dynamic_typing=True,
        )
        node.declare_parameter(name, list(value) if isinstance(value, tuple) else value, about)
    for old, new in RENAMED_PARAMETERS.items():
        if old in given_parameters(node):
            about = ParameterDescriptor(description=f"Old name of {new}.", dynamic_typing=True)
            node.declare_parameter(old, CONFIG_PARAMETERS[new], about)


def given_parameters(node: Node) -> dict[str, Any]:
    """Return the parameters that were given at the start, by name.

    Args:
        node: the node.
    """
    return getattr(node, "_parameter_overrides", {})


def config_of(node: Node, warn: Callable[[str], None]) -> NodeConfig:
    """Read the configuration from a node's parameters.

    Args:
        node: node whose parameters are declared.
        warn: receives one text for each parameter that was given by its old name.

    Returns:
        The configuration.

    Raises:
        ValueError: a parameter has another type or a bad value.
    """
    given = [name for name in RENAMED_PARAMETERS if node.has_parameter(name)]
    values = {name: value_of(node, name) for name in (*CONFIG_PARAMETERS, *given)}
    return NodeConfig.from_parameters(values, warn)


def unknown_parameters(node: Node) -> list[str]:
    """Return a warning for each given parameter that is unknown; rclpy ignores those silently."""
    known = {*CONFIG_PARAMETERS, *OWN_PARAMETERS, *RENAMED_PARAMETERS, *_NOT_OURS}
    return [
        f"ignored: {unknown('parameter', name, known)}"
        for name in given_parameters(node)
        if name not in known and "." not in name
    ]


def value_of(node: Node, name: str) -> Any:
    """Return a parameter's value, or None if it is empty or was deleted.

    Args:
        node: the node.
        name: name of the parameter.
    """
    return node.get_parameter(name).value if node.has_parameter(name) else None


def check_topics(node: Node, config: NodeConfig) -> None:
    """Refuse topics whose names are invalid in ROS 2, before the topics are opened.

    Args:
        node: a node that resolves the names.
        config: parameters with the topics.

    Raises:
        ValueError: a name is invalid.
    """
    named = {
        "image_topics": config.image_topics,
        "embedding_topic": (config.embedding_topic, *embedding_topics(config).values()),
        "joint_topic": (config.joint_topic,),
        "action_topic": (config.action_topic,),
    }
    for name, topics in named.items():
        for topic in topics:
            try:
                node.resolve_topic_name(topic)
            except Exception as error:  # of several kinds, by version
                raise ValueError(
                    f"{name} has {topic!r}, which is no name of a topic in ROS 2; allowed: "
                    "letters, digits, '_' and '/', no part beginning with a digit or empty "
                    f"({error})"
                ) from None


def error_text(error: Exception) -> str:
    """Return the message of an error that is meant for users, else the whole traceback."""
    if isinstance(error, (ValueError, OSError, S2RobotError)):
        return str(error)
    return "".join(traceback.format_exception(error))


def reject_invalid_transitions(node: Node, log: Callable[[str], None]) -> None:
    """Answer requests for transitions that are not possible now with "no success".

    In Humble, Iron and Jazzy rclpy raises an exception, which ends the node; rclcpp and later
    versions of rclpy answer as this does.

    Args:
        node: the lifecycle node.
        log: receives a text about each such request.
    """
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = functools.partial(_change_state, service.callback, log)


def _change_state(
    change: Callable[[Any, Any], Any], log: Callable[[str], None], request: Any, response: Any
) -> Any:
    try:
        return change(request, response)
    except RuntimeError as error:  # RCLError is one, and has no public name
        log(f"this transition is not possible now: {error}")
        response.success = False
        return response


__getattr__ = moved_names(
    __name__,
    {
        "ABOUT_QOS": f"{__name__}:DESCRIPTION_QOS",
        "JOINT_QOS": f"{__name__}:JOINT_STATES_QOS",
        "OUTPUT_QOS": f"{__name__}:EMBEDDING_QOS",
        "bear_wrong_transitions": f"{__name__}:reject_invalid_transitions",
        "words_of": f"{__name__}:error_text",
    },
)
