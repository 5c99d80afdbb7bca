"""``s2robot decide``: train seed after seed until each pair of variants is decided, then stop.

Settings are those of `s2robot sweep` without the seed. In each round, every variant that is still
undecided gets one more training seed, on initial states of its own, and all pairs are tested. The
test stays valid however often one looks, so a decided pair gets no more seeds. Pairs are variants
that differ in one setting, such as scales, or any two variants that are given alone; further
variants and baselines get three seeds. Run the same command again to continue after an
interruption, with a larger --max-seeds if you like.
"""

from __future__ import annotations

import argparse
import re
import shlex

from s2robot.cli.arguments import count, fraction, points
from s2robot.cli.help import help_of
from s2robot.cli.parsers.report import add_metric
from s2robot.cli.settings.flags import CommandParser
from s2robot.stats import LEAST_SEEDS

RUNS_DIR = "runs/decide"
REFUSED = {
    "seed": "decide runs the training seeds 0, 1, 2, ... by itself (--max-seeds: how many)",
    "first": "decide gives each seed a block of initial states of its own",
    "train_together": "decide has --at-once for it",
    "eval_levels": "decide evaluates on the variants' own level; `s2robot sweep` has others",
}
"""Settings of a sweep that are not taken, and why."""
_EPILOG = f"""
Settings: see `s2robot sweep --help`. runs_dir is {RUNS_DIR} where it is not given.

examples:
  s2robot decide 'scales=[1],[1,2]'
  s2robot decide 'scales=[1],[1,2]' encoder=s2r-vitt16-128,random/vitt16-128,blind n=32
  s2robot decide 'scales=[1],[1,2]' level=easy budget=quick --max-seeds 8 --margin 10
  s2robot decide 'scales=[1],[1,2]' --and 'scales=[1] copies=2' --name width

exit status:
  with one pair: 0 better   3 worse   4 equivalent   5 not shown; with several pairs: 0
  1  runs failed; they are named
  2  wrong use, or the folder holds another sequential test
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a setting is unknown, wrong or refused.
    """
    parser = CommandParser("decide", help_of(__doc__), _EPILOG, schema="sweep")
    add = parser.add_argument
    add("settings", nargs="*", metavar="NAME=VALUE[,VALUE]", help="settings of a sweep")
    add("--and", dest="further", action="append", default=[], metavar="'NAME=VALUE ...'",
        help="further variants: the settings with these in place of theirs")  # fmt: skip
    add("--name", type=_name, metavar="NAME",
        help="of the test, where runs_dir holds several; they share equal runs, and each has its"
        " own correction for several pairs")  # fmt: skip
    add("--max-seeds", type=_seeds, default=32, metavar="N",
        help="seeds after which a pair stays undecided (default: 32)")  # fmt: skip
    add("--margin", type=points, default=0.05, metavar="POINTS",
        help="difference of success rates that is too small to matter [percentage points]"
        " (default: 5)")  # fmt: skip
    add("--alpha", type=fraction, default=0.05, metavar="P",
        help="probability of any wrong better or worse (default: 0.05)")  # fmt: skip
    add("--at-once", type=count, default=4, metavar="N",
        help="seeds of a variant that are trained together (default: 4)")  # fmt: skip
    add_metric(parser)
    found = parser.parse(argv)
    from s2robot.cli.settings.front import allowed_words  # which imports Hydra

    for settings in groups(found):
        allowed_words("sweep", settings, REFUSED)
    return found


def groups(options: argparse.Namespace) -> list[list[str]]:
    """Return the settings of each group of variants, those of ``--and`` in place of the first's.

    Args:
        options: as ``parse`` returns them.

    Examples:
        >>> groups(argparse.Namespace(settings=["scales=[1]", "n=8"], further=["scales=[1,2]"]))
        [['scales=[1]', 'n=8'], ['n=8', 'scales=[1,2]']]
    """
    found = [list(options.settings)]
    for text in options.further:
        words = shlex.split(text)
        replaced = {word.partition("=")[0] for word in words}
        kept = [word for word in options.settings if word.partition("=")[0] not in replaced]
        found.append([*kept, *words])
    return found


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot name a file; allowed: letters, digits, '.', '_' and '-'"
        )
    return text


def _seeds(text: str) -> int:
    number = count(text)
    if number < LEAST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text} seeds give no verdict; it takes {LEAST_SEEDS}")
    return number
