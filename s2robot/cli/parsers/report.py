"""``s2robot report``: write one HTML page, a picture and the numbers (JSON) from evaluated runs.

Runs that are damaged or do not fit to the others are left out; they are named on standard error, on
the page and in report.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import positive
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.reporting import METRICS, TITLE, VERDICTS

_EXAMPLES = """examples:
  s2robot report runs/cells --out runs/report
  s2robot report runs/cells --hz 30               a deadline of 33.3 ms as a line
  s2robot report runs/cells --junit report.xml --fail-on worse --markdown report.md
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("report", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("runs", type=Path, nargs="?", default=Path("runs/cells"),
        help="folder of runs (default: runs/cells)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/report"), help="default: runs/report")
    add("--title", default=TITLE, help="of the page (default: %(default)s)")
    add_metric(parser)
    deadline = parser.add_mutually_exclusive_group()
    limit = deadline.add_argument
    limit("--ms", type=positive, dest="deadline_ms", metavar="MS",
          help="deadline of one frame, encoder and policy, drawn as a line [ms]")  # fmt: skip
    limit("--hz", type=positive, help="the same as a rate: 30 is 33.3 ms")
    add("--junit", type=Path, metavar="FILE", help="write one test case a comparison as JUnit XML")
    add("--fail-on", type=verdicts, default=("worse",), metavar="VERDICT[,VERDICT]",
        help="verdicts that fail in --junit, of better, worse, equivalent, not-shown"
        " (default: worse)")  # fmt: skip
    add("--markdown", type=Path, metavar="FILE", help="write a table for a pull-request comment")
    found = parser.parse(argv)
    if found.hz is not None:
        found.deadline_ms = 1000 / found.hz
    return found


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add the option of the metric that comparisons are made on."""
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default=METRICS[0],
        help="success at any step, or when time is up; of pick-cube, the cube is lifted or held "
        "(default: %(default)s)",
    )


def verdicts(text: str) -> tuple[str, ...]:
    """Return the verdicts of a text with commas.

    Raises:
        argparse.ArgumentTypeError: one of them is unknown.

    Examples:
        >>> verdicts("equivalent,not-shown")
        ('equivalent', 'not shown')
    """
    found = tuple(word.strip().replace("-", " ") for word in text.split(","))
    for word in found:
        if word not in VERDICTS:
            allowed = ", ".join(VERDICTS).replace(" shown", "-shown")
            raise argparse.ArgumentTypeError(f"{word!r} is no verdict; available: {allowed}")
    return found
