"""``s2robot encoders``: list all encoders; show, download or verify one."""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import ScaleSets
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser

_EXAMPLES = """\
examples:
  s2robot encoders                                  list all
  s2robot encoders --match r3m                      list those with r3m in the name
  s2robot encoders mvp-vitb-egosoup                 show one, with its cost at several scales
  s2robot encoders timm/vit_base_patch16_224.mae --scales '[1],[1,2]'
  s2robot encoders fetch mvp-vitb-egosoup           download and convert it, for offline use
  s2robot encoders verify r3m-resnet50              compare our output with the published one
  s2robot encoders verify vc1-vitb --weights vc1_vitb.pth
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("encoders", help_of(__doc__), _EXAMPLES)
    parser.add_argument(
        "words", nargs="*", metavar="[fetch | verify] NAME", help="default: list all"
    )
    parser.add_argument("--match", default="", help="list only encoders whose name contains this")
    parser.add_argument("--weights", type=Path, help="file of the published weights")
    parser.add_argument(
        "--scales",
        nargs="+",
        action=ScaleSets,
        default=[(1,), (1, 2), (1, 2, 3)],
        metavar=("[S],[S,S]", "S,S"),
        help="scale sets whose cost is shown (default: [1],[1,2],[1,2,3])",
    )
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    return parser.parse(argv)
