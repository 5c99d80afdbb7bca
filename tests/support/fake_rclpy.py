"""Stand-in for rclpy: the functions that the node calls, with rclpy's rules and test time.

It follows the sources of Humble, whose rules are the strictest: parameters have a type unless they
are declared dynamic; a transition that a state does not have raises; a line of code logs at one
severity only; a destroyed or inactive publisher publishes nothing. Messages travel by a
``Transport``: in memory here, over DDS in ``dds_transport``.
"""

from __future__ import annotations

import re
import sys
import types
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import yaml

from support import fake_rosidl
from support.fake_ros_world import (
    THE,
    Clock,
    ClockType,
    DurabilityPolicy,
    HistoryPolicy,
    Logger,
    Memory,
    Publisher,
    QoSProfile,
    ReliabilityPolicy,
    Service,
    Subscription,
    Timer,
    Transport,
    World,
    world,
)
from support.fake_rosidl import message_class


class ExternalShutdownException(Exception):
    """As ``rclpy.executors.ExternalShutdownException``."""


class ParameterException(Exception):
    """As ``rclpy.exceptions.ParameterException``; all kinds are this one."""


class InvalidTopicNameException(Exception):
    """As ``rclpy.exceptions.InvalidTopicNameException``."""


# -------------------------------------------------------------------------------- parameters
class ParameterType(IntEnum):
    NOT_SET = 0
    BOOL = 1
    INTEGER = 2
    DOUBLE = 3
    STRING = 4
    BYTE_ARRAY = 5
    BOOL_ARRAY = 6
    INTEGER_ARRAY = 7
    DOUBLE_ARRAY = 8
    STRING_ARRAY = 9

    @classmethod
    def of(cls, value: Any) -> ParameterType:
        kinds = (bytes, bool, int, float, str)
        if value is None:
            return cls.NOT_SET
        if isinstance(value, (list, tuple, array)):
            for number, kind in enumerate(kinds, cls.BYTE_ARRAY):
                if all(isinstance(each, kind) for each in value):  # [] is of bytes
                    return cls(number)
        for number, kind in enumerate(kinds[1:], cls.BOOL):
            if isinstance(value, kind):
                return cls(number)
        raise TypeError(f"The given value is not one of the allowed types {value!r}")


class Parameter:
    def __init__(self, name: str, value: Any = None) -> None:
        self.name, self.type_ = name, ParameterType.of(value)
        numbers = {ParameterType.INTEGER_ARRAY: "q", ParameterType.DOUBLE_ARRAY: "d"}
        code = numbers.get(self.type_)
        self.value = array(code, value) if code else value


EmbeddingResult = message_class("rcl_interfaces/msg/SetParametersResult")
Descriptor = message_class("rcl_interfaces/msg/ParameterDescriptor")


