"""A recorder of ROS 2: writes the messages of topics to a bag, byte for byte.

It is for machines whose ROS 2 is made of wheels, which have no ``ros2 bag``. Messages are not read,
so any type can be recorded whose definition is installed.
"""

# rclpy and the message packages come with ROS 2; most environments have none of them.
# pyright: reportMissingImports=false

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from s2robot.data.rosbag.writing import BagWriter, check_place, writing_bag
from s2robot.errors import S2RobotError
from s2robot.plugins.ros.missing_ros import not_a_topic
from s2robot.plugins.ros.ros2_support import begin_ros, until_ros_ends
from s2robot.utils.console import OUTPUT

NODE_NAME = "s2robot_recorder"
LOOK_S = 0.2
"""Time between two looks for publishers of topics that have none yet [s]."""
TELL_S = 5.0
"""Time after which a topic without publisher is told, once [s]."""
DEPTH = 30
"""Messages of a topic that may wait to be written: a second of a camera."""


@dataclass(frozen=True)
class RecorderSettings:
    """What is recorded, and where."""

    out: Path
    """NAME.mcap, or NAME for a folder with metadata.yaml."""
    topics: tuple[str, ...]
    seconds: float | None = None
    """From the first message on [s]; until it is interrupted when not given."""
    force: bool = False
    """Whether an existing bag may be replaced."""


def run(settings: RecorderSettings, args: Sequence[str] | None = None) -> int:
    """Record until the time is over or the process is asked to end, and return the exit status.

    Args:
        settings: what to record, and where.
        args: the command line with its arguments of ROS, the program's name first.

    Raises:
        ValueError: a bag cannot be there, a topic's name is invalid, or rclpy refuses its
            arguments.
        S2RobotError: no message arrived, or a type's definition is not installed. No bag is made.
        DiskFullError: the disk is full.
    """
    check_place(settings.out, settings.force)
    begin_ros(args)
    try:
        with writing_bag(settings.out, settings.force) as bag:
            recorder = Recorder(bag, settings)
            with until_ros_ends():
                recorder.spin()
            recorder.check()
    finally:
        rclpy.try_shutdown()
    OUTPUT.print(f"{settings.out}: {recorder.summary()}")
    return 0


