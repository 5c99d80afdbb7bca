"""``s2robot encode-bag``: convert a recorded bag of images to a bag of embeddings."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from s2robot.cli.arguments import add_encoder_options, check_encoders, runtime
from s2robot.cli.settings.flags import CommandParser
from s2robot.runtimes import RUNTIMES

_DESCRIPTION = """\
Read the camera topics of a ROS 1 bag (.bag) or ROS 2 bag (.mcap, .db3, or a folder with
metadata.yaml) and write a bag with an embedding for every image: for each TOPIC of sensor_msgs
Image or CompressedImage, TOPIC/embedding of s2robot_msgs EmbeddingStamped, with the header and log
time of the image. ROS need not be installed. The name of OUT decides the format: OUT.mcap or, for a
folder with metadata.yaml, OUT without a dot (ROS 2); OUT.bag (ROS 1). OUT appears when it is
complete.
"""
_EXAMPLES = """\
examples:
  s2robot encode-bag run.mcap run.embeddings.mcap --encoder s2r-vitt16-128 --scales '[1,2]'
  s2robot encode-bag run.bag run.embeddings.bag --topic /wrist/image_raw --copy /joint_states /tf
  s2robot encode-bag rosbag2_folder embeddings --policy policy.safetensors --copy-all
  s2robot encode-bag run.mcap part.mcap --start 10 --end 25.5 --every 3 --reuse

in Python:
  from s2robot.data.rosbag import read_embeddings
  found = read_embeddings("run.embeddings.mcap", "/camera/image_raw/embedding")
  found.stamps_ns, found.frame_ids, found.values, found.model   # values (N, D) float32
"""
DEFAULT_ENCODER = "s2r-vitt16-128"
DEFAULTS: dict[str, Any] = {"scales": (1, 2)}


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("encode-bag", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="bag to read")
    add("out", metavar="OUT", type=Path, help="bag to write: NAME.mcap, NAME or NAME.bag")
    add("--encoder", help=f"see `s2robot encoders` (default: {DEFAULT_ENCODER})")
    add_encoder_options(parser, defaults=DEFAULTS)
    add("--policy", type=Path, help="use the encoder of this policy file, with all its settings")
    add("--weights", type=Path, help="file of the encoder's weights")
    add("--device", default="auto")
    add("--runtime", default="auto", type=runtime, metavar="NAME",
        help=f"{', '.join(RUNTIMES)} (default: auto)")  # fmt: skip
    add("--topic", nargs="+", default=[], help="image topics (default: all)")
    add("--every", type=int, default=1, metavar="N", help="encode every Nth message of each topic")
    add("--start", type=float, default=0.0, metavar="S", help="[s] after the first message")
    add("--end", type=float, default=math.inf, metavar="S", help="[s] after the first message")
    add("--copy", nargs="+", default=[], metavar="TOPIC", help="other topics to copy")
    add("--copy-all", action="store_true", help="copy all topics that are not encoded")
    add("--batch", type=int, default=16, help="frames encoded at once (default: 16)")
    add("--reuse", action="store_true", help="encode only tiles that changed since the last frame")
    add("--strict", action="store_true", help="stop at a message that cannot be decoded")
    add("--force", action="store_true", help="overwrite an existing bag")
    found = parser.parse(argv)
    check_encoders(found.encoder)
    return found
