"""Reading of ROS bags: topics, frames and embeddings."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from s2robot.data.bag_paths import BAGS, is_bag
from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.data.ros_messages.images import ImageError, frame_of
from s2robot.data.ros_messages.stamps import message_stamp_ns
from s2robot.data.rosbag.messages import EMBEDDING, IMAGES, TEXT
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError, unknown


@contextmanager
def open_bag(path: str | Path) -> Iterator[AnyReader]:
    """Open a bag of ROS 1 (.bag) or ROS 2 (.mcap, .db3, or a folder with metadata.yaml).

    Yields:
        A reader of the bag, which is closed at the end of the block.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: the path does not name a bag.
        CorruptFileError: the bag cannot be read.
        S2RobotError: the bag holds no messages.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such bag")
    if not is_bag(place):
        raise ValueError(
            f"{place} is not a bag; a bag is a file ({', '.join(BAGS)}) or a folder with the "
            "metadata.yaml of ROS 2 (`ros2 bag reindex` restores a lost one)"
        )
    with _reporting_damage(place):
        # SQLite bags of ROS 2 versions before Iron do not define their messages.
        reader = AnyReader([place], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    try:
        if not reader.message_count:
            raise S2RobotError(f"{place} holds no messages")
        yield reader
    finally:
        reader.close()


@contextmanager
def _reporting_damage(path: Path) -> Iterator[None]:
    """Turn the many errors of damaged bytes into one that names the bag and a way to repair it.

    They come from struct, zstd, SQLite, UTF-8 and assertions, among others.
    """
    try:
        yield
    except (MemoryError, PermissionError, S2RobotError):
        raise
    except Exception as error:
        raise CorruptFileError(
            f"{path} cannot be read ({type(error).__name__}: {error}); if it was cut off, "
            "`rosbag reindex`, `ros2 bag reindex` or `mcap recover` may repair it"
        ) from error


def messages_of(
    reader: AnyReader,
    topics: Collection[str],
    start_ns: int | None = None,
    stop_ns: int | None = None,
) -> Iterator[tuple[Connection, int, bytes]]:
    """Yield the messages of some topics as (connection, log time [ns], bytes), by log time.

    Args:
        reader: reader of an open bag.
        topics: names of topics.
        start_ns: first log time [ns]; the bag's first when not given.
        stop_ns: log time after the last one [ns]; the bag's end when not given.

    Raises:
        CorruptFileError: the bag is damaged.
    """
    connections = [c for c in reader.connections if c.topic in set(topics)]
    if not connections:
        return
    with _reporting_damage(Path(str(reader.paths[0]))):
        yield from reader.messages(connections, start=start_ns, stop=stop_ns)


def decoded(reader: AnyReader, connection: Connection, raw: bytes) -> Any:
    """Return a message from its bytes.

    Args:
        reader: reader of the bag.
        connection: connection of the message, which defines its type.
        raw: the serialized message.

    Raises:
        CorruptFileError: the bytes are not a message of that type.
    """
    with _reporting_damage(Path(str(reader.paths[0]))):
        return reader.deserialize(raw, connection.msgtype)


def topics_of(reader: AnyReader, kinds: Collection[str]) -> list[str]:
    """Return the sorted names of the topics with messages of some types.

    Args:
        reader: reader of an open bag.
        kinds: types of messages.
    """
    return sorted({c.topic for c in reader.connections if c.msgtype in kinds and c.msgcount})


def chosen_topics(
    reader: AnyReader, wanted: Sequence[str], kinds: Collection[str], what: str
) -> list[str]:
    """Return the wanted topics, or all topics of some types.

    Args:
        reader: reader of an open bag.
        wanted: names of topics; empty for all.
        kinds: types of messages.
        what: name of such a topic in error messages, for example "image topic".

    Raises:
        ValueError: a wanted topic does not exist, or there is none at all; the message lists the
            topics of the bag.
    """
    there = topics_of(reader, kinds)
    if not there:
        listed = [f"{name} ({info.msgtype})" for name, info in sorted(reader.topics.items())]
        raise ValueError(
            f"{reader.paths[0]} has no {what} with messages (types {', '.join(kinds)}); its topics "
            f"are {', '.join(listed)}"
        )
    for topic in wanted:
        if topic not in there:
            raise unknown(what, topic, there)
    return list(dict.fromkeys(wanted)) or there


def only_topic(
    reader: AnyReader, wanted: str | None, kinds: Collection[str], what: str, advice: str
) -> str:
    """Return the wanted topic, or the only one of some types.

    Args:
        reader: reader of an open bag.
        wanted: name of the topic; None for the only one.
        kinds: types of messages.
        what: name of such a topic in error messages, for example "image topic".
        advice: way to choose a topic, for the error message.

    Raises:
        ValueError: the topic does not exist, or there are several and none is chosen.
    """
    topics = chosen_topics(reader, [wanted] if wanted else [], kinds, what)
    if len(topics) > 1:
        raise ValueError(
            f"{reader.paths[0]} has several {what}s, {', '.join(topics)}; choose one: {advice}"
        )
    return topics[0]


def bag_frames(path: str | Path, topic: str | None = None, every: int = 1) -> Iterator[np.ndarray]:
    """Yield the frames ``(H, W, 3)`` uint8 RGB of a camera in a bag, one after another.

    Args:
        path: the bag.
        topic: topic of the camera; without it, the bag's only topic of images.
        every: yield the first of every this many frames.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: the topic does not exist, or there are several and none is chosen.
        CorruptFileError: the bag or one of its messages cannot be read.
    """
    with open_bag(path) as reader:
        chosen = only_topic(reader, topic, IMAGES, "image topic", f"{path}:/TOPIC")
        for connection, _, raw in islice(messages_of(reader, [chosen]), 0, None, every):
            try:
                yield frame_of(decoded(reader, connection, raw))
            except ImageError as error:
                raise CorruptFileError(f"{path}, topic {chosen}: {error}") from None


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of one topic, in the order of their log times."""

    topic: str
    stamps_ns: np.ndarray
    """(N,) int64: stamps of the frames' headers."""
    log_times_ns: np.ndarray
    """(N,) int64: times at which the bag received the frames."""
    frame_ids: tuple[str, ...]
    """N coordinate frames of the frames' headers."""
    values: np.ndarray
    """(N, D) float32."""
    shape: tuple[int, ...]
    """Shape of one embedding, (C,) or (gh, gw, C); D is its product."""
    model: str
    """Backbone and digest of the encoder: "backbone@digest"."""
    encoder: dict[str, Any] | None
    """``EncoderSpec`` as a dictionary if the bag holds it, else None."""


def read_embeddings(path: str | Path, topic: str | None = None) -> Embeddings:
    """Read the embeddings that ``encode_bag`` or a node has written.

    Args:
        path: the bag.
        topic: topic of the embeddings; without it, the bag's only topic of embeddings.

    Returns:
        The embeddings with their stamps, in the order of their log times.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: the topic does not exist, or there are several and none is chosen.
        MismatchError: the topic holds embeddings of several encoders.
        CorruptFileError: the bag cannot be read, or an embedding is not finite or has another size
            than its shape.

    Examples:
        >>> found = read_embeddings("run.mcap", "/camera/image_raw/embedding")  # doctest: +SKIP
        >>> found.values.shape, found.frame_ids[0], found.model  # doctest: +SKIP
        ((900, 384), 'camera', 's2r-vitt16-128@6f3c09a1d2b45e78')
    """
    with open_bag(path) as reader:
        advice = "read_embeddings(path, TOPIC)"
        chosen = only_topic(reader, topic, [EMBEDDING], "embedding topic", advice)
        times, found = [], []
        for connection, time, raw in messages_of(reader, [chosen]):
            times.append(time)
            found.append(decoded(reader, connection, raw))
        spec = _spec_of(reader, found[0].model)
    _check(path, chosen, found)
    return Embeddings(
        topic=chosen,
        stamps_ns=np.array([message_stamp_ns(message) for message in found], np.int64),
        log_times_ns=np.array(times, np.int64),
        frame_ids=tuple(message.header.frame_id for message in found),
        values=np.stack([message.data for message in found]),
        shape=tuple(int(n) for n in found[0].shape),
        model=found[0].model,
        encoder=spec,
    )


def _check(path: str | Path, topic: str, found: Sequence[Any]) -> None:
    where = f"{path}, topic {topic}"
    kinds = {(message.model, tuple(message.shape.tolist())) for message in found}
    if len(kinds) > 1:
        listed = ", ".join(f"{model} {shape}" for model, shape in sorted(kinds))
        raise MismatchError(f"{where}: embeddings of several encoders or shapes: {listed}")
    for i, message in enumerate(found):
        if message.data.size != np.prod(message.shape) or not np.isfinite(message.data).all():
            raise CorruptFileError(
                f"{where}: embedding {i} (counted from 0) is not {message.shape.tolist()} finite "
                f"numbers, but {message.data.size} with {np.isnan(message.data).sum()} NaN"
            )


def _spec_of(reader: AnyReader, model: str) -> dict[str, Any] | None:
    """Return the spec of this encoder from the record in the bag, or None."""
    if ENCODER_TOPIC not in topics_of(reader, [TEXT]):
        return None
    for connection, _, raw in messages_of(reader, [ENCODER_TOPIC]):
        with _reporting_damage(Path(str(reader.paths[0]))):
            record = dict(json.loads(decoded(reader, connection, raw).data))
        if record.get("model") == model:
            return record.get("encoder")
    return None
