"""Node of ROS 2: camera images to embeddings and, with a policy, to actions.

It configures and activates itself, so this is enough:

    ros2 run s2robot_ros encoder --ros-args -r image:=/camera/image_raw

Every field of ``NodeConfig`` is a parameter, read when the node is configured:

    ros2 run s2robot_ros encoder --ros-args -p "image_topics:=[/left/image_raw, /right/image_raw]"
    ros2 run s2robot_ros encoder --ros-args -p policy:=/data/policy.safetensors
    ros2 run s2robot_ros encoder --ros-args --params-file encoder.yaml
    ros2 launch s2robot_ros encoder.launch.py image:=/camera/image_raw
    ros2 param describe /s2robot_encoder lazy

Its life cycle is that of a managed node. To change a parameter:

    ros2 lifecycle set /s2robot_encoder deactivate
    ros2 lifecycle set /s2robot_encoder cleanup
    ros2 param set /s2robot_encoder max_rate_hz 10.0
    ros2 lifecycle set /s2robot_encoder configure
    ros2 lifecycle set /s2robot_encoder activate

With ``-p autostart:=false`` a lifecycle manager does that. To stop encoding for a while:

    ros2 service call /s2robot_encoder/enable std_srvs/srv/SetBool "{data: false}"

Cameras are subscribed to only while somebody subscribes to an embedding (parameter ``lazy``):

    ros2 topic echo /embedding --no-arr
"""

# rclpy and the message packages come with ROS 2; there are none on PyPI.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from s2robot.plugins.ros.core import (
    SWITCH_S,
    EmbeddingResult,
    LazySubscription,
    Level,
    LogThrottle,
    NodeConfig,
    NodeCore,
    action_message,
    diagnostics_message,
    embedding_message,
)
from s2robot.plugins.ros.parameters import AUTOSTART, CONFIG_PARAMETERS, HARDWARE_ID
from s2robot.plugins.ros.ros2_parts import NodeParts, close_outputs, open_outputs
from s2robot.plugins.ros.ros2_support import (
    IMAGE_QOS,
    JOINT_QOS,
    check_topics,
    declare_parameters,
    message_types,
    reject_invalid_transitions,
    renamed_parameters,
    unknown_parameters,
    value_of,
    words_of,
)

