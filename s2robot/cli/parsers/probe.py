"""``s2robot probe``: measure what frozen features encode, and whether another scale helps.

Probes predict from frozen features what the simulator knows: the position of the cube, whether it
is grasped, the segmentation and the depth of each pixel. Of recorded data, or demonstrations of any
task (--data), they predict the action. Every encoder is tested with every scale set and every
choice of layers on the same frames. Training and test frames come from different episodes. Finished
rows are stored: run the same command again to continue after an interruption.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.analysis.probes import COUNT, EPISODES, LINEAR_TASKS, RESETS, TASK_NAMES
from s2robot.cli.arguments import ScaleSets, add_encoder_options, check_encoders, count
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.cli.settings.recorded import add_data_flags, add_task_flag
from s2robot.encoder.spec import EncoderOptions
from s2robot.envs.levels import CAMERAS, LEVELS, get_level
from s2robot.errors import unknown
from s2robot.runtimes import RUNTIMES

QUICK_EPISODES, QUICK_RESETS = 24, 100
OPTIONS = [name for name in EncoderOptions.__annotations__ if name != "layers"]
"""Options of all encoders of a study; scales and layers are what it compares."""
DATA_TASK = "--data-task"
"""Flag that names the task of demonstrations."""
_EXAMPLES = """\
examples:
  s2robot probe --quick                      a few minutes: shipped encoder, (1), (1,2), (1,2,3)
  s2robot probe s2r-vitt16-128 random/vitt16-128 --scales '[1],[1,2]' --level precise
  s2robot probe mvp-vitb-egosoup --size 672 --task segmentation depth --layers last 5 5,11
  s2robot probe file:runs/pretrain/encoder.json --task localization-head --head-seeds 8
  s2robot probe s2r-vitt16-128 random/vitt16-128 --data lift.hdf5 --cameras agentview
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("probe", help_of(__doc__), _EXAMPLES)
    _add_variants(parser)
    _add_frames(parser)
    add_data_flags(parser, all_rows=True, low_dim=False)
    add = parser.add_argument_group("frames of recorded data").add_argument
    add("--data", metavar="SOURCE",
        help="recorded data, as `s2robot train data=PATH` takes it, or FILE.hdf5 of `s2robot"
        " collect`, whose actions are predicted")  # fmt: skip
    add_task_flag(parser, DATA_TASK)
    add("--count", type=count, default=COUNT, metavar="N",
        help=f"frames that are probed at most (default: {COUNT})")  # fmt: skip
    add = parser.add_argument
    add("--task", nargs="+", metavar="TASK",
        help=f"some of {', '.join(TASK_NAMES)} (default: {', '.join(LINEAR_TASKS)}; action with"
        " --data)")  # fmt: skip
    add("--head-seeds", type=int, default=5, metavar="N",
        help="training seeds of localization-head (default: 5)")  # fmt: skip
    add("--device", default="auto", help="default: auto")
    add("--runtime", choices=RUNTIMES, default="auto", help="must be exact (default: auto)")
    add("--quick", action="store_true",
        help=f"{QUICK_EPISODES} episodes and {QUICK_RESETS} resets: wider intervals")  # fmt: skip
    add("--data-dir", type=Path, default=Path("data"), metavar="DIR",
        help="folder of frames and features (default: data)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/probes"), metavar="DIR",
        help="folder of results (default: runs/probes)")  # fmt: skip
    add("--json", action="store_true", help="JSON instead of a table")
    found = parser.parse(argv)
    found.task = found.task or (["action"] if found.data else [*LINEAR_TASKS])
    for task in found.task:
        if task not in TASK_NAMES:
            raise unknown("task", task, TASK_NAMES)
    get_level(found.level)
    _check_frames(parser, found)
    check_encoders(*found.encoders)
    return found


def _add_variants(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoders")
    add = group.add_argument
    add("encoders", nargs="*", default=["s2r-vitt16-128"], metavar="NAME",
        help="see `s2robot encoders` (default: s2r-vitt16-128)")  # fmt: skip
    add("--scales", nargs="+", action=ScaleSets, default=[(1,), (1, 2), (1, 2, 3)],
        metavar=("[S],[S,S]", "S,S"),
        help="scale sets, compared with the first (default: [1],[1,2],[1,2,3])")  # fmt: skip
    add("--layers", nargs="+", type=_layers, default=[()], metavar="LAYER,LAYER",
        help="intermediate layers, from 0 (default: last, after the final norm)")  # fmt: skip
    add_encoder_options(group, OPTIONS)


def _add_frames(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("frames").add_argument
    add("--level", default="precise", help=f"{', '.join(LEVELS)} (default: precise)")
    add("--camera", default="", help=f"{', '.join(CAMERAS)} (default: that of the level)")
    add("--size", type=int, default=384, help="side of the frames [px] (default: 384)")
    add("--label-size", type=int, default=96, help="side of the label maps [px] (default: 96)")
    add("--episodes", type=int, help=f"episodes of the expert (default: {EPISODES})")
    add("--resets", type=int, help=f"frames of random scenes (default: {RESETS})")
    add("--split-seed", type=int, default=0, metavar="SEED",
        help="of the split into training and test episodes (default: 0)")  # fmt: skip


def _check_frames(parser: CommandParser, found: argparse.Namespace) -> None:
    """Refuse flags of the simulator's frames beside recorded data, and of data without any."""
    scenes = ("level", "camera", "size", "label_size", "episodes", "resets", "quick")
    recorded = ("count", "cameras", "action", "tolerance_s", "task_of_demos")
    there, other = (
        ("recorded data", scenes) if found.data else ("frames of the simulator", recorded)
    )
    for name in other:
        if getattr(found, name) != parser.get_default(name):
            flag = DATA_TASK if name == "task_of_demos" else f"--{name.replace('_', '-')}"
            instead = "leave it out" if found.data else "give --data SOURCE, or leave it out"
            parser.error(f"{flag} does not go with {there}; {instead}")


def _layers(text: str) -> tuple[int, ...]:
    if text == "last":
        return ()
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'last' nor numbers of layers, such as 5,11"
        ) from None