class Node:
    """A node; ``world.args`` holds the process's ``--ros-args``."""

    def __init__(
        self,
        node_name: str,
        *,
        namespace: str = "",
        parameter_overrides: Sequence[Parameter] = (),
        use_global_arguments: bool = True,
    ) -> None:
        self.context = world()
        if not self.context.ok():
            raise RuntimeError("cannot create node")
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, Any] = {}
        self._parameter_overrides: dict[str, Parameter] = {}
        self._remaps: dict[str, str] = {}
        self._set_callbacks: list[Callable[[list[Parameter]], Any]] = []
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._clock, self._logger = Clock(clock_type=ClockType.ROS_TIME), Logger()
        if use_global_arguments:
            self._take_arguments()
        self._name = self._remaps.pop("__node", node_name)
        self._namespace = "/" + self._remaps.pop("__ns", namespace).strip("/")
        self._parameter_overrides |= {each.name: each for each in parameter_overrides}
        self.declare_parameter("use_sim_time", False)
        self._clock.simulated = self.get_parameter("use_sim_time").value is True
        self.context.nodes.append(self)

    def _take_arguments(self) -> None:
        given = iter(self.context.args)
        for word in given:
            if word in ("-p", "-r"):
                name, text = next(given).split(":=", 1)
                if word == "-r":
                    self._remaps[name] = text
                else:
                    self._override({name: yaml.safe_load(text)})
            elif word == "--params-file":
                with open(next(given), encoding="utf-8") as file:
                    self._override(yaml.safe_load(file)["/**"]["ros__parameters"])

    def _override(self, values: dict[str, Any]) -> None:
        """Convert [] to a parameter without a value, as rcl does."""
        for name, value in values.items():
            self._parameter_overrides[name] = Parameter(name, None if value == [] else value)

    def get_name(self) -> str:
        return self._name

    def get_fully_qualified_name(self) -> str:
        return f"{self._namespace.rstrip('/')}/{self._name}"

    def get_clock(self) -> Clock:
        return self._clock

    def get_logger(self) -> Logger:
        return self._logger

    @property
    def services(self) -> Iterator[Service]:
        yield from self._services

    # --- parameters
    def declare_parameter(self, name: str, value: Any = None, descriptor: Any = None) -> Parameter:
        descriptor = descriptor or Descriptor()
        if name in self._parameters:
            raise ParameterException(f"Parameter(s) already declared: {[name]}")
        if not descriptor.dynamic_typing:
            descriptor.type = int(ParameterType.of(value))
        if name in self._parameter_overrides:
            value = self._parameter_overrides[name].value
        result = self._set(Parameter(name, value), descriptor, declaring=True)
        if not result.successful:
            raise ParameterException(result.reason)
        return self._parameters[name]

    def _set(self, parameter: Parameter, descriptor: Any, declaring: bool = False) -> Any:
        if descriptor.read_only and not declaring:
            return EmbeddingResult(successful=False, reason="Trying to set a read-only parameter")
        if descriptor.dynamic_typing:
            descriptor.type = int(parameter.type_)
        elif parameter.type_ != descriptor.type:
            expected = ParameterType(descriptor.type).name
            text = f"Wrong parameter type, expected '{expected}' got '{parameter.type_.name}'"
            return EmbeddingResult(successful=False, reason=text)
        for callback in self._set_callbacks:
            result = callback([parameter])
            assert isinstance(result, EmbeddingResult)
            if not result.successful:
                return result
        if parameter.type_ is ParameterType.NOT_SET and not declaring:
            del self._parameters[parameter.name], self._descriptors[parameter.name]
        else:
            self._parameters[parameter.name] = parameter
            self._descriptors[parameter.name] = descriptor
        return EmbeddingResult(successful=True)

    def set_parameters(self, parameters: Sequence[Parameter]) -> list[Any]:
        for each in parameters:
            if each.name not in self._parameters:
                raise ParameterException(f"Invalid access to undeclared parameter(s): {each.name}")
        return [self._set(each, self._descriptors[each.name]) for each in parameters]

    def has_parameter(self, name: str) -> bool:
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        if name not in self._parameters:
            raise ParameterException(f"Invalid access to undeclared parameter(s): {name}")
        return self._parameters[name]

    def describe_parameter(self, name: str) -> Any:
        return self._descriptors[name]

    def add_on_set_parameters_callback(self, callback: Callable[[list[Parameter]], Any]) -> None:
        self._set_callbacks.insert(0, callback)

    # --- names
    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        if not re.fullmatch(r"(~?/|~$)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", topic, re.ASCII):
            raise InvalidTopicNameException(f"Invalid topic name: {topic!r}")
        expanded = topic.replace("~", self.get_fully_qualified_name(), 1)
        if not expanded.startswith("/"):
            expanded = f"{self._namespace.rstrip('/')}/{expanded}"
        if only_expand:
            return expanded
        for name, other in self._remaps.items():
            if topic == name or expanded == self.resolve_topic_name(name, only_expand=True):
                return self.resolve_topic_name(other, only_expand=True)
        return expanded

    def get_publishers_info_by_topic(self, topic_name: str) -> list[Any]:
        """Return none: this stand-in describes no publishers; tests on rclpy do."""
        del topic_name
        return []

    # --- ends
    def create_publisher(
        self, msg_type: type, topic: str, qos_profile: QoSProfile, *, publisher_class: Any = None
    ) -> Any:
        assert isinstance(qos_profile, QoSProfile)
        made = (publisher_class or Publisher)(
            self, msg_type, self.resolve_topic_name(topic), qos_profile
        )
        self._publishers.append(made)
        return made

    def create_subscription(
        self, msg_type: type, topic: str, callback: Callable[[Any], Any], qos_profile: QoSProfile
    ) -> Subscription:
        assert isinstance(qos_profile, QoSProfile)
        made = Subscription(self, msg_type, self.resolve_topic_name(topic), callback, qos_profile)
        self._subscriptions.append(made)
        return made

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[[Any, Any], Any]
    ) -> Service:
        made = Service(srv_type, self.resolve_topic_name(srv_name), callback)
        self._services.append(made)
        return made

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], object],
        callback_group: None = None,
        clock: Clock | None = None,
    ) -> Timer:
        made = Timer(timer_period_sec, callback, clock or self._clock)
        self._timers.append(made)
        return made

    def _destroy(self, ends: list[Any], end: Any) -> bool:
        if end not in ends:
            return False
        ends.remove(end)
        end.alive = False
        world().transport.close(end)
        return True

    def destroy_publisher(self, publisher: Any) -> bool:
        return self._destroy(self._publishers, publisher)

    def destroy_subscription(self, subscription: Any) -> bool:
        return self._destroy(self._subscriptions, subscription)

    def destroy_service(self, service: Any) -> bool:
        return self._destroy(self._services, service)

    def destroy_timer(self, timer: Any) -> bool:
        return self._destroy(self._timers, timer)

    def destroy_node(self) -> None:
        for ends in (self._publishers, self._subscriptions, self._services, self._timers):
            while ends:
                self._destroy(ends, ends[0])
        if self in self.context.nodes:
            self.context.nodes.remove(self)


