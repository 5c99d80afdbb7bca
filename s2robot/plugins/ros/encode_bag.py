"""Encoding of a bag of images to a bag of embeddings, in one pass and in bounded memory."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC
from s2robot.data.ros_messages.images import ImageError, frame_of
from s2robot.data.rosbag.copying import Copier
from s2robot.data.rosbag.messages import IMAGES
from s2robot.data.rosbag.reading import chosen_topics, decoded, messages_of, open_bag
from s2robot.data.rosbag.writing import BagWriter, check_place, writing_bag
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import CorruptFileError, S2RobotError, unknown
from s2robot.plugins.ros.core.camera_encoder import CameraEncoder
from s2robot.utils.progress import Bar, progress_bar
from s2robot.utils.provenance import provenance

SUFFIX = "/embedding"
"""Suffix of a topic of embeddings after the name of its topic of images."""


@dataclass(frozen=True)
class BagSettings:
    """Settings of the encoding of a bag.

    Raises:
        ValueError: a value is out of its range.
    """

    topics: tuple[str, ...] = ()
    """Topics of images; empty for all of them."""
    every: int = 1
    """Encode the first of every this many messages of each topic."""
    start_s: float = 0.0
    """First log time [s], from the bag's first message."""
    end_s: float = math.inf
    """Last log time [s], from the bag's first message."""
    copy: tuple[str, ...] = ()
    """Other topics to copy; also topics of images, if named."""
    copy_all: bool = False
    """Whether to copy all topics except those that are encoded."""
    batch: int = 16
    """Largest number of frames of a topic that are held in memory and encoded at once."""
    reuse: bool = False
    """Whether to encode only the tiles that changed; see ``s2robot.encoder.streaming``."""
    strict: bool = False
    """Whether to stop at the first message that cannot be decoded, instead of skipping it."""

    def __post_init__(self) -> None:
        for name in ("every", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if not 0 <= self.start_s < self.end_s:  # NaN fails as well
            raise ValueError(
                f"start {self.start_s} s and end {self.end_s} s are seconds from the bag's first "
                "message; allowed: 0 or more, the end after the start"
            )


@dataclass
class TopicCount:
    """Counts of one topic of images."""

    topic: str
    embeddings_topic: str
    messages: int = 0
    """Messages in the window of time, including those that ``every`` skips."""
    embeddings: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """Messages that could not be decoded, by reason."""
    hit_rate: float | None = None
    """Share of tiles that were reused; None without reuse."""


@dataclass(frozen=True)
class Encoded:
    """Result of ``encode_bag``."""

    path: Path
    model: str
    topics: tuple[TopicCount, ...]
    copied: dict[str, int]
    """Number of copied messages by topic."""
    not_copied: tuple[str, ...]
    """Reasons for the topics that ``copy_all`` could not copy."""


def encode_bag(
    source: str | Path,
    out: str | Path,
    encoder: FrameEncoder,
    settings: BagSettings | None = None,
    force: bool = False,
    show: bool = False,
) -> Encoded:
    """Write a bag of embeddings from a bag of images.

    Each topic of images gets a topic of ``EmbeddingStamped`` with ``/embedding`` after its name and
    with the headers and log times of the images. ``/s2robot/encoder`` describes the encoder once.

    Args:
        source: bag of ROS 1 or ROS 2; see ``open_bag``.
        out: NAME.mcap or a folder NAME (ROS 2), or NAME.bag (ROS 1); it appears when it is
            complete.
        encoder: encoder of the frames.
        settings: topics, window of time and options; defaults when not given.
        force: whether to replace an existing bag.
        show: whether to show a progress bar.

    Returns:
        Counts of the encoded and the copied messages.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: there are no topics of images, a topic is unknown, or ``out`` exists.
        CorruptFileError: the bag cannot be read, or with ``strict`` a message cannot be decoded.
        S2RobotError: no frame could be encoded.

    Examples:
        >>> from s2robot import FrameEncoder  # doctest: +SKIP
        >>> encoder = FrameEncoder.from_name("s2r-vitt16-128")  # doctest: +SKIP
        >>> made = encode_bag("run.mcap", "run.embeddings.mcap", encoder)  # doctest: +SKIP
    """
    settings = settings or BagSettings()
    encoder = encoder.for_batches_of(settings.batch)
    place = Path(out)
    check_place(place, force)
    if place.resolve() == Path(source).resolve():
        raise ValueError(f"{out} is the bag to read; give another name")
    with open_bag(source) as reader, writing_bag(place, force) as writer:
        work = _BagPass(reader, writer, encoder, settings)
        writer.write_text(ENCODER_TOPIC, work.start_ns, json.dumps(_record(source, encoder, work)))
        work.run(show)
        return work.result(place)


def _record(source: str | Path, encoder: FrameEncoder, work: _BagPass) -> dict[str, Any]:
    """Return the record for ``/s2robot/encoder``."""
    options = dataclasses.asdict(work.settings)
    return {
        "model": work.model,
        "encoder": encoder.spec.to_dict(),
        "digest": encoder.spec.digest(),
        "runtime": encoder.runtime.name,
        "inference": encoder.inference,
        "shape": list(encoder.output_shape),
        "topics": {c.count.topic: c.count.embeddings_topic for c in work.cameras.values()},
        "source": Path(source).name,
        "settings": {k: v for k, v in options.items() if v != math.inf},
        "provenance": provenance(),
    }


class _BagPass:
    """One pass over a bag."""

    def __init__(
        self, reader: AnyReader, writer: BagWriter, encoder: FrameEncoder, settings: BagSettings
    ) -> None:
        self.settings = settings
        self.model = encoder.spec.tag
        self._reader, self._copier = reader, Copier(reader, writer)
        self.start_ns = reader.start_time + round(settings.start_s * 1e9)
        end = reader.end_time  # just after the last message
        if settings.end_s < math.inf:
            end = min(end, reader.start_time + round(settings.end_s * 1e9) + 1)
        self._end_ns = end
        topics = chosen_topics(reader, settings.topics, IMAGES, "image topic")
        self.cameras = {t: _Camera(t, encoder, writer, settings, self.model) for t in topics}
        self._copied: dict[str, int] = {}
        self._not_copied: list[str] = []
        for topic in self._to_copy():
            self._add_copy(topic)

    def _to_copy(self) -> list[str]:
        """Return the topics to copy; none may have the name of a topic that is written."""
        there = {c.topic for c in self._reader.connections}
        for topic in self.settings.copy:
            if topic not in there:
                raise unknown("topic to copy", topic, there)
        wanted = set(self.settings.copy)
        if self.settings.copy_all:
            wanted |= there - self.cameras.keys()
        written = {ENCODER_TOPIC, *(c.count.embeddings_topic for c in self.cameras.values())}
        for topic in sorted(wanted & written):
            if topic in self.settings.copy:
                raise ValueError(f"{topic} cannot be copied: the new bag has one of that name")
            self._not_copied.append(f"{topic} is not copied: the new bag has one of that name")
        return sorted(wanted - written)

    def _add_copy(self, topic: str) -> None:
        try:
            for connection in self._reader.connections:
                if connection.topic == topic:
                    self._copier.add(connection)
            self._copied[topic] = 0
        except ValueError as error:
            if topic in self.settings.copy:
                raise
            self._not_copied.append(str(error))

    def run(self, show: bool) -> None:
        """Read every message of interest once, in the order of log times."""
        span_s = max(0, self._end_ns - self.start_ns) / 1e9
        with progress_bar("seconds of the bag", span_s, show) as bar:
            self._read(bar)
        for camera in self.cameras.values():
            camera.flush()

    def _read(self, bar: Bar) -> None:
        topics = {*self.cameras, *self._copied}
        for connection, time, raw in messages_of(self._reader, topics, self.start_ns, self._end_ns):
            if connection.topic in self._copied:
                self._copier.copy(connection, time, raw)
                self._copied[connection.topic] += 1
            camera = self.cameras.get(connection.topic)
            if camera is not None and camera.is_due():
                camera.add(decoded(self._reader, connection, raw), time)
            bar.update((time - self.start_ns) / 1e9)

    def result(self, place: Path) -> Encoded:
        """Return the counts.

        Raises:
            S2RobotError: no frame was encoded.
        """
        counts = tuple(camera.counts() for camera in self.cameras.values())
        if not any(count.embeddings for count in counts):
            reasons = [f"{c.topic}: {reason}" for c in counts for reason in reasons_of(c)]
            raise S2RobotError(
                f"{self._reader.paths[0]}: no frame to encode"
                + (f"; {'; '.join(reasons)}" if reasons else " in that window of time")
            )
        return Encoded(place, self.model, counts, self._copied, tuple(self._not_copied))


def reasons_of(count: TopicCount) -> list[str]:
    """Return the reasons why messages of a topic were skipped, the most frequent first."""
    ordered = sorted(count.left_out.items(), key=lambda item: -item[1])
    return [f"{n} of {count.messages} messages left out: {why}" for why, n in ordered]


class _Camera:
    """Encoding of one topic of images: frames that wait for their batch, and counts."""

    def __init__(
        self,
        topic: str,
        encoder: FrameEncoder,
        writer: BagWriter,
        settings: BagSettings,
        model: str,
    ) -> None:
        self.count = TopicCount(topic, topic.rstrip("/") + SUFFIX)
        self._encoder, self._writer, self._settings = encoder, writer, settings
        self._model = model
        self._stream = CameraEncoder(encoder, [topic]) if settings.reuse else None
        self._frames: list[np.ndarray] = []
        self._headers: list[tuple[Any, int]] = []
        self._reasons: dict[tuple[str, str], str] = {}

    def is_due(self) -> bool:
        """Count a message and return whether it is to be encoded."""
        self.count.messages += 1
        return (self.count.messages - 1) % self._settings.every == 0

    def add(self, message: Any, time: int) -> None:
        """Add a message's frame to the batch, and encode the batch when it is full."""
        try:
            frame = frame_of(message)
        except ImageError as error:
            self._skip(message, error)
            return
        if self._frames and frame.shape != self._frames[0].shape:
            self.flush()
        self._frames.append(frame)
        self._headers.append((message.header, time))
        if len(self._frames) == self._settings.batch:
            self.flush()

    def _skip(self, message: Any, error: ImageError) -> None:
        """Count a message under the first reason of its kind."""
        if self._settings.strict:
            raise CorruptFileError(
                f"{self.count.topic}, message {self.count.messages - 1} (counted from 0): {error}"
            ) from None
        form = str(getattr(message, "encoding", getattr(message, "format", "")))
        why = self._reasons.setdefault((error.kind, form), str(error))
        self.count.left_out[why] = self.count.left_out.get(why, 0) + 1

    def flush(self) -> None:
        """Encode and write the frames of the batch."""
        if not self._frames:
            return
        values = self._embeddings(self._frames)
        shape = tuple(self._encoder.output_shape)
        for (header, time), embedding in zip(self._headers, values, strict=True):
            self._writer.write_embedding(
                self.count.embeddings_topic, time, header, self._model, shape, embedding
            )
        self.count.embeddings += len(self._frames)
        self._frames, self._headers = [], []

    def _embeddings(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Return embeddings ``(B, D)`` float32."""
        if self._stream is not None:
            return np.stack([self._stream({self.count.topic: frame}) for frame in frames])
        return self._encoder(np.stack(frames)).float().cpu().numpy()

    def counts(self) -> TopicCount:
        """Return the complete counts."""
        self.count.hit_rate = self._stream.hit_rate if self._stream is not None else None
        return self.count
