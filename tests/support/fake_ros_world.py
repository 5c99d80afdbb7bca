"""World of the nodes of ``fake_rclpy``: transport, time, publishers, timers and logs."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Protocol

from support.fake_rosidl import message_class

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS


class RCLError(RuntimeError):
    """As ``_rclpy_pybind11.RCLError``."""


class InvalidHandle(Exception):
    """As ``rclpy.exceptions.InvalidHandle``."""


# ---------------------------------------------------------------------------- quality of service
class HistoryPolicy(Enum):
    KEEP_LAST = 1
    KEEP_ALL = 2


class ReliabilityPolicy(Enum):
    RELIABLE = 1
    BEST_EFFORT = 2


class DurabilityPolicy(Enum):
    TRANSIENT_LOCAL = 1
    VOLATILE = 2


@dataclass(frozen=True)
class QoSProfile:
    depth: int
    history: HistoryPolicy = HistoryPolicy.KEEP_LAST
    reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE
    durability: DurabilityPolicy = DurabilityPolicy.VOLATILE


def incompatible(offered: QoSProfile, requested: QoSProfile) -> str:
    """Return the policy that makes a publisher and a subscription incompatible, or ""."""
    best_effort = offered.reliability is ReliabilityPolicy.BEST_EFFORT
    if best_effort and requested.reliability is ReliabilityPolicy.RELIABLE:
        return "RELIABILITY"
    volatile = offered.durability is DurabilityPolicy.VOLATILE
    if volatile and requested.durability is DurabilityPolicy.TRANSIENT_LOCAL:
        return "DURABILITY"
    return ""


# --------------------------------------------------------------------------------- transport
class Transport(Protocol):
    """Carries messages between writers and readers; both have ``topic``, ``type`` and ``qos``."""

    def open_writer(self, publisher: Publisher) -> None: ...
    def open_reader(self, subscription: Subscription) -> None: ...
    def close(self, end: Any) -> None: ...
    def write(self, publisher: Publisher, message: Any) -> None: ...
    def matched(self, publisher: Publisher) -> int: ...
    def receive(self) -> None: ...


class Memory:
    """Transport within the process; each reader gets a copy, as after serialization."""

    def __init__(self) -> None:
        self.writers: list[Publisher] = []
        self.readers: list[Subscription] = []
        self.kept: dict[Publisher, list[Any]] = {}  # of transient-local writers

    def open_writer(self, publisher: Publisher) -> None:
        self.writers.append(publisher)
        for reader in list(self.readers):
            self._match(publisher, reader)

    def open_reader(self, subscription: Subscription) -> None:
        self.readers.append(subscription)
        late = subscription.qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
        for writer in list(self.writers):
            if self._match(writer, subscription) and late:
                for message in self.kept.get(writer, []):
                    subscription.put(copy.deepcopy(message))

    def _match(self, writer: Publisher, reader: Subscription) -> bool:
        if (writer.topic_name, writer.msg_type) != (reader.topic_name, reader.msg_type):
            return False
        policy = incompatible(writer.qos_profile, reader.qos_profile)
        if policy and (writer, reader) not in reader.told:
            reader.told.append((writer, reader))
            reader.node.get_logger().warning(
                f"New publisher discovered on topic '{reader.topic_name}', offering incompatible "
                f"QoS. No messages will be received from it. Last incompatible policy: {policy}"
            )
        return not policy

    def close(self, end: Any) -> None:
        for ends in (self.writers, self.readers):
            if end in ends:
                ends.remove(end)
        if isinstance(end, Publisher):
            self.kept.pop(end, None)

    def write(self, publisher: Publisher, message: Any) -> None:
        if publisher.qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL:
            depth = publisher.qos_profile.depth
            self.kept[publisher] = [*self.kept.get(publisher, []), message][-depth:]
        for reader in list(self.readers):
            if self._match(publisher, reader):
                reader.put(copy.deepcopy(message))

    def matched(self, publisher: Publisher) -> int:
        return sum(self._match(publisher, reader) for reader in list(self.readers))

    def receive(self) -> None:
        """Do nothing, as no message is in transit."""


# -------------------------------------------------------------------------- time and the world
@dataclass
class World:
    """All nodes of a test with their transport, time and logs; ``context`` is ``world``."""

    transport: Transport = field(default_factory=Memory)
    nodes: list[Any] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    steady_ns: int = 5 * NS
    sim_ns: int = 0
    is_ok: bool = True
    on_spin: Callable[[], None] = lambda: None

    def ok(self) -> bool:
        return self.is_ok

    @property
    def system_ns(self) -> int:
        return START_NS + self.steady_ns

    def spin_some(self) -> None:
        """Run waiting callbacks of subscriptions and of due timers."""
        self.transport.receive()
        for node in list(self.nodes):
            for timer in list(node._timers):
                timer.run_if_due()
            for subscription in list(node._subscriptions):
                subscription.run()

    def forward(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time pass, also simulated time if it is used."""
        for _ in range(max(1, round(seconds / step_s))):
            self.steady_ns += round(step_s * NS)
            self.sim_ns += round(step_s * NS) if self.sim_ns else 0
            self.spin_some()

    def logged(self, severity: str) -> list[str]:
        return [text for kind, text in self.logs if kind == severity]

    def call(self, name: str, request: Any) -> Any:
        """Call a service as a client does."""
        found = [s for node in self.nodes for s in node._services if s.srv_name == name]
        assert found, f"there is no service {name}"
        response = found[0].callback(request, found[0].srv_type.Response())
        assert isinstance(response, found[0].srv_type.Response)
        return response