def remove_ros_args(args: Sequence[str]) -> list[str]:
    """Return the command line without the arguments of ROS."""
    kept, inside = [], False
    for word in args:
        inside = (inside or word == "--ros-args") and word != "--"
        if not inside and word != "--":
            kept.append(word)
    return kept


def init(*, args: Sequence[str] | None = None) -> None:
    """Store the arguments; the world exists already."""
    world().args = list(args or ())


def spin(node: Node) -> None:
    """Run until the test ends it."""
    while world().ok():
        world().on_spin()
        world().spin_some()


def ok() -> bool:
    """Return whether the test has not ended ROS."""
    return world().ok()


def try_shutdown() -> None:
    world().is_ok = False


@contextmanager
def installed(transport: Transport | None = None, without: Sequence[str] = ()) -> Iterator[World]:
    """Make rclpy and the message packages importable, and the node's module with them."""
    from support.fake_lifecycle import lifecycle_module

    contents: dict[str, dict[str, Any]] = {
        "rclpy": {"init": init, "spin": spin, "try_shutdown": try_shutdown, "ok": ok},
        "rclpy.clock": {"Clock": Clock, "ClockType": ClockType},
        "rclpy.exceptions": {"ParameterException": ParameterException},
        "rclpy.executors": {"ExternalShutdownException": ExternalShutdownException},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {
            each.__name__: each
            for each in (HistoryPolicy, ReliabilityPolicy, DurabilityPolicy, QoSProfile)
        },
        "rclpy.utilities": {"remove_ros_args": remove_ros_args},
        "rclpy.lifecycle": lifecycle_module(),
    }
    made: dict[str, Any] = dict(fake_rosidl.modules(without))
    for name, members in contents.items():
        made[name] = types.ModuleType(name)
        vars(made[name]).update(members)
    parts = ("", "_publishers", "_subscriptions", "_support")
    ours = [f"s2robot.plugins.ros.ros2{part}" for part in parts]
    before = {name: sys.modules.pop(name) for name in (*made, *ours) if name in sys.modules}
    sys.modules.update(made)
    THE.append(World(transport or Memory()))
    try:
        yield world()
    finally:
        for node in list(world().nodes):
            node.destroy_node()
        THE.pop()
        for name in (*made, *ours):
            sys.modules.pop(name, None)
        sys.modules.update(before)
