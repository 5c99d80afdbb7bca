"""The watchdog: no actions on old frames or old joint states, and each stop told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from s2robot.data.ros_messages.stamps import age_s
from s2robot.plugins.ros.core.log_throttle import Level, LogThrottle


class Pause(Exception):  # noqa: N818
    """Reason why there is no action now."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Watchdog:
    """Watchdog over the data of a policy; its caller allows one thread at a time.

    Data is too old when it arrived more than ``stale_s`` ago, or was stamped so by the node's
    clock. A stamp that lies more than ``stale_s`` in the future is refused too, as an old frame
    would look fresh by such a clock.

    Args:
        stale_s: largest age of a frame and of joint states [s].
        now_ns: the node's clock [ns], which is simulated if stamps are.
        clock: monotonic clock of the arrivals [s].
        throttle: gets each stop and each restart once.

    Raises:
        ValueError: ``stale_s`` is not above 0.
    """

    def __init__(
        self,
        stale_s: float,
        now_ns: Callable[[], int],
        clock: Callable[[], float],
        throttle: LogThrottle,
    ) -> None:
        if not 0 < stale_s < np.inf:
            raise ValueError(f"stale_s is {stale_s}; allowed: seconds above 0")
        self._stale_s, self._now_ns, self._clock = stale_s, now_ns, clock
        self._throttle = throttle
        self.paused: Pause | None = None
        """Why there are no actions now; None while there are."""
        self.pauses: Counter[str] = Counter()
        """Number of stops by reason."""

    def check_age(self, what: str, arrived_s: float, stamp: int) -> None:
        """Check the age of one message.

        Args:
            what: "frames" or "joints".
            arrived_s: time of arrival by the monotonic clock [s].
            stamp: its stamp [ns].

        Raises:
            Pause: it is too old, or from the future.
        """
        limit = self._stale_s
        here = self._clock() - arrived_s
        if here > limit:
            raise Pause(f"stale_{what}", f"no new {what} for {here:.2f} s (stale_s is {limit:g} s)")
        age = age_s(stamp, self._now_ns())
        if age is None or abs(age) <= limit:
            return
        text = f"by their stamps, {what} are {age:.2f} s old (stale_s is {limit:g} s)"
        if age < 0:
            text = f"by their stamps, {what} are {-age:.2f} s in the future"
        if abs(age - here) > limit / 2:  # else no message arrives any more
            text += f", but they arrived {here:.2f} s ago: compare the clocks"
        raise Pause(f"stale_{what}", text)

    def pause(self, reason: Pause) -> None:
        """Stop the actions for a reason; a new one is counted and logged."""
        if self.paused is None or self.paused.kind != reason.kind:
            self.pauses[reason.kind] += 1
            self._throttle.log(f"no actions: {reason}", Level.ERROR)
        self.paused = reason

    def resume(self) -> None:
        """Let actions go on."""
        if self.paused:
            self._throttle.log("actions again: frames and joint states are fresh", Level.OK)
        self.paused = None

    def forget(self) -> None:
        """Forget the stop without a word, as after the node was switched off."""
        self.paused = None
