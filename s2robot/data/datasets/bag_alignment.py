"""Alignment of the topics of a bag by the stamps of their headers: one row a moment.

The rows are the moments of the slowest topic, so that every other topic has a message for each. A
row has what was known then, the newest observations, and what was done about it, the next action.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from s2robot.data.ros_messages.stamps import CLOCK_RESET_NS, NS, UNSET_NS
from s2robot.errors import CorruptFileError

TOLERANCE = 1.5
"""Largest distance of a message from its row, in periods of the rows, where none is given."""
JITTER = 0.1
"""Part of a period by which an observation may be newer than its row, and an action older."""
MOST_LEFT_OUT = 0.2
"""Part of a bag's rows that may be left out at its ends without a warning."""
SLOWER = 1.1
"""Ratio of two median periods from which a topic counts as slower than another."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Messages of one topic of a bag, by their stamps."""

    stamps_ns: np.ndarray
    """(M,) int64, ascending."""
    numbers: np.ndarray
    """(M,) int64: the place of each message among those of the topic, by log time."""

    @classmethod
    def of(cls, where: str, stamps_ns: Sequence[int]) -> Stream:
        """Return the messages in the order of their stamps; of equal stamps, the first counts.

        Args:
            where: bag and topic, for messages.
            stamps_ns: stamps in the order of the log times.

        Raises:
            CorruptFileError: a stamp was never set, or the clock was set back.
        """
        stamps = np.array(stamps_ns, np.int64)
        unset = np.flatnonzero(stamps == UNSET_NS)
        if len(unset):
            raise CorruptFileError(
                f"{where}: message {unset[0]} has a header without a stamp ({len(unset)} of "
                f"{len(stamps)}); topics are aligned by their stamps, so let the driver set them, "
                "or leave that topic out"
            )
        back = np.flatnonzero(np.diff(stamps) < -CLOCK_RESET_NS)
        if len(back):
            step_s = (stamps[back[0]] - stamps[back[0] + 1]) / NS
            raise CorruptFileError(
                f"{where}: the stamp of message {back[0] + 1} is {step_s:.3f} s before that of the "
                "message before it, so the clock was set back; record each episode in a bag of "
                "its own"
            )
        ordered, numbers = np.unique(stamps, return_index=True)
        return cls(ordered, numbers.astype(np.int64))


@dataclass(frozen=True)
class Rows:
    """What makes the rows of all bags."""

    topic: str
    """Whose moments they are: the slowest topic."""
    period_ns: int
    """Median time between two of its messages."""
    tolerance_ns: int
    """Largest distance of a message from its row."""

    @property
    def jitter_ns(self) -> int:
        """Time by which an observation may be newer than its row, and an action older."""
        return min(int(JITTER * self.period_ns), self.tolerance_ns)


def rows_of(bags: Sequence[Mapping[str, Stream]], tolerance_s: float | None) -> Rows:
    """Return the slowest topic and the tolerance; of about equally slow topics, the first.

    Args:
        bags: messages of each bag by topic, cameras first.
        tolerance_s: largest distance of a message from its row [s]; None for ``TOLERANCE`` periods.

    Raises:
        CorruptFileError: no bag has two messages of a topic.
    """
    periods = {}
    for topic in bags[0]:
        steps = np.concatenate([np.diff(bag[topic].stamps_ns) for bag in bags])
        if not len(steps):
            raise CorruptFileError(
                f"{topic} has no bag with two messages of different stamps, so its rate is not "
                "known; leave that topic out"
            )
        periods[topic] = int(np.median(steps))
    slowest = next(iter(periods))
    for topic, period in periods.items():
        if period > SLOWER * periods[slowest]:
            slowest = topic
    period = periods[slowest]
    tolerance_ns = int(TOLERANCE * period if tolerance_s is None else tolerance_s * NS)
    return Rows(slowest, period, tolerance_ns)


