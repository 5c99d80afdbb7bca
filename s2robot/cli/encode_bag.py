"""``s2robot encode-bag``: convert a recorded bag of images to a bag of embeddings."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from s2robot.cli.arguments import add_encoder_options, encoder_options, runtime
from s2robot.cli.settings.flags import CommandParser
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import ENCODER_OPTIONS, EncoderSpec
from s2robot.policies.checkpoint import read_header
from s2robot.runtimes import RUNTIMES
from s2robot.utils.console import OUTPUT

if TYPE_CHECKING:
    from s2robot.plugins.ros.encode_bag import Encoded

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
_DEFAULT_ENCODER = "s2r-vitt16-128"
_DEFAULTS: dict[str, Any] = {"scales": (1, 2)}


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = _parse(argv)
    from s2robot.data.rosbag.writing import check_place
    from s2robot.plugins.ros.encode_bag import BagSettings, encode_bag

    settings = BagSettings(
        topics=tuple(options.topic),
        every=options.every,
        start_s=options.start,
        end_s=options.end,
        copy=tuple(options.copy),
        copy_all=options.copy_all,
        batch=options.batch,
        reuse=options.reuse,
        strict=options.strict,
    )
    if not options.source.exists():
        raise FileNotFoundError(f"{options.source}: no such bag")
    check_place(options.out, options.force)  # fail before the encoder is loaded
    encoder = _encoder(options)
    result = encode_bag(options.source, options.out, encoder, settings, options.force, show=True)
    _print(result, encoder)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("encode-bag", _DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add("source", metavar="IN", type=Path, help="bag to read")
    add("out", metavar="OUT", type=Path, help="bag to write: NAME.mcap, NAME or NAME.bag")
    add("--encoder", help=f"see `s2robot encoders` (default: {_DEFAULT_ENCODER})")
    add_encoder_options(parser, defaults=_DEFAULTS)
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
    return parser.parse(argv)


def _encoder(options: argparse.Namespace) -> FrameEncoder:
    chosen = encoder_options(options)
    if options.policy is None:
        return FrameEncoder.from_name(
            options.encoder or _DEFAULT_ENCODER,
            weights=options.weights,
            device=options.device,
            runtime=options.runtime,
            **{**_DEFAULTS, **chosen},
        )
    given = ["--encoder"] * (options.encoder is not None)
    given += [ENCODER_OPTIONS[name].flag for name in chosen]
    if given:
        raise ValueError(f"{', '.join(given)}: the policy file fixes this; leave it out")
    header = read_header(options.policy)
    if header.encoder["backbone"] in ("none", "state"):
        raise ValueError(
            f"{options.policy} sees no pixels (encoder {header.encoder['backbone']}): a baseline "
            "has no encoder to encode with"
        )
    spec = EncoderSpec.from_dict(header.encoder)
    return FrameEncoder.from_spec(spec, options.weights, options.device, runtime=options.runtime)


def _print(result: Encoded, encoder: FrameEncoder) -> None:
    from s2robot.plugins.ros.encode_bag import reasons_of

    OUTPUT.print(
        f"{result.path}: {result.model}, {encoder.embedding_dim} numbers a frame",
    )
    table = Table(box=None)
    reused = any(count.hit_rate is not None for count in result.topics)
    for name in ("topic", "messages", "embeddings", *["tiles reused"] * reused):
        table.add_column(name, justify="left" if name == "topic" else "right", no_wrap=True)
    for count in result.topics:
        rate = [f"{count.hit_rate or 0:.0%}"] if reused else []
        table.add_row(count.embeddings_topic, str(count.messages), str(count.embeddings), *rate)
    for topic, number in result.copied.items():
        table.add_row(topic, str(number), "copied", *[""] * reused)
    OUTPUT.print(table)
    notes = [f"{count.topic}: {reason}" for count in result.topics for reason in reasons_of(count)]
    for note in (*notes, *result.not_copied):
        OUTPUT.print(f"note: {note}")
