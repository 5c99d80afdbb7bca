"""Matching of messages that several cameras took at about the same time, in bounded memory."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2robot.data.ros_messages.stamps import (
    NS,
    UNSET_NS,
    Order,
    StampError,
    message_stamp_ns,
    order_after,
)
from s2robot.errors import unknown

DEPTH = 8
"""Messages kept of each camera: a delay of a quarter of a second between cameras at 30 Hz."""


@dataclass(frozen=True)
class SyncCounts:
    """Counts of a synchronizer since its start."""

    sets: int
    """Complete sets."""
    received: dict[str, int]
    """Messages of each camera."""
    unmatched: dict[str, int]
    """Messages of each camera that were discarded without a set."""
    missing: dict[str, int]
    """Discarded messages of other cameras for which this camera had no message within the slop."""
    backwards: int
    """Stamps older than the camera's last one: skipped or, if older by over a second, a reset."""
    unstamped: int
    """Messages without a usable stamp, which cannot be matched."""


class TimeSynchronizer:
    """Approximate-time matching of the newest messages.

    A set is emitted as soon as a message completes it. The stamps of a set lie within ``slop_s`` of
    each other. If several sets are possible, the one with the smallest spread is used, and all
    messages that are as old or older are discarded. Unlike ``message_filters`` it does not wait for
    later messages that might match better, so ``slop_s`` should be below half of the cameras'
    period.

    At most ``depth`` messages of each camera are kept. Any thread may call any method; ``emit`` is
    called in the thread that completes a set, in the order of the sets.

    Args:
        cameras: names of the cameras, two or more.
        slop_s: longest time between the stamps of a set [s].
        emit: receives the messages by camera, in the order of ``cameras``.
        depth: number of messages kept of each camera.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        slop_s: float,
        emit: Callable[[Mapping[str, Any]], object],
        depth: int = DEPTH,
    ) -> None:
        if len(cameras) < 2 or len(set(cameras)) < len(cameras):
            raise ValueError(f"cameras must be two or more different names; got {list(cameras)}")
        if not (math.isfinite(slop_s) and slop_s >= 0):
            raise ValueError(f"slop_s is {slop_s}; allowed: seconds, 0 or more")
        if depth < 1:
            raise ValueError(f"depth is {depth}; allowed: 1 message or more")
        self._slop_ns = round(slop_s * NS)
        self._depth = depth
        self._emit = emit
        self._lock = threading.Lock()
        self._emitting = threading.RLock()  # taken before _lock, so that sets keep their order
        self._kept = {camera: deque[tuple[int, Any]]() for camera in cameras}
        # Stamps are kept longer than messages, else two cameras would count as missing each other
        # while a third one sends nothing.
        self._stamps = {camera: deque[int](maxlen=4 * depth) for camera in cameras}
        self._sets = self._backwards = self._unstamped = 0
        self._received, self._unmatched, self._missing = (Counter[str]() for _ in range(3))

    def offer(self, camera: str, message: Any) -> bool:
        """Accept a camera's message.

        Args:
            camera: name of the camera.
            message: the message.

        Returns:
            Whether the message completed a set.

        Raises:
            ValueError: there is no such camera.
        """
        if camera not in self._kept:
            raise unknown("camera", camera, self._kept)
        with self._emitting:
            with self._lock:
                found = self._add(camera, message)
            if found is None:
                return False
            self._emit(found)
            return True

    def clear(self) -> None:
        """Forget all messages; the counts continue."""
        with self._lock:
            self._clear()

    def counts(self) -> SyncCounts:
        """Return the counts since the start."""
        with self._lock:
            received, unmatched, missing = (
                {camera: counter[camera] for camera in self._kept}
                for counter in (self._received, self._unmatched, self._missing)
            )
            return SyncCounts(
                self._sets, received, unmatched, missing, self._backwards, self._unstamped
            )

    def _clear(self) -> None:
        for kept in (*self._kept.values(), *self._stamps.values()):
            kept.clear()

    def _add(self, camera: str, message: Any) -> dict[str, Any] | None:
        self._received[camera] += 1
        try:
            stamp = message_stamp_ns(message)
        except StampError:
            stamp = UNSET_NS
        if stamp == UNSET_NS:
            self._unstamped += 1
            return None
        stamps = self._stamps[camera]
        order = order_after(stamp, stamps[-1] if stamps else None)
        self._backwards += order is not Order.NEXT
        if order is Order.LATE:
            return None
        if order is Order.RESET:
            self._clear()
        stamps.append(stamp)
        self._kept[camera].append((stamp, message))
        found = self._best_set(camera, stamp)
        if found is None:
            self._discard_overflow(camera)
            return None
        self._discard_older({name: member[0] for name, member in found.items()})
        self._sets += 1
        return {name: found[name][1] for name in self._kept}

    def _best_set(self, camera: str, stamp: int) -> dict[str, tuple[int, Any]] | None:
        """Return the set of smallest spread with the newest message of ``camera``, or None.

        Of sets with an equal spread the later one is returned.
        """
        slop = self._slop_ns
        starts = {s for kept in self._kept.values() for s, _ in kept if stamp - slop <= s <= stamp}
        best, best_spread = None, slop + 1
        for start in sorted(starts, reverse=True):
            members = {camera: (stamp, self._kept[camera][-1][1])}
            for name, kept in self._kept.items():
                inside = [m for m in kept if start <= m[0] <= start + slop]
                if name != camera and inside:
                    members[name] = min(inside, key=lambda member: abs(member[0] - stamp))
            if len(members) < len(self._kept):
                continue
            stamps = [member[0] for member in members.values()]
            if max(stamps) - min(stamps) < best_spread:
                best, best_spread = members, max(stamps) - min(stamps)
        return best

    def _discard_older(self, stamps: Mapping[str, int]) -> None:
        """Discard messages that are as old as a set's members or older; members are matched."""
        for camera, kept in self._kept.items():
            while kept and kept[0][0] <= stamps[camera]:
                stamp, _ = kept.popleft()
                if stamp != stamps[camera]:
                    self._discard(camera, stamp)

    def _discard_overflow(self, camera: str) -> None:
        if len(self._kept[camera]) > self._depth:
            self._discard(camera, self._kept[camera].popleft()[0])

    def _discard(self, camera: str, stamp: int) -> None:
        self._unmatched[camera] += 1
        for other, stamps in self._stamps.items():
            if other != camera and all(abs(s - stamp) > self._slop_ns for s in stamps):
                self._missing[other] += 1
