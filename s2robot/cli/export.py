"""Work of ``s2robot export``: an encoder written as one ONNX file."""

from __future__ import annotations

import argparse
import re

from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.export import parse
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import ENCODER_OPTIONS, EncoderSpec
from s2robot.export.onnx import Exported, export_encoder
from s2robot.policies.checkpoint import PolicyHeader, read_header
from s2robot.utils.console import MESSAGES, OUTPUT


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    header = read_header(options.policy) if options.policy else None
    frame_shape = frame_shape_of(options.frame or _frame_of(header))
    encoder, note = _encoder(options, header, frame_shape)
    MESSAGES.print("exporting, then comparing the file with PyTorch in each runtime")
    exported = export_encoder(
        encoder, options.out, frame_shape, options.opset, options.half, options.force
    )
    OUTPUT.print(summary(exported, encoder.spec))
    if note:
        OUTPUT.print(f"note: {note}")
    return 0


def frame_shape_of(text: str) -> tuple[int, int]:
    """Return (height, width) [px] of a text such as "480x640".

    Raises:
        ValueError: the text has another form.
    """
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text.strip().lower())
    if not match:
        raise ValueError(f"--frame must be HEIGHTxWIDTH in px, such as 480x640; got {text!r}")
    return int(match[1]), int(match[2])


def _frame_of(header: PolicyHeader | None) -> str:
    if header is None or not {"height", "width"} <= header.frames.keys():
        raise ValueError("--frame HEIGHTxWIDTH is missing: the shape of the camera's frames [px]")
    return f"{header.frames['height']}x{header.frames['width']}"


def _encoder(
    options: argparse.Namespace, header: PolicyHeader | None, frame_shape: tuple[int, int]
) -> tuple[FrameEncoder, str]:
    """Return the encoder to export, in float32 on the CPU, and a note about it."""
    chosen = encoder_options(options)
    if header is None:
        encoder = FrameEncoder.from_name(
            options.name,
            weights=options.weights,
            device="cpu",
            runtime="eager",
            aspect_of=frame_shape if options.aspect else None,
            dtype="float32",
            **chosen,
        )
        return encoder, ""
    given = [ENCODER_OPTIONS[name].flag for name in chosen] + ["--aspect"] * options.aspect
    if given:
        raise ValueError(f"{', '.join(given)}: the policy file fixes this; leave it out")
    if header.encoder["backbone"] in ("none", "state"):
        raise ValueError(
            f"{options.policy} sees no pixels (encoder {header.encoder['backbone']}): a baseline "
            "has no encoder to export"
        )
    spec = EncoderSpec.from_dict(header.encoder)
    encoder = FrameEncoder.from_spec(spec, options.weights, "cpu", "float32", runtime="eager")
    note = f"the policy was trained with {spec.dtype}; this file computes in float32"
    return encoder, "" if spec.dtype == "float32" else note


def summary(exported: Exported, spec: EncoderSpec) -> str:
    """Return a description of the file, of its agreement with the encoder, and of how to run it.

    Args:
        exported: the file.
        spec: of the encoder.
    """
    height, width, _ = exported.input_shape
    agreement = ", ".join(f"{name} {value:.0e}" for name, value in exported.differences.items())
    scales = ", ".join(f"{scale:g}" for scale in spec.scales)
    older = " (by PyTorch's older exporter)" if exported.exporter != "dynamo" else ""
    return f"""\
{exported.path}: {exported.megabytes:.1f} MB{older}
  encoder    {spec.backbone}, scales ({scales}), readout {spec.readout}, geometry {spec.geometry}
  input      frames     uint8   (batch, {height}, {width}, 3) RGB
  output     embedding  float32 (batch, {exported.embedding_dim})
  error      {agreement} of the standard deviation of the embeddings

Run it with onnxruntime and numpy alone:

  import numpy as np, onnxruntime
  session = onnxruntime.InferenceSession({str(exported.path)!r})
  frames = np.zeros((1, {height}, {width}, 3), np.uint8)  # RGB, from the camera
  (embedding,) = session.run(None, {{"frames": frames}})  # (1, {exported.embedding_dim}) float32
  print(embedding.shape, session.get_modelmeta().custom_metadata_map["s2robot.spec"])"""
