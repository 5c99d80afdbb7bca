"""``s2robot compare``: give one verdict on two variants, with an exit status for scripts and CI.

The verdict is on the second variant: better, worse, equivalent or not shown. The variants are
compared on the initial states that both have, whatever else differs between them; what differs is
named. A verdict other than "not shown" takes three training seeds of each variant.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import points
from s2robot.cli.help import help_of
from s2robot.cli.parsers.report import add_metric, verdicts
from s2robot.cli.settings.flags import CommandParser
from s2robot.reporting import MARGIN

_EPILOG = """
examples:
  s2robot compare runs/cells "s2r-vitt16-128 (1)" "s2r-vitt16-128 (1,2)"
  s2robot compare runs/cells --first blind --second privileged_state
  s2robot compare main/runs/cells branch/runs/cells --accept better,equivalent --junit verdict.xml

exit status:
  0  the verdict is accepted; without --accept: better
  3  worse        4  equivalent        5  not shown        6  better, and not accepted
  1  nothing can be compared: no usable runs, no finished run, no initial state in common
  2  wrong use: an unknown option, variant or value
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("compare", help_of(__doc__), _EPILOG)
    add = parser.add_argument
    add("what", nargs="+", metavar="RUNS [A B]",
        help="a folder of runs and labels of two of its variants, or two folders")  # fmt: skip
    add("--first", metavar="LABEL", help="variant that the other is compared with: its label, or "
        "the beginning of its key in report.json")  # fmt: skip
    add("--second", metavar="LABEL", help="variant that the verdict is on")
    add("--margin", type=points, default=MARGIN, metavar="POINTS",
        help="difference of success rates that is too small to matter [percentage points]"
        f" (default: {100 * MARGIN:g})")  # fmt: skip
    add_metric(parser)
    add("--accept", type=verdicts, default=("better",), metavar="VERDICT[,VERDICT]",
        help="verdicts with exit status 0, of better, worse, equivalent, not-shown"
        " (default: better)")  # fmt: skip
    add("--junit", type=Path, metavar="FILE",
        help="write the verdict as JUnit XML; it fails unless --accept names it")  # fmt: skip
    add("--markdown", type=Path, metavar="FILE", help="write a table for a pull-request comment")
    add("--json", type=Path, metavar="FILE", help="write the numbers")
    return parser.parse(argv)
