"""``s2robot bench``: time an encoder frame by frame with each runtime.

Frames are encoded one at a time. The runtimes take turns after every 20 frames, so that a busy
machine slows all of them equally. The time is from the uint8 frame in memory to the embedding in
memory. With --hz, frames arrive at that rate, and a runtime passes if its 95th percentile is within
the period.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from s2robot.cli.arguments import add_encoder_options, check_encoders, count, frame_shape, runtime
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.data.config import GENERATED
from s2robot.runtimes import RUNTIMES

_EXAMPLES = """\
examples:
  s2robot bench                                         shipped encoder at (1,2), fastest runtime
  s2robot bench s2r-vitt16-128 --scales '[1,2,3]' --hz 30   exit status 1 unless 30 Hz are held
  s2robot bench --runtime eager openvino openvino-int8 --calibrate episode.mp4
  s2robot bench --runtime openvino-int8 --calibrate pick-cube/precise --frame 384x384
  s2robot bench mvp-vits-hoi --frame 480x640 --frames-from camera.mp4 --reuse --json
"""
DEFAULTS: dict[str, Any] = {"scales": (1, 2), "readout": "spatial_softmax"}


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("bench", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("encoder", nargs="?", default="s2r-vitt16-128", help="see `s2robot encoders`")
    add_encoder_options(parser, defaults=DEFAULTS)
    add("--weights", type=Path, help="file of the published weights")
    add("--device", default="auto")
    add(
        "--frame",
        type=frame_shape,
        default=(480, 640),
        metavar="HxW",
        help="size of the frames [px]",
    )
    add(
        "--frames-from",
        default="pick-cube",
        metavar="SOURCE",
        help=f"video, folder of images, or {', '.join(GENERATED)} (default: pick-cube)",
    )
    add("--count", type=count, default=200, help="number of frames to time, if there are as many")
    add("--runtime", nargs="+", default=["auto"], type=runtime, metavar="NAME",
        help=", ".join(RUNTIMES))  # fmt: skip
    add("--reuse", action="store_true", help="also time the encoder with its tile cache")
    add(
        "--calibrate",
        metavar="SOURCE",
        help="frames of your task and camera to calibrate int8 on",
    )
    add("--hz", type=_rate, help="frame rate that the encoder must keep up with")
    add("--out", type=Path, help="JSON file for the result")
    add("--json", action="store_true", help="JSON instead of a table")
    found = parser.parse(argv)
    check_encoders(found.encoder)
    return found


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate in Hz, such as 30")
    return rate
