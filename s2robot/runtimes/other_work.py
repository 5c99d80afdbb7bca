"""How much of the cores other programs take, so that a time taken beside them is known as such."""

from __future__ import annotations

import os
import time

BUSY = 0.2
"""Share of the cores from which on other work may decide which way is the fastest."""
_LOOK_S = 0.1


class OtherWork:
    """The share of this process's cores that others take, since the object was made.

    Examples:
        >>> work = OtherWork()
        >>> 0 <= work.share() <= 1
        True
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._before = _busy_s(), time.process_time()

    def share(self) -> float:
        """Return the share in 0-1: 1 if others had all cores all the time."""
        cores, seconds = len(_cores()), time.perf_counter() - self._started
        busy, own = _busy_s() - self._before[0], time.process_time() - self._before[1]
        return min(1.0, max(0.0, (busy - own) / max(cores * seconds, 1e-9)))


def share_now(seconds: float = _LOOK_S) -> float:
    """Return the share of the cores that others take, watched for some seconds."""
    work = OtherWork()
    time.sleep(seconds)
    return work.share()


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _busy_s() -> float:
    """Return the seconds that this process's cores were not idle since the machine started."""
    import psutil  # most processes find their measurement stored

    times, cores = psutil.cpu_times(percpu=True), _cores()
    if max(cores) >= len(times):  # some cores are off, so that theirs have other numbers
        cores = range(len(times))
    # Time in guests is part of "user".
    idle = ("idle", "iowait", "guest", "guest_nice")
    own = (times[core]._asdict() for core in cores)
    return sum(seconds for core in own for name, seconds in core.items() if name not in idle)
