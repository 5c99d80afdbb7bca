"""Stamps of both kinds of ROS headers as integer nanoseconds, and their order."""

from __future__ import annotations

import operator
from enum import Enum
from typing import Any

NS = 1_000_000_000
UNSET_NS = 0
"""The stamp of a header that was never filled in."""
CLOCK_RESET_NS = NS
"""A stamp that lies further back than this means a clock set back, as when a bag starts anew."""

_STYLES = (("secs", "nsecs"), ("sec", "nanosec"))


class StampError(ValueError):
    """A stamp that is none; ``kind`` is one word to count it under."""

    kind = "stamp"


class Order(Enum):
    """How a stamp follows on an earlier one."""

    NEXT = "next"
    """Not older, or one of them was never filled in."""
    LATE = "late"
    """Older by ``CLOCK_RESET_NS`` at most: a message that was overtaken."""
    RESET = "reset"
    """Older by more: the clock was set back."""


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of ``secs``/``nsecs`` (ROS 1) or ``sec``/``nanosec`` (ROS 2 messages).

    Clocks' own times are taken as well: rospy's have the first two attributes, rclpy's
    ``nanoseconds``.

    Raises:
        StampError: it has none of these attributes, or they are no integers in their range.
    """
    for whole, rest in _STYLES:
        if hasattr(stamp, whole) and hasattr(stamp, rest):
            return _joined(getattr(stamp, whole), getattr(stamp, rest))
    if hasattr(stamp, "nanoseconds"):
        return _joined(0, stamp.nanoseconds, most=None)
    raise StampError(
        f"{type(stamp).__name__} is no stamp; it needs secs and nsecs, or sec and nanosec, "
        "or nanoseconds"
    )


def _joined(seconds: Any, nanoseconds: Any, most: int | None = NS) -> int:
    try:
        whole, rest = operator.index(seconds), operator.index(nanoseconds)
    except TypeError:
        raise StampError(
            f"a stamp has integers; got {seconds!r} s and {nanoseconds!r} ns"
        ) from None
    if most is not None and not 0 <= rest < most:
        raise StampError(f"nanoseconds of a stamp lie in [0, {most}); got {rest}")
    return whole * NS + rest


def message_stamp_ns(message: Any) -> int:
    """Nanoseconds of ``message.header.stamp``.

    Raises:
        StampError: it has no such stamp.
    """
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None:
        raise StampError(f"{type(message).__name__} has no header with a stamp")
    return stamp_ns(stamp)


def age_s(stamp: int, now: int) -> float | None:
    """Seconds from a stamp to ``now`` [both ns, of one clock]; None for a stamp never filled in.

    ``now`` is the node's own time, which is simulated where the stamps are. Below 0 the clocks of
    sender and receiver disagree.
    """
    return None if stamp == UNSET_NS else (now - stamp) / NS


def order_after(stamp: int, earlier: int | None) -> Order:
    """How ``stamp`` follows on ``earlier`` [ns]; anything follows on None."""
    if earlier is None or UNSET_NS in (stamp, earlier) or stamp >= earlier:
        return Order.NEXT
    return Order.LATE if earlier - stamp <= CLOCK_RESET_NS else Order.RESET
