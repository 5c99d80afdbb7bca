"""``s2robot recommend``: which encoder and scales to take, for your data, machine and deadline.

Each candidate is an encoder with a set of scales. Its latency is measured here on single frames.
Candidates within the deadline are probed on your data: the error of actions, and of positions where
there are labels, on episodes that were held out. No policy is rolled out. Give demonstrations for a
choice, of the simulator or recorded; bare frames tell only the latency. Finished candidates are
stored: run the same command again to continue after an interruption.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.analysis.recommend.config import DEFAULT_ENCODERS, DEFAULT_SCALES, FRAMES, METRICS
from s2robot.cli.arguments import (
    ScaleSets,
    add_encoder_options,
    check_encoders,
    count,
    frame_shape,
    positive,
)
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.cli.settings.recorded import add_data_flags, add_task_flag
from s2robot.encoder.spec import EncoderOptions
from s2robot.runtimes import RUNTIMES
from s2robot.stats import LEAST_SEEDS

OPTIONS = [name for name in EncoderOptions.__annotations__ if name != "layers"]
"""Options of all candidates besides scales and readout."""
NOTHING_IN_TIME, NO_ACCURACY, NOT_CONFIRMED = 3, 4, 5
"""Exit statuses besides 0, 1 and 2."""
TASK_FLAG = "--task"
"""Flag that names the task of demonstrations."""
STATES = 32
"""Initial states of each seed that confirms."""
_EPILOG = f"""
SOURCE: demonstrations of a simulator (FILE.hdf5 of `s2robot collect`, of any task, or
pick-cube/LEVEL, which are collected where they are missing); recorded data, as `s2robot train
data=PATH` takes it (a robomimic file with images, a LeRobot v3 folder, a folder of episodes, ROS
bags); or bare frames: a folder of pictures, a video, a bag.

examples:
  s2robot recommend pick-cube/precise --hz 10
  s2robot recommend pick-cube/precise --encoder s2r-vitt16-128 random/vitt16-128 \\
      --scales '[1],[1,2]' --ms 100 --out runs/recommend
  s2robot recommend data/demos/precise.hdf5 --hz 10 --confirm 8 --states 32
  s2robot recommend so101.hdf5 --hz 10 --cameras front    demonstrations of another task
  s2robot recommend lift.hdf5 --hz 10 --cameras agentview robot0_eye_in_hand
  s2robot recommend bags --hz 10 --action /command --cameras /front/image_raw
  s2robot recommend camera.mp4 --hz 30 --frame 480x640

exit status:
  0  a candidate is recommended
  2  wrong use
  {NOTHING_IN_TIME}  no candidate meets the deadline; the nearest is named
  {NO_ACCURACY}  only latency can be told: the source has neither actions nor positions, or the best
     candidate is not shown to be better than the mean action or position
  {NOT_CONFIRMED}  rollouts of --confirm show that the second best is better
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("recommend", help_of(__doc__), _EPILOG)
    add = parser.add_argument
    add("source", metavar="SOURCE", help="demonstrations, or frames of your camera")
    _add_candidates(parser)
    add_data_flags(parser)
    add_task_flag(parser, TASK_FLAG)
    add("--positions", metavar="KEY",
        help="observation of recorded data with positions that are to be localized [m]"
        " (default: cube_pos where the data has it)")  # fmt: skip
    deadline = parser.add_argument_group("deadline").add_mutually_exclusive_group(required=True)
    deadline.add_argument("--hz", type=_rate, metavar="HZ",
        help="rate that the encoder must keep up with")  # fmt: skip
    deadline.add_argument("--ms", type=_milliseconds, metavar="MS",
        help="longest time from a frame of each camera to the embeddings, at the 95th percentile"
        " [ms]")  # fmt: skip
    add("--frame", type=frame_shape, metavar="HxW",
        help="size of the cameras' frames for the latency [px]"
        " (default: that of SOURCE)")  # fmt: skip
    add("--count", type=count, default=FRAMES, metavar="N",
        help=f"frames that are probed at most (default: {FRAMES})")  # fmt: skip
    add("--by", choices=METRICS, dest="metric",
        help="error that decides (default: action-linear where there are actions, else"
        " localization); action trains the policy's head, which takes the longest")  # fmt: skip
    add("--all", action="store_true", dest="probe_all",
        help="also probe candidates that miss the deadline")  # fmt: skip
    add("--device", default="auto", help="default: auto")
    add("--runtime", choices=RUNTIMES, default="auto", help="must be exact (default: auto)")
    add("--confirm", type=_seeds, metavar="SEEDS",
        help="train and roll out the two best with at most so many seeds, until they are told"
        " apart; not with recorded data, which has no simulator")  # fmt: skip
    add("--states", type=count, default=STATES, metavar="N",
        help=f"initial states of each seed of --confirm (default: {STATES})")  # fmt: skip
    add("--data-dir", type=Path, default=Path("data"), metavar="DIR",
        help="folder of demonstrations, frames and features (default: data)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/recommend"), metavar="DIR",
        help="folder of results (default: runs/recommend)")  # fmt: skip
    add("--json", action="store_true", help="JSON instead of a table")
    found = parser.parse(argv)
    check_encoders(*found.encoder)
    return found


def _add_candidates(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("candidates")
    group.add_argument("--encoder", nargs="+", default=list(DEFAULT_ENCODERS), metavar="NAME",
        help=f"see `s2robot encoders` (default: {' '.join(DEFAULT_ENCODERS)})")  # fmt: skip
    group.add_argument("--scales", nargs="+", action=ScaleSets, default=list(DEFAULT_SCALES),
        metavar=("[S],[S,S]", "S,S"),
        help="scale sets of each encoder (default: [1],[1,2],[1,2,3])")  # fmt: skip
    add_encoder_options(group, OPTIONS)


def _rate(text: str) -> float:
    rate = positive(text)
    if rate > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate in Hz, such as 30")
    return rate


def _milliseconds(text: str) -> float:
    value = positive(text)
    if value > 60_000:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 60000 ms; give a shorter deadline")
    return value


def _seeds(text: str) -> int:
    number = count(text)
    if number < LEAST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text} seeds give no verdict; it takes {LEAST_SEEDS}")
    return number
