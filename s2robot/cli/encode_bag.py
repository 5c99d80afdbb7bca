"""Work of ``s2robot encode-bag``: a bag of images converted to a bag of embeddings."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.table import Table

from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.encode_bag import DEFAULT_ENCODER, DEFAULTS, parse
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import ENCODER_OPTIONS, EncoderSpec
from s2robot.policies.checkpoint import read_header
from s2robot.utils.console import OUTPUT

if TYPE_CHECKING:
    from s2robot.plugins.ros.encode_bag import Encoded


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
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


def _encoder(options: argparse.Namespace) -> FrameEncoder:
    chosen = encoder_options(options)
    if options.policy is None:
        return FrameEncoder.from_name(
            options.encoder or DEFAULT_ENCODER,
            weights=options.weights,
            device=options.device,
            runtime=options.runtime,
            **{**DEFAULTS, **chosen},
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
