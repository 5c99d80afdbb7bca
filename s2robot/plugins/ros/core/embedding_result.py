"""Input and output of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.data.ros_messages.stamps import message_stamp_ns


@dataclass(frozen=True)
class Timings:
    """Durations on the way of one frame [s]."""

    wait_s: float
    """Time from arrival until the encoder was free."""
    convert_s: float
    """Time for the conversion of the message to RGB."""
    encode_s: float
    overhead_s: float
    """Time from arrival until the publication starts, without encoding."""
    age_s: float | None
    """Time from the stamp to the publication by the node's clock; None if it was never set."""


@dataclass(frozen=True, eq=False)
class EmbeddingResult:
    """An embedding and the headers of its frames."""

    channel: str
    header: Any
    """Header of the first camera's message, the same object."""
    headers: Mapping[str, Any]
    """Headers of all cameras' messages."""
    embedding: np.ndarray
    """``(D,)`` float32, all finite; nothing else refers to its memory."""
    shape: tuple[int, ...]
    """Shape of the embedding, whose product is D."""
    stamp_ns: int
    arrived_s: float
    """Time of arrival by the worker's clock."""
    timings: Timings


@dataclass(frozen=True, eq=False)
class Job:
    """Messages that are encoded together, the first camera's first."""

    messages: Mapping[str, Any]
    headers: Mapping[str, Any]
    stamp_ns: int
    arrived_s: float

    @classmethod
    def of(cls, messages: Mapping[str, Any], arrived_s: float) -> Job:
        """Return the job for messages by camera.

        Args:
            messages: messages by camera.
            arrived_s: time of arrival by the worker's clock [s].

        Raises:
            StampError: a message has no stamp.
        """
        stamps = [message_stamp_ns(message) for message in messages.values()]
        headers = {camera: message.header for camera, message in messages.items()}
        return cls(dict(messages), headers, stamps[0], arrived_s)

    def result(
        self, channel: str, embedding: np.ndarray, shape: tuple[int, ...], timings: Timings
    ) -> EmbeddingResult:
        """Return the result for these messages.

        Args:
            channel: name of the channel.
            embedding: the embedding ``(D,)`` float32.
            shape: shape of the embedding.
            timings: durations of this job.
        """
        header = next(iter(self.headers.values()))
        return EmbeddingResult(
            channel,
            header,
            self.headers,
            embedding,
            shape,
            self.stamp_ns,
            self.arrived_s,
            timings,
        )
