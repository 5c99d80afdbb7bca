"""The ROS 2 node: camera images to embeddings and, with a policy, to actions.

The node configures and activates itself, so this is enough:

    ros2 run s2robot_ros encoder --ros-args -r image:=/camera/image_raw

Every field of ``NodeConfig`` is a parameter, read when the node is configured:

    ros2 run s2robot_ros encoder --ros-args -p "image_topics:=[/left/image_raw, /right/image_raw]"
    ros2 run s2robot_ros encoder --ros-args -p policy:=/data/policy.safetensors
    ros2 run s2robot_ros encoder --ros-args --params-file encoder.yaml
    ros2 launch s2robot_ros encoder.launch.py image:=/camera/image_raw
    ros2 param describe /s2robot_encoder lazy

It is a managed node (lifecycle node). To change a parameter:

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

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from s2robot.plugins.ros.missing_ros import end_without_ros

try:
    from rclpy.clock import Clock, ClockType
except ImportError as error:
    end_without_ros("rclpy", error, __name__)

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool

from s2robot.plugins.ros.core import (
    POLL_S,
    SWITCH_S,
    EmbeddingResult,
    LazySubscription,
    Level,
    LogThrottle,
    MessageBuilder,
    NodeConfig,
    NodeCore,
)
from s2robot.plugins.ros.core.config import RENAMED_PARAMETERS, embedding_topics
from s2robot.plugins.ros.parameters import AUTOSTART, CONFIG_PARAMETERS, HARDWARE_ID, NODE_NAME
from s2robot.plugins.ros.ros2_publishers import Publishers
from s2robot.plugins.ros.ros2_subscriptions import Subscriptions
from s2robot.plugins.ros.ros2_support import (
    begin_ros,
    check_topics,
    config_of,
    declare_parameters,
    error_text,
    log,
    message_types,
    own_words,
    reject_invalid_transitions,
    spin,
    unknown_parameters,
    until_ros_ends,
    value_of,
    with_known_output,
)

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_READ_ONCE = {*CONFIG_PARAMETERS, *RENAMED_PARAMETERS, HARDWARE_ID}


@dataclass
class _Parts:
    """Parts of a configured node; ``subscription`` and ``timers`` exist while it is active."""

    config: NodeConfig
    core: NodeCore
    publishers: Publishers
    subscriptions: Subscriptions
    service: Any = None
    subscription: LazySubscription | None = None
    timers: list[Any] = field(default_factory=list)


class EncoderNode(LifecycleNode):
    """Lifecycle node that encodes camera images; the module's docstring shows how to use it.

    Args:
        node_name: name of the node.
        kwargs: further arguments of ``rclpy.lifecycle.LifecycleNode``.

    Raises:
        rclpy.exceptions.ParameterException: ``autostart`` is neither true nor false.
    """

    def __init__(self, node_name: str = NODE_NAME, **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        self._parts: _Parts | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._throttle = LogThrottle(self._log)
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._may_set)
        for text in unknown_parameters(self):
            self._log(Level.WARN, text)
        reject_invalid_transitions(self, functools.partial(self._log, Level.WARN))

    # ------------------------------------------------------------- parameters
    def _may_set(self, parameters: Sequence[Any]) -> SetParametersResult:
        ours = [p.name for p in parameters if p.name in _READ_ONCE]
        if self._parts is None or not ours:
            return SetParametersResult(successful=True)
        return SetParametersResult(
            successful=False,
            reason=f"{', '.join(ours)}: parameters are read when the node is configured, and it is "
            "configured now; deactivate it, clean it up, set the parameter and configure it again "
            "(ros2 lifecycle set NODE deactivate, cleanup, ...)",
        )

    @property
    def autostart(self) -> bool:
        """True if the node configures and activates itself."""
        return value_of(self, AUTOSTART)

    # ------------------------------------------------------------- life cycle
    def start(self) -> bool:
        """Configure and activate the node, and log what fails.

        Returns:
            Whether the node is active.
        """
        return self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the encoder and create the publishers."""
        try:
            self._release()
            self._parts = self._build()
            self._open(self._parts)
        except Exception as error:  # rclpy would not log it
            self._log_error("the node cannot be configured", error)
            self._release()
            return _FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to take frames."""
        super().on_activate(state)
        try:
            self._activate(self._configured())
        except Exception as error:
            self._log_error("the node cannot be activated", error)
            self._deactivate()
            super().on_deactivate(state)
            return _FAILURE
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End subscriptions, timers and the encoder's thread."""
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything that was created on configuration."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self._release()
        return super().on_error(state)

    def destroy_node(self) -> Any:
        """Stop the encoder's thread, then destroy the node."""
        if self._parts:
            self._parts.core.stop()
        return super().destroy_node()

    def _configured(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("the node is not configured")
        return self._parts

    # ---------------------------------------------------------- configuration
    def _build(self) -> _Parts:
        warn = functools.partial(self._log, Level.WARN)
        config = with_known_output(config_of(self, warn), warn)
        check_topics(self, config)
        types = message_types(config.stamped)
        core = NodeCore(config, self._publish_embedding, self._now_ns, self._log)
        messages = MessageBuilder(types, config, core.model)
        publishers = Publishers(self, core, messages, str(value_of(self, HARDWARE_ID) or ""))
        return _Parts(config, core, publishers, Subscriptions(self, core, self._log_error))

    def _open(self, parts: _Parts) -> None:
        parts.publishers.open()
        parts.service = self.create_service(SetBool, "~/enable", self._switch)

    def _release(self) -> None:
        self._deactivate()
        parts, self._parts = self._parts, None
        if parts is None:
            return
        parts.publishers.close()
        if parts.service is not None:
            self.destroy_service(parts.service)

    # ------------------------------------------------------------------ active
    def _activate(self, parts: _Parts) -> None:
        config, core = parts.config, parts.core
        self._throttle.forget()
        core.start()
        parts.subscription = LazySubscription(
            core,
            parts.subscriptions.open,
            parts.subscriptions.close,
            always=config.always_subscribed,
            on=config.start_enabled,
        )
        parts.publishers.publish_description()
        cameras = ", ".join(map(self.resolve_topic_name, config.image_topics))
        outputs = ", ".join(map(self.resolve_topic_name, embedding_topics(config).values()))
        self._log(Level.OK, f"active: frames of {cameras} become embeddings on {outputs}")
        self._count_subscribers()
        self._every(POLL_S, self._count_subscribers, self._steady)
        if config.diagnostics_hz:
            self._every(1 / config.diagnostics_hz, self._diagnose, self._steady)
        if core.control_hz:
            self._every(1 / core.control_hz, self._act, self.get_clock())

    def _deactivate(self) -> None:
        """Take every step even where one fails, and log the failure; rclpy would not log it."""
        parts = self._parts
        if parts is None:
            return
        try:
            with ExitStack() as last_first:
                for timer in parts.timers:
                    last_first.callback(self.destroy_timer, timer)
                last_first.callback(parts.core.stop)
                if parts.subscription:
                    last_first.callback(parts.subscription.close)
                parts.timers, parts.subscription = [], None
        except Exception as error:
            self._log_error("the node cannot be deactivated", error)
            raise

    def _every(self, period_s: float, call: Callable[[], None], clock: Clock) -> None:
        """Create a timer that logs what its call raises; in rclpy that would end the node."""

        def guarded() -> None:
            try:
                call()
            except Exception as error:
                text = f"{call.__name__.strip('_')} failed: {type(error).__name__}: {error}"
                self._throttle.report(call.__name__, text, Level.ERROR)

        self._configured().timers.append(self.create_timer(period_s, guarded, clock=clock))

    def _count_subscribers(self) -> None:
        parts = self._configured()
        if parts.subscription:
            parts.subscription.count(parts.publishers.count_subscribers())
            parts.subscriptions.refresh()

    def _switch(self, request: Any, response: Any) -> Any:
        subscription = self._parts.subscription if self._parts else None
        response.success = subscription is not None
        if subscription:
            response.message = subscription.switch(request.data)
        else:
            response.message = (
                "the node is not active: ros2 lifecycle set "
                f"{self.get_fully_qualified_name()} activate"
            )
        return response

    def _publish_embedding(self, result: EmbeddingResult) -> None:
        self._configured().publishers.publish_embedding(result)

    def _act(self) -> None:
        parts = self._configured()
        if not (parts.subscription and parts.subscription.flowing):
            return  # switched off: the policy must not act on earlier frames
        action = parts.core.tick()
        if action:
            parts.publishers.publish_action(action)

    def _diagnose(self) -> None:
        parts = self._configured()
        parts.publishers.publish_diagnostics(parts.subscriptions.why_silent)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _log(self, level: Level, text: str) -> None:
        log(self, level, text)

    def _log_error(self, what: str, error: Exception) -> None:
        self._log(Level.ERROR, f"{what}: {error_text(error)}")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is asked to end.

    Args:
        args: the command line, with the program's name first; ``sys.argv`` when not given.

    Returns:
        The exit code: 0 after Ctrl-C or a shutdown, 1 where the node could not be created or its
        arguments are wrong.
    """
    argv = list(sys.argv if args is None else args)
    parser = argparse.ArgumentParser(
        "encoder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sys.setswitchinterval(SWITCH_S)
    try:
        parser.parse_args(own_words(argv))
        begin_ros(argv)
    except ValueError as error:
        print(f"encoder: {error}", file=sys.stderr)
        return 1
    try:
        with until_ros_ends():
            node = EncoderNode()
            try:
                if node.autostart:
                    node.start()
                spin(node)
            finally:
                node.destroy_node()
    except ParameterException as error:
        print(f"encoder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
