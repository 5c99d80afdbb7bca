"""What goes to the robot's log: each kind of trouble once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum


class Level(IntEnum):
    """Levels of ``diagnostic_msgs/DiagnosticStatus``; ROS 2 has them as bytes."""

    OK = 0
    WARN = 1
    ERROR = 2


Log = Callable[[Level, str], None]
"""Writes a line to the node's log; OK is for information."""


class LogThrottle:
    """Passes the first message of each kind on, and keeps the others to itself.

    A log that raises is borne: no encoder thread ends because a line could not be written.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def report(self, kind: str, message: str, level: Level = Level.WARN) -> bool:
        """Log ``message`` unless one of that kind was logged before; returns whether it was."""
        with self._lock:
            if kind in self._told:
                return False
            self._told.add(kind)
        self.say(f"{message} (further ones of this kind are counted, not logged)", level)
        return True

    def say(self, message: str, level: Level = Level.WARN) -> None:
        """Log ``message`` whatever was logged before."""
        try:
            self._log(level, message)
        except Exception:
            pass

    def forget(self) -> None:
        """Report every kind anew."""
        with self._lock:
            self._told.clear()
