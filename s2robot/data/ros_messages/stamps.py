"""Time stamps of ROS 1 and ROS 2 as integer nanoseconds, and their order."""

from __future__ import annotations

import operator
from enum import Enum
from typing import Any

NS = 1_000_000_000
UNSET_NS = 0
"""Stamp of a header that was never set."""
CLOCK_RESET_NS = NS
"""A stamp older by more than this means that the clock was reset, as when a bag restarts."""

_STYLES = (("secs", "nsecs"), ("sec", "nanosec"))


class StampError(ValueError):
    """Invalid or missing stamp; ``kind`` is the word under which such messages are counted."""

    kind = "stamp"


class Order(Enum):
    """Order of a stamp relative to an earlier one."""

    NEXT = "next"
    """Not older, or one of the two was never set."""
    LATE = "late"
    """Older by ``CLOCK_RESET_NS`` at most: the message was overtaken."""
    RESET = "reset"
    """Older by more: the clock was reset."""


def stamp_ns(stamp: Any) -> int:
    """Return the nanoseconds of a stamp of ROS 1 or ROS 2.

    Args:
        stamp: object with ``secs`` and ``nsecs`` (ROS 1 and rospy's clock), ``sec`` and ``nanosec``
            (ROS 2), or ``nanoseconds`` (rclpy's clock).

    Raises:
        StampError: these attributes are missing, or are not integers in their range.

    Examples:
        >>> from types import SimpleNamespace
        >>> stamp_ns(SimpleNamespace(sec=12, nanosec=345))
        12000000345
        >>> stamp_ns(SimpleNamespace(secs=12, nsecs=345))
        12000000345
    """
    for whole, rest in _STYLES:
        if hasattr(stamp, whole) and hasattr(stamp, rest):
            return _joined(getattr(stamp, whole), getattr(stamp, rest))
    if hasattr(stamp, "nanoseconds"):
        return _joined(0, stamp.nanoseconds, most=None)
    raise StampError(
        f"{type(stamp).__name__} is not a stamp; a stamp has secs and nsecs, or sec and nanosec, "
        "or nanoseconds"
    )


def _joined(seconds: Any, nanoseconds: Any, most: int | None = NS) -> int:
    try:
        whole, rest = operator.index(seconds), operator.index(nanoseconds)
    except TypeError:
        raise StampError(
            f"a stamp consists of integers; got {seconds!r} s and {nanoseconds!r} ns"
        ) from None
    if most is not None and not 0 <= rest < most:
        raise StampError(f"nanoseconds of a stamp lie in [0, {most}); got {rest}")
    return whole * NS + rest


def message_stamp_ns(message: Any) -> int:
    """Return the nanoseconds of ``message.header.stamp``.

    Raises:
        StampError: the message has no valid stamp.
    """
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None:
        raise StampError(f"{type(message).__name__} has no header with a stamp")
    return stamp_ns(stamp)


def age_s(stamp: int, now: int) -> float | None:
    """Return the seconds from a stamp to ``now``.

    Args:
        stamp: the stamp [ns].
        now: time of the node's clock [ns]; simulated time if the stamps are simulated.

    Returns:
        The age, or None for a stamp that was never set. A negative age means that the clocks of
        sender and receiver disagree.
    """
    return None if stamp == UNSET_NS else (now - stamp) / NS


def order_after(stamp: int, earlier: int | None) -> Order:
    """Return the order of ``stamp`` relative to an earlier one.

    Args:
        stamp: the stamp [ns].
        earlier: the earlier stamp [ns]; every stamp is next after None.
    """
    if earlier is None or UNSET_NS in (stamp, earlier) or stamp >= earlier:
        return Order.NEXT
    return Order.LATE if earlier - stamp <= CLOCK_RESET_NS else Order.RESET
