"""``s2robot report``: write one HTML page, a picture and the numbers (JSON) from evaluated runs.

Runs that are damaged or do not fit to the others are left out; they are named on standard error, on
the page and in report.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.reporting.comparisons import VERDICTS
from s2robot.reporting.html_report import TITLE, write_files
from s2robot.reporting.junit import junit
from s2robot.reporting.markdown import markdown
from s2robot.reporting.report import Report, make_report
from s2robot.reporting.run_files import Problem
from s2robot.reporting.run_results import METRICS
from s2robot.utils.io import atomic_path

_EXAMPLES = """examples:
  s2robot report runs/cells --out runs/report
  s2robot report runs/cells --junit report.xml --fail-on worse --markdown report.md
"""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = _parse(argv)
    report = make_report(options.runs, options.metric)
    for path in write(report, options.out, options.title):
        print(path)
    if options.junit:
        text = junit(report.families, report.problems, report.metric, options.fail_on)
        write_text(options.junit, text)
    if options.markdown:
        content = (report.families, report.problems, report.metric, report.groups)
        write_text(options.markdown, markdown(*content))
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("report", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("runs", type=Path, nargs="?", default=Path("runs/cells"),
        help="folder of runs (default: runs/cells)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/report"), help="default: runs/report")
    add("--title", default=TITLE, help="of the page (default: %(default)s)")
    add_metric(parser)
    add("--junit", type=Path, metavar="FILE", help="write one test case a comparison as JUnit XML")
    add("--fail-on", type=verdicts, default=("worse",), metavar="VERDICT[,VERDICT]",
        help="verdicts that fail in --junit, of better, worse, equivalent, not-shown"
        " (default: worse)")  # fmt: skip
    add("--markdown", type=Path, metavar="FILE", help="write a table for a pull-request comment")
    return parser.parse(argv)


def write(report: Report, out: Path, title: str = TITLE) -> Sequence[Path]:
    """Write a report, name its problems on standard error, and return the paths of the files.

    Args:
        report: the content.
        out: folder of the files.
        title: of the page.
    """
    paths = write_files(report, out, title)
    print_problems(report.problems)
    return paths


def print_problems(problems: Iterable[Problem]) -> None:
    """Print what was left out or noticed on standard error, one line each."""
    for problem in problems:
        print(problem, file=sys.stderr)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 and print the path.

    Args:
        path: of the file; its folder is made where it is missing.
        text: the content.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
    print(path)


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add the option of the metric that comparisons are made on."""
    parser.add_argument(
        "--metric",
        choices=METRICS,
        default=METRICS[0],
        help="lifted at any step, or held when time is up (default: %(default)s)",
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