NODE_NAME = "s2robot_encoder"
POLL_S = 0.2
"""How often subscribers to embeddings are counted."""
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class EncoderNode(LifecycleNode):
    """The node; see the module's text. ``kwargs`` are those of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: ``autostart`` is neither true nor false.
    """

    def __init__(self, node_name: str = NODE_NAME, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._parts: NodeParts | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._reports = LogThrottle(self._log)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._may_set)
        for text in (*renamed_parameters(self), *unknown_parameters(self)):
            self._log(Level.WARN, text)
        reject_invalid_transitions(self, functools.partial(self._log, Level.WARN))

    # ------------------------------------------------------------- parameters
    def _may_set(self, parameters: Sequence[Any]) -> SetParametersResult:
        ours = [p.name for p in parameters if p.name in CONFIG_PARAMETERS or p.name == HARDWARE_ID]
        if self._parts is None or not ours:
            return SetParametersResult(successful=True)
        return SetParametersResult(
            successful=False,
            reason=f"{', '.join(ours)}: parameters are read when the node is configured, which it "
            "is; deactivate it, clean it up, set the parameter, configure it again "
            "(ros2 lifecycle set NODE deactivate, cleanup, ...)",
        )

    @property
    def autostart(self) -> bool:
        """Whether the node is to configure and activate itself."""
        return value_of(self, AUTOSTART)

    # ------------------------------------------------------------- life cycle
    def start(self) -> bool:
        """Configure and activate; what goes wrong is logged. Returns whether the node is active."""
        return self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the encoder, open what is published."""
        try:
            self._release()
            self._parts = self._build()
            open_outputs(self, self._parts, self._switch)
        except Exception as error:  # rclpy would not say what it was
            self._log_error("the node cannot be configured", error)
            self._release()
            return _FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to take frames."""
        super().on_activate(state)
        try:
            self._begin(self._configured())
        except Exception as error:
            self._log_error("the node cannot be activated", error)
            self._end()
            super().on_deactivate(state)
            return _FAILURE
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End subscriptions, timers and the encoder's thread."""
        self._end()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back that was made on configuration."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same; the node may be configured again."""
        self._release()
        return super().on_error(state)

    def destroy_node(self) -> Any:
        """End the encoder's thread, then what rclpy ends."""
        if self._parts:
            self._parts.core.stop()
        return super().destroy_node()

    def _configured(self) -> NodeParts:
        if self._parts is None:
            raise RuntimeError("the node is not configured")
        return self._parts

    # ---------------------------------------------------------- configuration
    def _build(self) -> NodeParts:
        config = NodeConfig.from_parameters(
            {name: value_of(self, name) for name in CONFIG_PARAMETERS}
        )
        check_topics(self, config)
        types = message_types(config.stamped)
        core = NodeCore(config, self._publish_embedding, self._now_ns, self._log)
        return NodeParts(config, core, types, str(value_of(self, HARDWARE_ID) or core.model))

    def _release(self) -> None:
        self._end()
        parts, self._parts = self._parts, None
        if parts is not None:
            close_outputs(self, parts)

    # ------------------------------------------------------------------ active
    def _begin(self, parts: NodeParts) -> None:
        config, core = parts.config, parts.core
        self._reports.forget()
        core.start()
        parts.demand = LazySubscription(
            core,
            self._open_inputs,
            self._close_inputs,
            always=not config.lazy or bool(config.policy),
            on=config.start_enabled,
        )
        parts.about.publish(String(data=core.description()))
        self._count_subscribers()
        self._every(POLL_S, self._count_subscribers, self._steady)
        if config.diagnostics_hz:
            self._every(1 / config.diagnostics_hz, self._diagnose, self._steady)
        if core.control_hz:
            self._every(1 / core.control_hz, self._act, self.get_clock())

    def _end(self) -> None:
        """All of it is done, whatever fails; rclpy would not say what did."""
        parts = self._parts
        if parts is None:
            return
        try:
            with ExitStack() as last_first:
                for timer in parts.timers:
                    last_first.callback(self.destroy_timer, timer)
                last_first.callback(parts.core.stop)
                if parts.demand:
                    last_first.callback(parts.demand.close)
                parts.timers, parts.demand = [], None
        except Exception as error:
            self._log_error("the node cannot be deactivated", error)
            raise

    def _every(self, period_s: float, call: Callable[[], None], clock: Clock) -> None:
        """A timer; what its call raises would end the node."""

        def guarded() -> None:
            try:
                call()
            except Exception as error:
                text = f"{call.__name__.strip('_')} failed: {type(error).__name__}: {error}"
                self._reports.report(call.__name__, text, Level.ERROR)

        self._configured().timers.append(self.create_timer(period_s, guarded, clock=clock))

    def _count_subscribers(self) -> None:
        parts = self._configured()
        if parts.demand:
            publishers = parts.embeddings.values()
            parts.demand.count(sum(each.get_subscription_count() for each in publishers))

    def _open_inputs(self) -> None:
        parts = self._configured()
        config, core = parts.config, parts.core
        for topic in config.image_topics:
            compressed = config.is_compressed(self.resolve_topic_name(topic))
            take = functools.partial(core.receive_image, topic)
            self._subscribe(
                CompressedImage if compressed else Image, topic, take, IMAGE_QOS[config.reliability]
            )
        if config.policy:
            self._subscribe(JointState, config.joint_topic, core.receive_joints, JOINT_QOS)

    def _subscribe(
        self, kind: Any, topic: str, take: Callable[[Any], object], qos: QoSProfile
    ) -> None:
        try:
            made = self.create_subscription(kind, topic, take, qos)
        except Exception as error:
            self._log_error(f"{topic} cannot be subscribed to", error)
            return
        self._configured().inputs.append(made)

    def _close_inputs(self) -> None:
        inputs = self._configured().inputs
        for each in inputs:
            self.destroy_subscription(each)
        inputs.clear()

    def _switch(self, request: Any, response: Any) -> Any:
        demand = self._parts.demand if self._parts else None
        response.success = demand is not None
        if demand:
            response.message = demand.switch(request.data)
        else:
            response.message = (
                "the node is not active: ros2 lifecycle set "
                f"{self.get_fully_qualified_name()} activate"
            )
        return response

    # ------------------------------------------------------------------ output
    def _publish_embedding(self, result: EmbeddingResult) -> None:
        """Called from the encoder's thread; rclpy's publishers may be."""
        parts = self._configured()
        if self.context.ok():  # else the process is ending
            message = embedding_message(parts.types, result, parts.core.model, parts.config.stamped)
            parts.embeddings[result.channel].publish(message)

    def _act(self) -> None:
        parts = self._configured()
        if not (parts.demand and parts.demand.flowing):
            return  # switched off; what was seen before must not be acted on
        action, rate = parts.core.tick(), parts.core.control_hz
        if action and rate and self.context.ok():
            name = Path(parts.config.policy).name
            parts.actions.publish(
                action_message(parts.types, action, name, rate, parts.config.stamped)
            )

    def _diagnose(self) -> None:
        parts, stamp = self._configured(), self.get_clock().now().to_msg()
        name, statuses = self.get_fully_qualified_name().lstrip("/"), parts.core.diagnostics()
        message = diagnostics_message(parts.types, statuses, stamp, name, parts.hardware_id)
        if self.context.ok():
            parts.diagnostics.publish(message)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _log(self, level: Level, text: str) -> None:
        """One line for each level: rclpy lets no line log at two."""
        if level == Level.ERROR:
            self.get_logger().error(text)
        elif level == Level.WARN:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    def _log_error(self, what: str, error: Exception) -> None:
        self._log(Level.ERROR, f"{what}: {words_of(error)}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end.

    Args:
        args: as ``sys.argv``, which it is when not given.

    Returns:
        The exit code: 0 after Ctrl-C or a shutdown, 1 where the node could not be made.
    """
    words = list(sys.argv if args is None else args)
    parser = argparse.ArgumentParser(
        "encoder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(remove_ros_args(words)[1:])
    sys.setswitchinterval(SWITCH_S)
    rclpy.init(args=words)
    node = None
    try:
        node = EncoderNode()
        if node.autostart:
            node.start()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ParameterException as error:
        print(f"encoder: {error}", file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
