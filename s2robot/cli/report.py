"""Work of ``s2robot report``: pages, pictures and numbers written from evaluated runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from s2robot.cli.parsers.report import parse
from s2robot.reporting.html_report import TITLE, report_answers, write_files
from s2robot.reporting.junit import junit
from s2robot.reporting.markdown import markdown
from s2robot.reporting.report import Report, make_report
from s2robot.reporting.run_files import Problem
from s2robot.utils.io import atomic_path


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    report = make_report(options.runs, options.metric)
    for path in write(report, options.out, options.title, options.deadline_ms):
        print(path)
    if options.junit:
        text = junit(report.families, report.problems, report.metric, options.fail_on)
        write_text(options.junit, text)
    if options.markdown:
        content = (report.families, report.problems, report.metric, report.groups)
        write_text(options.markdown, markdown(*content, report_answers(report)))
    return 0


def write(
    report: Report, out: Path, title: str = TITLE, deadline_ms: float | None = None
) -> Sequence[Path]:
    """Write a report, name its problems on standard error, and return the paths of the files.

    Args:
        report: the content.
        out: folder of the files.
        title: of the page.
        deadline_ms: time that encoder and policy may take for one frame [ms]; None for none.
    """
    paths = write_files(report, out, title, deadline_ms)
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
