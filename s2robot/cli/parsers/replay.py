"""``s2robot replay``: show an episode of a run again from its exact start.

The policy, its encoder and the initial state are rebuilt, and the episode is rolled out again in a
batch like that of the run. The outcome is compared with the stored row, and a video is written. The
exit status is 1 if the row is not as stored, which another machine or runtime can cause.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.experiments.replay import VIEWS

_EXAMPLES = """examples:
  s2robot replay runs/cells/NAME 3
  s2robot replay NAME 3 --view both --steps steps.csv
  s2robot replay NAME e38024dfae740762 --out episode.mp4   by the hash of its initial state
  s2robot replay NAME 3 --stored                           the stored actions, without the policy
  s2robot replay NAME 3 --task module:own_task.Reach       a run of a task of your own
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("replay", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a run, or its name, or the beginning of its name")
    add("episode", metavar="EPISODE",
        help="index of the episode's row, or the hash of its initial state")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help="the video (default: replays/episode_EPISODE.mp4 in the run's folder)")  # fmt: skip
    add("--view", choices=VIEWS, default="scene",
        help="a camera that shows the scene (of pick-cube: near the cube), the frames that the"
        " encoder gets, or both side by side"
        " (default: scene)")  # fmt: skip
    add("--steps", type=Path, metavar="FILE",
        help="table of the steps (CSV): proprioception, action, reward, success")  # fmt: skip
    add("--stored", action="store_true", help="play the stored actions; needs no policy or weights")
    add("--runs", type=Path, default=Path("runs/cells"), metavar="DIR",
        help="folder of the runs, for names (default: runs/cells)")  # fmt: skip
    add("--checkpoint", type=Path, metavar="FILE",
        help="the policy file, where it does not lie beside the episodes")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", help="file of the encoder's weights")
    add("--data", type=Path, default=Path("data"), metavar="DIR",
        help="folder of initial states, for runs of another MuJoCo (default: data)")  # fmt: skip
    add("--task", metavar="NAME",
        help="the run's task, where its name has a module: module:path.to.Task or"
        " gym:MODULE:ID; no file decides what is imported")  # fmt: skip
    return parser.parse(argv)
