"""``s2robot export``: write an encoder, preprocessing included, as one ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path

from s2robot.cli.arguments import add_encoder_options, check_encoders
from s2robot.cli.settings.flags import CommandParser
from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.runtimes.names import OPSET

_DESCRIPTION = """\
Write an encoder as one ONNX file from camera frames, uint8 RGB (batch, H, W, 3), to embeddings,
float32 (batch, D). The file contains resizing to every scale, cropping, tiles, normalization,
backbone and readout: to run it you need neither s2robot nor PyTorch nor Pillow. H and W are fixed;
the number of frames is not. The file is compared with the encoder in ONNX Runtime, and in OpenVINO
if that is installed, and is only written if the embeddings agree.
"""
_EXAMPLES = """\
examples:
  s2robot export s2r-vitt16-128 --scales '[1,2]' --readout spatial_softmax --frame 480x640 \\
      --out encoder.onnx --half
  s2robot export --policy runs/cells/NAME/policy.safetensors --frame 480x640 --out policy.onnx
  s2robot export r3m-resnet50 --frame 720x1280 --geometry full --out r3m.onnx
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2.

    Raises:
        ValueError: a name is unknown.
    """
    parser = CommandParser("export", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add("name", nargs="?", help="name of an encoder, see `s2robot encoders`")
    add("--policy", type=Path, help="use the encoder of this policy file instead of NAME")
    add("--frame", metavar="HxW", help="height x width of the frames [px] (default: the policy's)")
    add("--out", required=True, type=Path, help="file to write, such as encoder.onnx")
    add("--weights", type=Path, help="file of the encoder's weights")
    add_encoder_options(parser, [name for name in ENCODER_OPTIONS if name != "dtype"])
    add("--aspect", action="store_true",
        help="tiles of the largest scale follow the aspect ratio of the frame")  # fmt: skip
    add("--opset", type=int, default=OPSET, help=f"ONNX opset, at least {OPSET} (default)")
    add("--half", action="store_true", help="weights in half precision: half the file size")
    add("--force", action="store_true", help="overwrite an existing file")
    found = parser.parse(argv)
    if (found.name is None) == (found.policy is None):
        raise ValueError("give either the NAME of an encoder or --policy FILE, and not both")
    check_encoders(found.name)
    return found
