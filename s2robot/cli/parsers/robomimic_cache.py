"""``s2robot robomimic-cache``: images of a robomimic file as embeddings.

OUT is a robomimic file whose cameras are low-dimensional observations, CAMERA_embedding: plain
robomimic trains on it, without this package and without encoding a frame again. All else is copied.
Stopped, it goes on where it was; OUT appears when it is complete.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from s2robot.cli.arguments import add_encoder_options, check_encoders, count, runtime
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.runtimes import RUNTIMES

DEFAULT_ENCODER = "s2r-vitt16-128"
DEFAULTS: dict[str, Any] = {"scales": (1, 2), "readout": "published"}
_EXAMPLES = """examples:
  s2robot robomimic-cache images.hdf5 embeddings.hdf5
  s2robot robomimic-cache images.hdf5 embeddings.hdf5 --encoder efficientnet-lite0 --readout mean
  s2robot robomimic-cache images.hdf5 wrist.hdf5 --camera robot0_eye_in_hand --scales '[1,2]'

then, in robomimic's configuration:
  "modalities": {"obs": {"low_dim": ["agentview_embedding", "robot0_eef_pos"], "rgb": []}}
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("robomimic-cache", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="robomimic file with images")
    add("out", metavar="OUT", type=Path, help="file to write, NAME.hdf5")
    add("--camera", nargs="+", metavar="NAME", help="cameras to encode (default: all)")
    add("--keep-images", action="store_true", help="copy the images that are encoded too")
    add("--encoder", default=DEFAULT_ENCODER,
        help=f"see `s2robot encoders` (default: {DEFAULT_ENCODER})")  # fmt: skip
    add_encoder_options(parser, defaults=DEFAULTS)
    add("--weights", type=Path, help="file of the encoder's weights")
    add("--device", default="auto")
    add("--runtime", default="auto", type=runtime, metavar="NAME",
        help=f"{', '.join(RUNTIMES)} (default: auto)")  # fmt: skip
    add("--batch", type=count, default=64, help="frames encoded at once (default: 64)")
    found = parser.parse(argv)
    check_encoders(found.encoder)
    if found.out.exists():
        parser.error(f"{found.out} exists; delete it, or give another name")
    return found
