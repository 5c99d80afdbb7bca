"""Logging of each kind of problem once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum


class Level(IntEnum):
    """Levels of ``diagnostic_msgs/DiagnosticStatus``; in ROS 2 they are bytes."""

    OK = 0
    WARN = 1
    ERROR = 2


Log = Callable[[Level, str], None]
"""Function that writes a line to the node's log; OK is the level of information."""


class LogThrottle:
    """Log that writes the first message of each kind and drops the others.

    Exceptions of the log are ignored, so that no encoder thread ends because of a failed log.

    Args:
        log: writes a line to the node's log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    def report(self, kind: str, message: str, level: Level = Level.WARN) -> bool:
        """Log a message unless one of the same kind was logged before.

        Args:
            kind: kind of the message.
            message: text of the line.
            level: level of the line.

        Returns:
            Whether the message was logged.
        """
        with self._lock:
            if kind in self._reported:
                return False
            self._reported.add(kind)
        self.log(f"{message} (further ones of this kind are counted, not logged)", level)
        return True

    def log(self, message: str, level: Level = Level.WARN) -> None:
        """Log a message, also if one of its kind was logged before.

        Args:
            message: text of the line.
            level: level of the line.
        """
        try:
            self._log(level, message)
        except Exception:
            pass

    def forget(self) -> None:
        """Log the next message of every kind again."""
        with self._lock:
            self._reported.clear()