class Recorder:
    """A node whose subscriptions write to a bag.

    Args:
        bag: gets the messages, with the time of their arrival as log time.
        settings: topics and duration.

    Raises:
        ValueError: a topic's name is invalid.
    """

    def __init__(self, bag: BagWriter, settings: RecorderSettings) -> None:
        self.node = rclpy.create_node(NODE_NAME, start_parameter_services=False)
        self.bag, self.settings = bag, settings
        self.topics = [self._resolved(name) for name in settings.topics]
        self.counts: dict[str, int] = {}
        """Messages of each topic that has a publisher."""
        self._first_s: float | None = None
        self._last_s = 0.0

    def _resolved(self, name: str) -> str:
        try:
            return self.node.resolve_topic_name(name)
        except (NameValidationException, RuntimeError) as error:  # RCLError
            raise ValueError(not_a_topic(name, error)) from None

    def spin(self) -> None:
        """Receive messages until the time is over, or ROS ends."""
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        begun, looked, told = time.monotonic(), -LOOK_S, False
        while rclpy.ok() and not self._is_over():
            now = time.monotonic()
            missing = [topic for topic in self.topics if topic not in self.counts]
            if missing and now - looked >= LOOK_S:
                looked = now
                for topic in missing:
                    self._subscribe(topic)
            if missing and not told and now - begun >= TELL_S:
                told = True
                self.node.get_logger().warning(
                    f"no publisher yet of {', '.join(missing)}; {self._topics_there()}"
                )
            executor.spin_once(timeout_sec=LOOK_S / 2)

    def _is_over(self) -> bool:
        seconds = self.settings.seconds
        if seconds is None or self._first_s is None:
            return False
        return time.monotonic() - self._first_s >= seconds

    def _subscribe(self, topic: str) -> None:
        """Subscribe once a topic has a publisher, with the best quality that all of them offer."""
        offers = self.node.get_publishers_info_by_topic(topic)
        if not offers:
            return
        kind = offers[0].topic_type
        profiles = [offer.qos_profile for offer in offers]
        reliable = all(each.reliability == ReliabilityPolicy.RELIABLE for each in profiles)
        latched = all(each.durability == DurabilityPolicy.TRANSIENT_LOCAL for each in profiles)
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        types = installed_types(kind)
        connection = self.bag.add_topic(topic, kind, types, latched=latched)
        self.counts[topic] = 0
        write = self._writer(topic, connection)
        self.node.create_subscription(_class_of(kind), topic, write, qos, raw=True)
        self.node.get_logger().info(f"recording {topic} ({kind})")

    def _writer(self, topic: str, connection: Connection) -> Callable[[bytes], None]:
        def write(raw: bytes) -> None:
            self.bag.write(connection, time.time_ns(), raw)
            self.counts[topic] += 1
            if self.counts[topic] == 1:
                self.node.get_logger().info(f"the first message of {topic} is recorded")
            self._last_s = time.monotonic()
            if self._first_s is None:
                self._first_s = self._last_s

        return write

    def _topics_there(self) -> str:
        own = f"/{NODE_NAME}"
        found = [name for name, _ in self.node.get_topic_names_and_types()]
        shown = sorted(name for name in found if not name.startswith(own))
        return f"topics here: {', '.join(shown)}"

    def check(self) -> None:
        """Refuse a recording without messages.

        Raises:
            S2RobotError: no topic had one.
        """
        if not any(self.counts.values()):
            raise S2RobotError(
                f"no message of {', '.join(self.topics)} arrived, so there is no bag; start what "
                "publishes, in the same ROS_DOMAIN_ID, and record again"
            )

    def summary(self) -> str:
        """Return what was recorded, in words."""
        parts = [f"{self.counts.get(topic, 0)} of {topic}" for topic in self.topics]
        seconds = self._last_s - (self._first_s or self._last_s)
        return f"messages over {seconds:.1f} s: {', '.join(parts)}"


def installed_types(kind: str) -> Typestore:
    """Return the definitions of a type and of all that it holds, as they are installed.

    Args:
        kind: such as "sensor_msgs/msg/Image".

    Raises:
        S2RobotError: a definition is not installed.
    """
    store = get_typestore(Stores.EMPTY)
    wanted = [kind]
    while wanted:
        name = wanted.pop()
        if name in store.fielddefs:
            continue
        found = get_types_from_msg(_definition(name).read_text(encoding="utf-8"), name)
        store.register(found)
        for _, fields in found.values():
            wanted += [each for _, field in fields for each in _names_in(field)]
    return store


def _names_in(field: Any) -> list[str]:
    """Return the names of other types in the type of a field."""
    node, content = field
    if node == Nodetype.NAME:
        return [content]
    return _names_in(content[0]) if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) else []


def _definition(kind: str) -> Path:
    """Return the file of a type's definition, beside the Python package of its messages.

    Wheels have no index of packages, by which an installed ROS is searched.
    """
    if not re.fullmatch(r"[a-z]\w*/msg/[A-Z]\w*", kind):
        raise S2RobotError(f"{kind!r} is no type of messages; allowed: PACKAGE/msg/NAME")
    package, _, name = kind.split("/")
    spec = importlib.util.find_spec(package)
    origin = Path(spec.origin) if spec is not None and spec.origin else Path()
    for folder in origin.resolve().parents:
        path = folder / "share" / package / "msg" / f"{name}.msg"
        if path.is_file():
            return path
    raise S2RobotError(
        f"the definition of {kind} is not installed (share/{package}/msg/{name}.msg beside its "
        "Python package); install or build its package, and source the workspace"
    )


def _class_of(kind: str) -> Any:
    """Return the Python class of a type whose definition is installed; rclpy subscribes by it."""
    package, _, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
