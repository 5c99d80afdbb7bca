"""What goes into a worker and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.data.ros_messages.stamps import message_stamp_ns


@dataclass(frozen=True)
class Timings:
    """Where the time of one embedding went [s]."""

    wait_s: float
    """From arrival until the encoder was free."""
    convert_s: float
    """From the message to RGB."""
    encode_s: float
    overhead_s: float
    """From arrival until the publication begins, less the encoding."""
    age_s: float | None
    """From the stamp to the publication, by the node's clock; None for a stamp never filled in."""


@dataclass(frozen=True, eq=False)
class EmbeddingResult:
    """An embedding and the frames that it is of."""

    channel: str
    header: Any
    """The first camera's, as it came: the same object."""
    headers: Mapping[str, Any]
    """Of every camera."""
    embedding: np.ndarray
    """``(D,)`` float32, of all numbers finite; nothing else refers to its memory."""
    shape: tuple[int, ...]
    """What to reshape the embedding to."""
    stamp_ns: int
    arrived_s: float
    """On the worker's clock."""
    timings: Timings


@dataclass(frozen=True, eq=False)
class Job:
    """Messages that belong together, the first camera's first."""

    messages: Mapping[str, Any]
    headers: Mapping[str, Any]
    stamp_ns: int
    arrived_s: float

    @classmethod
    def of(cls, messages: Mapping[str, Any], arrived_s: float) -> Job:
        """Of messages by camera.

        Raises:
            StampError: one of them has no stamp.
        """
        stamps = [message_stamp_ns(message) for message in messages.values()]
        headers = {camera: message.header for camera, message in messages.items()}
        return cls(dict(messages), headers, stamps[0], arrived_s)

    def result(
        self, channel: str, embedding: np.ndarray, shape: tuple[int, ...], timings: Timings
    ) -> EmbeddingResult:
        """What is published for these messages, with their own headers."""
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
