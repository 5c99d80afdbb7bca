"""Writing of ROS 1 and ROS 2 bags, which appear only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys.store import Typestore

from s2robot.data.rosbag.messages import EMBEDDING, TEXT, embedding_message, typestore_of
from s2robot.utils.io import atomic_path, folder_beside

_FOREVER = QosTime(9223372036, 854775807)  # as ROS 2 has written it since Humble
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
_METADATA_VERSION = 8  # the oldest version of the writer; Iron and Jazzy read it


def check_place(out: Path, force: bool) -> None:
    """Refuse a path where no bag can be written.

    Args:
        out: path of the bag.
        force: whether an existing bag may be replaced.

    Raises:
        ValueError: the name has another ending, a bag exists and ``force`` is false, or something
            else than a bag of that kind exists.
    """
    if out.suffix not in ("", ".mcap", ".bag"):
        raise ValueError(
            f"{out}: the name decides the format; allowed: NAME.mcap (ROS 2), NAME.bag (ROS 1), or "
            "a NAME without a dot for a folder with metadata.yaml (ROS 2)"
        )
    if not out.exists():
        return
    if out.is_dir() and not (out / "metadata.yaml").is_file():
        raise ValueError(f"{out} is a folder that is not a bag; give another name")
    if out.is_dir() != (out.suffix == ""):
        raise ValueError(
            f"{out} exists and is not a bag of the kind that its name says; give another name"
        )
    if not force:
        raise ValueError(f"{out} exists already; give another name, or --force to replace it")


@contextmanager
def writing_bag(out: str | Path, force: bool = False) -> Iterator[BagWriter]:
    """Open a bag for writing; it gets its name once the block ends without an error.

    Args:
        out: NAME.mcap (ROS 2), NAME.bag (ROS 1) or NAME (ROS 2, a folder with metadata.yaml).
        force: whether to replace an existing bag.

    Yields:
        The writer of the bag.

    Raises:
        ValueError: see ``check_place``.
        DiskFullError: the disk is full.
        OSError: nothing can be written there.
    """
    place = Path(out)
    check_place(place, force)
    if place.suffix == ".bag":
        with atomic_path(place) as temporary:
            temporary.unlink()  # the writer creates the file itself
            with Writer1(temporary) as writer:
                yield BagWriter(writer)
    elif place.suffix == ".mcap":
        with atomic_path(place) as temporary, folder_beside(place) as folder:
            with _mcap(folder / "bag") as writer:
                yield BagWriter(writer)
            (folder / "bag" / "bag.mcap").replace(temporary)
    else:
        with folder_beside(place) as folder:
            with _mcap(folder / place.name) as writer:
                yield BagWriter(writer)
            _put(folder / place.name, place)


def _mcap(folder: Path) -> Writer2:
    return Writer2(folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)


def _put(made: Path, place: Path) -> None:
    """Rename a complete bag's folder; an earlier one is deleted with the temporary folder."""
    for path in (*made.iterdir(), made):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if place.exists():
        place.rename(made.with_name(f"{made.name}.before"))
    made.rename(place)


class BagWriter:
    """Writer of embeddings, texts and serialized messages to a bag of ROS 1 or ROS 2.

    Args:
        writer: open writer of rosbags.
    """

    def __init__(self, writer: Writer1 | Writer2) -> None:
        self._writer = writer
        self.ros2 = isinstance(writer, Writer2)
        self.typestore = typestore_of(self.ros2)
        self._topics: dict[str, Connection] = {}
        self._counts: dict[str, int] = {}

    def write_embedding(
        self,
        topic: str,
        log_time_ns: int,
        header: Any,
        model: str,
        shape: tuple[int, ...],
        values: np.ndarray,
    ) -> None:
        """Write one embedding.

        Args:
            topic: name of the topic.
            log_time_ns: log time of the message [ns].
            header: header of the frame, of ROS 1 or ROS 2.
            model: name and digest of the encoder; see ``EncoderSpec.tag``.
            shape: shape of the embedding.
            values: the embedding ``(D,)`` float32.
        """
        if topic not in self._topics:
            self._topics[topic] = self.add_topic(topic, EMBEDDING, self.typestore)
        number = self._counts[topic] = self._counts.get(topic, -1) + 1
        message = embedding_message(self.typestore, header, model, shape, values, number)
        self.write(self._topics[topic], log_time_ns, self._serialized(message, EMBEDDING))

    def write_text(self, topic: str, log_time_ns: int, text: str) -> None:
        """Write one text on a latched topic.

        Args:
            topic: name of the topic.
            log_time_ns: log time of the message [ns].
            text: the text.
        """
        connection = self.add_topic(topic, TEXT, self.typestore, latched=True)
        message = self.typestore.types[TEXT](data=text)
        self.write(connection, log_time_ns, self._serialized(message, TEXT))

    def _serialized(self, message: Any, kind: str) -> memoryview:
        serialize = self.typestore.serialize_cdr if self.ros2 else self.typestore.serialize_ros1
        return serialize(message, kind)

    def add_topic(
        self,
        topic: str,
        kind: str,
        typestore: Typestore,
        definition: tuple[str, str] | None = None,
        latched: bool = False,
        qos: Sequence[Qos] | None = None,
        caller: str | None = None,
    ) -> Connection:
        """Add a topic, or return the connection of an equal one that exists.

        Args:
            topic: name of the topic.
            kind: type of its messages.
            typestore: definitions of types, this one among them.
            definition: text and digest of the type, in place of those of ``typestore``.
            latched: whether late subscribers receive its last message.
            qos: profiles of ROS 2 with which it was recorded.
            caller: node of ROS 1 that published it.

        Returns:
            The connection, to which ``write`` writes messages.

        Raises:
            KeyError: ``typestore`` does not contain the type.
            TypesysError: ``typestore`` cannot write the definition of the type.
        """
        if qos is None:
            qos = [_LATCHED] if latched else []
        ext1, ext2 = ConnectionExtRosbag1(caller, int(latched)), ConnectionExtRosbag2("cdr", [*qos])
        wanted = (topic, kind, ext2 if self.ros2 else ext1)
        for there in self._writer.connections:
            if (there.topic, there.msgtype, there.ext) == wanted:
                return there
        text, digest = definition or _definition(typestore, kind, self.ros2)
        if isinstance(self._writer, Writer2):
            return self._writer.add_connection(
                topic, kind, msgdef=text, rihs01=digest, offered_qos_profiles=qos
            )
        return self._writer.add_connection(
            topic, kind, msgdef=text, md5sum=digest, callerid=caller, latching=int(latched)
        )

    def write(self, connection: Connection, log_time_ns: int, raw: bytes | memoryview) -> None:
        """Write a message that is serialized as the bag's version of ROS requires.

        Args:
            connection: see ``add_topic``.
            log_time_ns: log time of the message [ns].
            raw: the serialized message.
        """
        self._writer.write(connection, log_time_ns, raw)


def is_latched(connection: Connection) -> bool:
    """Return whether late subscribers received a topic's last message when it was recorded."""
    if isinstance(connection.ext, ConnectionExtRosbag1):
        return bool(connection.ext.latching)
    profiles = connection.ext.offered_qos_profiles
    return any(qos.durability is QosDurability.TRANSIENT_LOCAL for qos in profiles)


def _definition(store: Typestore, kind: str, ros2: bool) -> tuple[str, str]:
    text, md5 = store.generate_msgdef(kind, ros_version=2 if ros2 else 1)
    return text, store.hash_rihs01(kind) if ros2 else md5
