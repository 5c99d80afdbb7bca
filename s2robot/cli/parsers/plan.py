"""``s2robot plan``: say how many training seeds and initial states a difference needs.

The numbers are for a sweep in which all seeds run on the same initial states, and follow from how
much success varies between training seeds, between initial states, and from episode to episode.
--runs measures that from finished runs; without it, values are assumed that were measured on the
level `precise`. Seeds of `s2robot decide`, which stops once a pair is decided, are simulated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import count, fraction, points, positive
from s2robot.cli.help import help_of
from s2robot.cli.parsers.report import add_metric
from s2robot.cli.settings.flags import CommandParser

_EXAMPLES = """\
examples:
  s2robot plan --difference 10                          with variances measured on `precise`
  s2robot plan --difference 10 --runs runs/cells        with those of your own runs
  s2robot plan --difference 5 --comparisons 3 --power 0.9 --seconds-per-episode 2.5
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("plan", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("--difference", type=points, required=True, metavar="POINTS",
        help="difference of success rates to show [percentage points]")  # fmt: skip
    add("--power", type=fraction, default=0.8, metavar="P",
        help="probability of showing it (default: 0.8)")  # fmt: skip
    add("--alpha", type=fraction, default=0.05, metavar="P",
        help="probability of showing a difference where there is none (default: 0.05)")  # fmt: skip
    add("--comparisons", type=count, default=1, metavar="N",
        help="pairs of variants that are tested together (default: 1)")  # fmt: skip
    add("--runs", type=Path, metavar="DIR",
        help="finished runs to measure the variances from, such as runs/cells")  # fmt: skip
    add_metric(parser)
    add("--seconds-per-episode", type=positive, metavar="S",
        help="of a rollout, for the hours (default: as timed in --runs)")  # fmt: skip
    add("--json", action="store_true", help="JSON instead of tables")
    return parser.parse(argv)