def align(
    where: str, streams: Mapping[str, Stream], actions: Sequence[str], rows: Rows
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the rows of a bag, and the message of each topic in them.

    Moments at either end that lack a message of some topic within the tolerance are left out.

    Args:
        where: path of the bag, for messages.
        streams: messages by topic.
        actions: those topics that hold actions; all others are observations.
        rows: topic, period and tolerance of all bags.

    Returns:
        Stamps (T,) [ns], and by topic the number (T,) of the message among those of its topic.

    Raises:
        CorruptFileError: no moment has messages of all topics, or there is a gap.
    """
    stamps = streams[rows.topic].stamps_ns
    places, distances = {}, {}
    for topic, stream in streams.items():
        own = topic == rows.topic
        place, distance = _own(stamps) if own else _found(stamps, stream, topic in actions, rows)
        places[topic], distances[topic] = place, distance
    whole = np.all([each <= rows.tolerance_ns for each in distances.values()], axis=0)
    kept = np.flatnonzero(whole)
    if not len(kept):
        raise CorruptFileError(_nothing_common(where, streams, rows))
    span = slice(int(kept[0]), int(kept[-1]) + 1)
    _warn_of_ends(where, span, distances, rows)
    _check_gaps(where, stamps[span], {t: d[span] for t, d in distances.items()}, actions, rows)
    return stamps[span], {
        topic: streams[topic].numbers[place[span]] for topic, place in places.items()
    }


def _warn_of_ends(where: str, span: slice, distances: Mapping[str, np.ndarray], rows: Rows) -> None:
    """Warn where many rows are left out because a topic begins late or ends early."""
    count = len(distances[rows.topic])
    left_out = count - (span.stop - span.start)
    if left_out > MOST_LEFT_OUT * count:
        far = {topic: int((each > rows.tolerance_ns).sum()) for topic, each in distances.items()}
        warnings.warn(
            f"{where}: {left_out} of {count} rows at its beginning or end are left out, since "
            f"{max(far, key=lambda topic: far[topic])} has no messages for them",
            stacklevel=2,
        )


def _own(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(len(stamps)), np.zeros(len(stamps), np.int64)


def _found(
    stamps: np.ndarray, stream: Stream, is_action: bool, rows: Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Return the message of each row and its distance [ns]; too far where there is none."""
    if is_action:
        place = np.searchsorted(stream.stamps_ns, stamps - rows.jitter_ns, side="left")
        exists = place < len(stream.stamps_ns)
    else:
        place = np.searchsorted(stream.stamps_ns, stamps + rows.jitter_ns, side="right") - 1
        exists = place >= 0
    place = np.clip(place, 0, len(stream.stamps_ns) - 1)
    distance = np.abs(stream.stamps_ns[place] - stamps)
    return place, np.where(exists, distance, np.iinfo(np.int64).max)


def _check_gaps(
    where: str,
    stamps: np.ndarray,
    distances: Mapping[str, np.ndarray],
    actions: Sequence[str],
    rows: Rows,
) -> None:
    """Refuse rows without a message of a topic, and rows that are too far apart."""
    remedy = "give a larger tolerance_s, or divide the bag there into two"
    tolerance = f"tolerance_s is {rows.tolerance_ns / NS:.4g} s"
    for topic, distance in distances.items():
        far = np.flatnonzero(distance > rows.tolerance_ns)
        if len(far):
            at_s = (stamps[far[0]] - stamps[0]) / NS
            side = "next" if topic in actions else "last"
            away_s = distance[far[0]] / NS
            raise CorruptFileError(
                f"{where}: gap of {topic}: {at_s:.3f} s after the first row, its {side} message is "
                f"{away_s:.4g} s away ({len(far)} of {len(stamps)} rows); {tolerance}: {remedy}"
            )
    steps = np.diff(stamps)
    long = np.flatnonzero(steps > rows.period_ns + rows.tolerance_ns)
    if len(long):
        at_s = (stamps[long[0]] - stamps[0]) / NS
        raise CorruptFileError(
            f"{where}: gap of {rows.topic}: {at_s:.3f} s after the first row, it has no message "
            f"for {steps[long[0]] / NS:.4g} s, its usual period is {rows.period_ns / NS:.4g} s; "
            f"{tolerance}: {remedy}"
        )


def _nothing_common(where: str, streams: Mapping[str, Stream], rows: Rows) -> str:
    begin = min(int(stream.stamps_ns[0]) for stream in streams.values())
    spans = ", ".join(
        f"{topic} {(stream.stamps_ns[0] - begin) / NS:.3f} to "
        f"{(stream.stamps_ns[-1] - begin) / NS:.3f} s"
        for topic, stream in streams.items()
    )
    return (
        f"{where}: at no moment of {rows.topic} is there a message of every topic within "
        f"{rows.tolerance_ns / NS:.4g} s; by their stamps they last {spans}. If their clocks "
        "differ, correct the stamps; else leave that topic or that bag out"
    )
