"""``s2robot progress``: what the runs of a sweep do, on all machines that share its folder.

Everything is read from files in the folder of runs, so it works for every launcher, while jobs run
elsewhere and after they were killed. The exit status is 1 where runs failed or were lost.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.utils.console import MESSAGES, OUTPUT

if TYPE_CHECKING:
    from rich.table import Table

    from s2robot.experiments.sweeps.status import FolderStatus

_EXAMPLES = """examples:
  s2robot progress runs
  s2robot progress runs --watch
"""
WATCHED_EVERY_S = 5.0


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("progress", help_of(__doc__), _EXAMPLES)
    parser.add_argument(
        "runs_dir", type=Path, nargs="?", default=Path("runs"), help="default: runs"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="print it again as it changes, until no run goes on",
    )
    return parser.parse(argv)


def main(argv: list[str]) -> int:
    """Run the command and return the exit status, as the help tells it.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is a file.
        ValueError: no sweep has begun there.
    """
    from s2robot.experiments.sweeps.status import FAILED, LOST, folder_status

    options = parse(argv)
    if options.runs_dir.is_file():
        raise NotADirectoryError(
            f"{options.runs_dir} is a file; give the folder that a sweep has as runs_dir (runs "
            "where it has none)"
        )
    if not options.runs_dir.is_dir():
        raise FileNotFoundError(
            f"no folder {options.runs_dir}; give the runs_dir of a sweep (runs where it has none)"
        )
    status = folder_status(options.runs_dir)
    if not status.runs and not status.lines:
        raise ValueError(
            f"no sweep has begun in {options.runs_dir}: `s2robot sweep` and `s2robot decide` with "
            f"runs_dir={options.runs_dir} write what this command shows"
        )
    _print(status)
    while options.watch and not status.over:
        time.sleep(WATCHED_EVERY_S)
        before, status = status, folder_status(options.runs_dir)
        if status != before:
            _print(status)
    return int(any(state in status.counts for state in (FAILED, LOST)))


def _print(status: FolderStatus) -> None:
    if MESSAGES.is_terminal and OUTPUT.is_terminal:
        OUTPUT.clear()
    OUTPUT.print(_table(status))
    for line in status.lines:
        OUTPUT.print(line)
    counts = ", ".join(f"{number} {state}" for state, number in status.counts.items())
    OUTPUT.print(f"runs: {counts or 'none'}")


def _table(status: FolderStatus) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column in ("run", "state", "episodes", ""):
        table.add_column(column, justify="right" if column == "episodes" else "left")
    for run in status.runs:
        wanted = f" of {run.wanted:,}" if run.wanted else ""
        table.add_row(run.name, run.state, f"{run.episodes:,}{wanted}", run.detail)
    return table
