"""``s2robot reconstruct``: measure how much of a larger encoder's features others recover."""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.analysis.reconstruction import RIDGE, TOKENS
from s2robot.cli.arguments import ScaleSets, add_encoder_options, check_encoders, count, frame_shape
from s2robot.cli.settings.flags import CommandParser
from s2robot.cli.settings.recorded import add_data_flags, add_task_flag
from s2robot.data.config import GENERATED

OPTIONS = ("input_mode", "dtype")
"""Options of encoders that do not follow from the study."""
FRAMES_TASK = "--frames-task"
"""Flag that names the task of demonstrations."""
_DESCRIPTION = """\
Fit a linear map from the tokens of a source encoder, at one or several scales, to those of a
larger target encoder on your frames, and print how much it recovers, as in Table 2 of the S² paper:
the loss l (mean squared error), I = -log2(l / l0) with l0 the loss of the best constant, and the
ratio of I to that of a still larger reference encoder. The map is fitted on training frames by
least squares and evaluated on test frames of other episodes. See docs/guides/reconstruct.md.
"""
_EXAMPLES = """\
examples:
  s2robot reconstruct --target dinov2-vitl14 --source dinov2-vits14 dinov2-vitb14 \\
      --scales '[1],[1,2],[1,2,3]' --reference timm/vit_giant_patch14_dinov2.lvd142m \\
      --frames episodes/*.mp4 --count 200 --out runs/reconstruct
  s2robot reconstruct --target file:runs/vits/encoder.json --source s2r-vitt16-128 \\
      random/vitt16-128 --scales '[1],[1,2],[1,2,3]' --frames pick-cube/precise
  s2robot reconstruct --target vc1-vitl --source vc1-vitb --tokens cls --frames camera.mp4
  s2robot reconstruct --target dinov2-vitl14 --source dinov2-vits14 --frames lift.hdf5 \\
      --cameras agentview
  s2robot reconstruct --target dinov2-vitl14 --source dinov2-vits14 --frames demos/drawers.hdf5 \\
      --frames-task module:my_tasks.Drawers

An interrupted run continues with the same --out and frames; sources that you add later are encoded
alone. `s2robot encoders fetch NAME` downloads published encoders in advance.
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("reconstruct", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    _add_encoders(parser)
    _add_frames(parser)
    add_data_flags(parser, all_rows=False)
    add_task_flag(parser, FRAMES_TASK)
    add("--ridge", type=float, default=RIDGE, metavar="R",
        help=f"share of each channel's variance added to it (default: {RIDGE:g})")  # fmt: skip
    add("--per-place", action="store_true",
        help="one bias and baseline for each place of the grid: only changes count")  # fmt: skip
    add("--out", type=Path, default=Path("runs/reconstruct"), help="folder of the results")
    add("--json", action="store_true", help="JSON instead of a table")
    found = parser.parse(argv)
    check_encoders(found.target, *found.source, found.reference)
    return found


def _add_encoders(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoders")
    add = group.add_argument
    add("--target", required=True, metavar="NAME", help="encoder whose features are recovered")
    add(
        "--source",
        required=True,
        nargs="+",
        metavar="NAME",
        help="encoders that they are recovered from",
    )
    add("--scales", nargs="+", action=ScaleSets, default=[(1.0,), (1.0, 2.0)],
        metavar=("[S],[S,S]", "S,S"),
        help="scale sets of each source (default: [1],[1,2])")  # fmt: skip
    add("--reference", metavar="NAME", help="a still larger encoder, at scale 1, for the ratio")
    add("--tokens", choices=TOKENS, default="grid",
        help="all places of the grid (default), the class token, or the grid's mean")  # fmt: skip
    add("--target-layer", type=int, metavar="LAYER",
        help="a layer instead of the target's output (-1: the last, before its norm)")  # fmt: skip
    add_encoder_options(group, OPTIONS, {"dtype": "float32"})
    add("--device", default="auto")
    add("--batch", type=count, default=16, help="number of frames encoded together (default: 16)")


def _add_frames(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("frames").add_argument
    add("--frames", nargs="+", default=["pick-cube"], metavar="SOURCE",
        help="videos, folders of images, bags, recorded data (as `s2robot train data=PATH` takes"
        f" it), demonstrations of `s2robot collect`, or {', '.join(GENERATED)} (default pick-cube;"
        " also pick-cube/LEVEL)")  # fmt: skip
    add(
        "--count",
        type=count,
        default=400,
        help="maximum number of frames from each source (default: 400)",
    )
    add("--frame", type=frame_shape, metavar="HxW",
        help="size that frames are resized to [px] (default: of the largest scale)")  # fmt: skip
    add("--block", type=count, default=20, metavar="N",
        help="N consecutive frames of videos and folders are all for training or all for test "
        "(default: 20); for pick-cube and recorded data, whole episodes are")  # fmt: skip
    add(
        "--test-share",
        type=float,
        default=0.25,
        help="share of the blocks for test (default: 0.25)",
    )
    add("--seed", type=int, default=0, help="seed of the split into training and test")
