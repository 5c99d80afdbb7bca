"""Copying of messages from one bag to another, also between ROS 1 and ROS 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_typestore

from s2robot.data.rosbag.messages import HEADER
from s2robot.data.rosbag.writing import BagWriter, is_latched
from s2robot.errors import CorruptFileError

_Converts = Callable[[bytes], bytes | memoryview]


class Copier:
    """Copier of messages: unchanged within one version of ROS, else serialized again.

    ROS 1 and ROS 2 differ in the layout of messages and in ``std_msgs/Header``, which has ``seq``
    in ROS 1 only: it is dropped on the way to ROS 2 and is 0 on the way to ROS 1.

    Args:
        reader: reader of the bag to copy from.
        writer: writer of the bag to copy to.
    """

    def __init__(self, reader: AnyReader, writer: BagWriter) -> None:
        self._reader, self._writer = reader, writer
        self._store = reader.typestore
        if reader.is2 != writer.ros2:
            self._store = get_typestore(Stores.EMPTY)
            header = {HEADER: writer.typestore.fielddefs[HEADER]}
            self._store.register({**reader.typestore.fielddefs, **header})
        self._copies: dict[tuple[int, Any], tuple[Connection, _Converts]] = {}

    def add(self, source: Connection) -> None:
        """Prepare the copying of a connection's messages.

        Raises:
            ValueError: the type of its messages is not defined.
        """
        qos = (
            source.ext.offered_qos_profiles
            if isinstance(source.ext, ConnectionExtRosbag2)
            else None
        )
        try:
            copy = self._writer.add_topic(
                source.topic,
                source.msgtype,
                self._store,
                self._definition(source),
                is_latched(source),
                qos,
                getattr(source.ext, "callerid", None),
            )
        except (KeyError, TypesysError):
            raise ValueError(
                f"{source.topic} cannot be copied: the bag does not define its type "
                f"{source.msgtype}, and it is not one of ROS's standard types"
            ) from None
        self._copies[source.id, source.owner] = copy, self._conversion(source.msgtype)

    def _definition(self, source: Connection) -> tuple[str, str] | None:
        """Return the definition in the bag if it can be copied unchanged, else None."""
        as_text = source.msgdef.format == MessageDefinitionFormat.MSG
        if not as_text or self._reader.is2 != self._writer.ros2:
            return None
        # A single mcap file does not hold the digests.
        return source.msgdef.data, source.digest or self._store.hash_rihs01(source.msgtype)

    def _conversion(self, kind: str) -> _Converts:
        if self._reader.is2 == self._writer.ros2:
            return bytes
        if self._reader.is2:
            return partial(self._reader.typestore.cdr_to_ros1, typename=kind)
        return partial(self._store.ros1_to_cdr, typename=kind)

    def copy(self, source: Connection, log_time_ns: int, raw: bytes) -> None:
        """Copy a message of a connection that was added.

        Args:
            source: the connection.
            log_time_ns: log time of the message [ns].
            raw: the serialized message.

        Raises:
            CorruptFileError: the message does not fit its type.
        """
        connection, convert = self._copies[source.id, source.owner]
        try:
            content = convert(raw)
        except SerdeError as error:
            raise CorruptFileError(
                f"a message of {source.topic} at {log_time_ns} ns cannot be copied ({error})"
            ) from None
        self._writer.write(connection, log_time_ns, content)