THE: list[World] = []
"""Worlds; the last one is that of the running test."""


def world() -> World:
    return THE[-1]


class ClockType(IntEnum):
    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3


class Time:
    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def to_msg(self) -> Any:
        sec, nanosec = divmod(self.nanoseconds, NS)
        return message_class("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)


class Clock:
    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        self.clock_type = clock_type
        self.simulated = False

    def now(self) -> Time:
        if self.clock_type is ClockType.STEADY_TIME:
            return Time(world().steady_ns)
        return Time(world().sim_ns if self.simulated else world().system_ns)


class Timer:
    def __init__(self, period_s: float, callback: Callable[[], object], clock: Clock) -> None:
        self.period_ns = int(float(period_s) * NS)
        self.callback, self.clock = callback, clock
        self.due_ns = clock.now().nanoseconds + self.period_ns
        self.alive = True

    def run_if_due(self) -> None:
        now = self.clock.now().nanoseconds
        if self.alive and now >= self.due_ns and now:
            self.due_ns = max(self.due_ns + self.period_ns, now)
            self.callback()


# ----------------------------------------------------------------------- publishers and others
class Publisher:
    def __init__(self, node: Any, kind: type, topic: str, qos: QoSProfile) -> None:
        self.node, self.msg_type, self.qos_profile = node, kind, qos
        self.topic_name, self.alive = topic, True
        world().transport.open_writer(self)

    def publish(self, message: Any) -> None:
        if not self.alive:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        if not world().ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        if not isinstance(message, self.msg_type):
            raise TypeError(f"Expected {self.msg_type}, got {type(message)}")
        world().transport.write(self, message)

    def get_subscription_count(self) -> int:
        if not self.alive:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        return world().transport.matched(self)


class LifecyclePublisher(Publisher):
    is_activated = False

    def publish(self, message: Any) -> None:
        if self.is_activated:
            super().publish(message)


class Subscription:
    def __init__(
        self, node: Any, kind: type, topic: str, callback: Callable[[Any], Any], qos: QoSProfile
    ) -> None:
        self.node, self.msg_type, self.qos_profile = node, kind, qos
        self.topic_name, self.callback, self.alive = topic, callback, True
        assert qos.history is HistoryPolicy.KEEP_LAST
        self.queue: deque[Any] = deque(maxlen=qos.depth)
        self.told: list[Any] = []
        world().transport.open_reader(self)

    def put(self, message: Any) -> None:
        self.queue.append(message)

    def run(self) -> None:
        while self.alive and self.queue:
            self.callback(self.queue.popleft())


@dataclass
class Service:
    srv_type: Any
    srv_name: str
    callback: Callable[[Any, Any], Any]


class Logger:
    def __init__(self) -> None:
        self._severities: dict[Any, str] = {}

    def _log(self, message: Any, severity: str) -> None:
        frame = sys._getframe(2)
        place = frame.f_code.co_filename, frame.f_lineno, frame.f_lasti
        if self._severities.setdefault(place, severity) != severity:
            raise ValueError("Logger severity cannot be changed between calls.")
        assert isinstance(message, str)
        world().logs.append((severity, message))

    def info(self, message: str) -> None:
        self._log(message, "info")

    def warning(self, message: str) -> None:
        self._log(message, "warning")

    def error(self, message: str) -> None:
        self._log(message, "error")
