"""Progress of long work with the time left: a bar on a terminal, and plain lines in a pipe."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from s2robot.utils.console import MESSAGES

Item = TypeVar("Item")
LINE_EVERY_S = 20.0
"""Time between two lines of one piece of work [s]."""


def duration(seconds: float) -> str:
    """Return a duration in words.

    Args:
        seconds: the duration [s].

    Examples:
        >>> duration(40), duration(800), duration(9000)
        ('40 s', '13 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Lines:
    """Progress as plain lines, for a pipe; one each ``LINE_EVERY_S``, and a last one.

    Args:
        text: what is done.
        total: number of steps.
        done: steps that were done before.
    """

    def __init__(self, text: str, total: float, done: float = 0) -> None:
        self.text, self.total, self.first, self.done = text, total, done, done
        self.started = self.printed = time.monotonic()

    def update(self, done: float) -> None:
        """Set the number of finished steps; print a line if the last one is old enough."""
        self.done = done
        now = time.monotonic()
        if now - self.printed < LINE_EVERY_S or done >= self.total:
            return
        self.printed = now
        spent, new = now - self.started, done - self.first
        left = f", {duration(spent / new * (self.total - done))} left" if new > 0 else ""
        MESSAGES.print(f"{self.text}: {done:.0f} of {self.total:.0f}{left}")

    def close(self) -> None:
        """Print the last line."""
        spent = duration(time.monotonic() - self.started)
        MESSAGES.print(f"{self.text}: {self.done:.0f} of {self.total:.0f} after {spent}")


class Bar:
    """Progress of one piece of work.

    Args:
        text: what is done.
        total: number of steps.
        shown: False shows nothing.
        done: steps that were done before.
        columns: of the bar on a terminal, behind its text; None: numbers and time left.
    """

    def __init__(
        self,
        text: str,
        total: float,
        shown: bool = True,
        done: float = 0,
        columns: Collection[ProgressColumn] | None = None,
    ) -> None:
        self.done = done
        self._lines = Lines(text, total, done) if shown and not MESSAGES.is_terminal else None
        shown = shown and self._lines is None
        columns = columns or (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = live_progress(*columns, shown=shown)
        self._task = self._progress.add_task(text, total=total)
        self._progress.update(self._task, completed=done)

    def update(self, done: float) -> None:
        """Set the number of finished steps."""
        self.done = done
        self._progress.update(self._task, completed=done)
        if self._lines is not None:
            self._lines.update(done)

    def advance(self, steps: float = 1) -> None:
        """Add finished steps."""
        self.update(self.done + steps)

    def start(self) -> Bar:
        """Show the bar until ``stop``."""
        self._progress.start()
        return self

    def stop(self) -> None:
        """Leave the bar as it is, or print the last line."""
        self._progress.stop()
        if self._lines is not None:
            self._lines.close()


def live_progress(*columns: ProgressColumn, shown: bool, transient: bool = False) -> Progress:
    """Return bars on standard error whose descriptions are no markup; prints go above them.

    Args:
        columns: behind the description.
        shown: False shows nothing.
        transient: leave nothing behind.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=MESSAGES,
        disable=not shown,
        transient=transient,
        redirect_stdout=sys.stdout.isatty(),
    )


@contextlib.contextmanager
def progress_bar(text: str, total: float, shown: bool = True, done: float = 0) -> Iterator[Bar]:
    """Show the progress of some work on standard error.

    Args:
        text: what is done.
        total: number of steps.
        shown: False shows nothing.
        done: steps that were done before.

    Yields:
        The bar, which is told of finished steps.
    """
    bar = Bar(text, total, shown, done).start()
    try:
        yield bar
    finally:
        bar.stop()


def tracked(items: Collection[Item], text: str, shown: bool = True) -> Iterator[Item]:
    """Yield items, and show how many of them are done.

    Args:
        items: the work.
        text: what is done.
        shown: False shows nothing.

    Examples:
        >>> sum(tracked([1, 2, 3], "adding", shown=False))
        6
    """
    with progress_bar(text, len(items), shown) as bar:
        for item in items:
            yield item
            bar.advance()
