"""Transport of ``fake_rclpy``'s messages over DDS, with the names and codecs of ROS 2.

A topic ``/a/b`` is "rt/a/b", a type ``pkg/msg/Name`` is "pkg::msg::dds_::Name_", bytes are XCDR1
(here rosbags'). It stays on the loopback interface, without multicast.
"""

from __future__ import annotations

import itertools
import os
from functools import cache
from typing import Any

from cyclonedds.core import Listener
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct, make_idl_struct, types
from cyclonedds.idl.annotations import final
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from rosbags.interfaces import Nodetype

from support.fake_ros_world import (
    DurabilityPolicy,
    Publisher,
    QoSProfile,
    ReliabilityPolicy,
    Subscription,
)
from support.fake_rosidl import from_store, to_store, typestore

CONFIG = """\
<CycloneDDS><Domain>
  <General>
    <Interfaces><NetworkInterface name="lo"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
</Domain></CycloneDDS>
"""


_numbers = itertools.count(os.getpid())


@cache
def idl_class(name: str) -> type[IdlStruct]:
    """Return the DDS type of a ROS message, named as rosidl names it; all of it is final."""
    package, _, leaf = name.split("/")
    _, fields = typestore().fielddefs[name]
    made = make_idl_struct(
        f"{leaf}_", f"{package}::msg::dds_::{leaf}_", {key: _idl(node) for key, node in fields}
    )
    return final(made)


def _idl(node: Any) -> Any:
    kind, detail = node
    if kind is Nodetype.SEQUENCE:
        return types.sequence[_idl(detail[0])]
    if kind is Nodetype.NAME:
        return idl_class(detail)
    plain = {"string": str, "bool": bool}
    return plain.get(detail[0]) or getattr(types, detail[0])


@cache
def wire_class(name: str) -> type[IdlStruct]:
    """Return the type with rosbags' codec, which is a hundred times faster for images."""

    def serialize(self: Any, **_: Any) -> bytes:
        return bytes(typestore().serialize_cdr(to_store(self.message), name))

    def deserialize(cls: Any, data: Any, **_: Any) -> Any:
        return holding(cls, from_store(typestore().deserialize_cdr(data, name), name))

    made = idl_class.__wrapped__(name)
    made.serialize = serialize  # pyright: ignore[reportAttributeAccessIssue]
    made.deserialize = classmethod(deserialize)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def holding(kind: type[IdlStruct], message: Any) -> Any:
    """Return a sample of a wire class with a message."""
    made: Any = object.__new__(kind)
    made.message = message
    return made


def dds_qos(profile: QoSProfile) -> Qos:
    """Return a profile as rmw_cyclonedds translates it."""
    if profile.reliability is ReliabilityPolicy.RELIABLE:
        reliability = Policy.Reliability.Reliable(duration(milliseconds=100))
    else:
        reliability = Policy.Reliability.BestEffort
    kept = profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
    return Qos(
        reliability,
        Policy.Durability.TransientLocal if kept else Policy.Durability.Volatile,
        Policy.History.KeepLast(profile.depth),
        Policy.DataRepresentation(use_cdrv0_representation=True),
    )


class DDS:
    """A ``Transport`` in a separate domain, so that other tests are not received."""

    def __init__(self) -> None:
        self.number = 20 + next(_numbers) % 200
        self.domain = Domain(self.number, CONFIG)
        self.participant = DomainParticipant(self.number)
        self.writers: dict[Publisher, Any] = {}
        self.readers: dict[Subscription, Any] = {}
        self.refused: list[Subscription] = []

    def _topic(self, end: Publisher | Subscription) -> Topic[Any]:
        return Topic(self.participant, f"rt{end.topic_name}", wire_class(end.msg_type._name))

    def open_writer(self, publisher: Publisher) -> None:
        topic, qos = self._topic(publisher), dds_qos(publisher.qos_profile)
        self.writers[publisher] = DataWriter(self.participant, topic, qos)

    def open_reader(self, subscription: Subscription) -> None:
        def refuse(*_: Any) -> None:
            self.refused.append(subscription)

        self.readers[subscription] = DataReader(
            self.participant,
            self._topic(subscription),
            dds_qos(subscription.qos_profile),
            Listener(on_requested_incompatible_qos=refuse),
        )

    def close(self, end: Any) -> None:
        self.writers.pop(end, None)
        self.readers.pop(end, None)

    def write(self, publisher: Publisher, message: Any) -> None:
        self.writers[publisher].write(holding(wire_class(message._name), message))

    def matched(self, publisher: Publisher) -> int:
        return len(self.writers[publisher].get_matched_subscriptions())

    def receive(self) -> None:
        for subscription, reader in list(self.readers.items()):
            for sample in reader.take(N=100):
                subscription.put(sample.message)
