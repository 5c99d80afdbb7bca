"""``s2robot export-dataset``: write demonstrations or rollouts, with frames, for other packages.

The name of OUT decides the format: OUT.hdf5 is a robomimic file with images, OUT without an ending
is a LeRobot v3 folder (which needs the extra `lerobot`). IN is a file of `s2robot collect`, whose
frames are drawn here; or the folder of a finished evaluation, whose stored actions are
replayed and drawn, with the success of each episode; or a recorded data set: a robomimic file with
images, a LeRobot folder, a folder of episodes, a folder of ROS bags. OUT appears when it is
complete.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser

ENDINGS = (".hdf5", ".h5")
"""Endings of a robomimic file; without an ending OUT is a LeRobot folder."""
_EXAMPLES = """examples:
  s2robot export-dataset data/demos/easy.hdf5 lerobot/easy --size 128
  s2robot export-dataset demos.hdf5 lerobot/both --camera front wrist --low-dim ee_pos
  s2robot export-dataset demos.hdf5 images.hdf5 --camera front wrist --size 84
  s2robot export-dataset so101.hdf5 lerobot/so101         of another task, with its own cameras
  s2robot export-dataset runs/cells/NAME rollouts.hdf5    rollouts of a policy
  s2robot export-dataset lerobot/easy easy.hdf5          from one format to the other
  s2robot export-dataset bags lerobot/bags --action /command --camera /front/image_raw
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("export-dataset", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="demonstrations, or a run, to read")
    add("out", metavar="OUT", type=Path, help="NAME.hdf5 (robomimic) or a folder (LeRobot v3)")
    add("--camera", nargs="+", metavar="NAME",
        help="cameras (default: the task's first or the policy's; all of a recording)")  # fmt: skip
    add("--size", type=int, metavar="PX",
        help="side of drawn frames [px] (default: 384), where the task draws any size")  # fmt: skip
    add("--low-dim", nargs="+", metavar="KEY",
        help="observations (default: all, or the robot's own where not pick-cube)")  # fmt: skip
    add("--action", nargs="+", metavar="TOPIC", help="of ROS bags: topics of the actions")
    add("--tolerance-s", type=float, metavar="S",
        help="of ROS bags: largest distance of a message from its row [s]")  # fmt: skip
    add("--images", action="store_true",
        help="LeRobot: store frames as PNG, without loss, not as videos")  # fmt: skip
    add("--task", metavar="NAME",
        help="task of the run or the demonstrations, where its name has a module:"
        " module:path.to.Task or gym:MODULE:ID")  # fmt: skip
    add("--data", type=Path, default=Path("data"), metavar="DIR",
        help="folder of drawn frames, in which they are kept (default: data)")  # fmt: skip
    found = parser.parse(argv)
    if found.out.suffix not in ("", *ENDINGS):
        parser.error(
            f"{found.out}: the name decides the format; allowed: NAME.hdf5 (robomimic), or a NAME "
            "without a dot for a LeRobot folder"
        )
    if found.images and found.out.suffix:
        parser.error("--images is for a LeRobot folder; a robomimic file stores images anyway")
    if found.out.exists():
        parser.error(f"{found.out} exists; delete it, or give another name")
    return found
