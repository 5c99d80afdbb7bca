"""``s2robot export``: one ONNX file from camera frames to embeddings, preprocessing included."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rich.console import Console

from s2robot.cli.arguments import add_encoder_options, encoder_options
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import ENCODER_OPTIONS, EncoderSpec
from s2robot.export.onnx import OPSET, Exported, export_encoder
from s2robot.policies.checkpoint import PolicyHeader, read_header

_DESCRIPTION = """\
Write an encoder as one ONNX file that maps the camera's own frames, uint8 RGB (batch, H, W, 3), to
embeddings, float32 (batch, D). Resizing to every scale, cropping, tiles, normalisation, backbone
and readout are all inside: what runs the file needs no s2robot, no PyTorch and no Pillow. H and W
are fixed, the number of frames is free. The file is run in ONNX Runtime, and in OpenVINO where it
is installed, against the encoder; it is only kept if they agree.
"""
_EXAMPLES = """\
examples:
  s2robot export s2r-vitt16-128 --scales 1 2 --readout spatial_softmax --frame 480x640 \\
      --out encoder.onnx --half
  s2robot export --policy runs/cells/NAME/policy.safetensors --frame 480x640 --out encoder.onnx
  s2robot export r3m-resnet50 --frame 720x1280 --geometry full --out r3m.onnx
"""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    options = _parse(argv)
    if (options.name is None) == (options.policy is None):
        raise ValueError("give either the NAME of an encoder or --policy FILE, and not both")
    header = read_header(options.policy) if options.policy else None
    frame_shape = frame_shape_of(options.frame or _frame_of(header))
    encoder, note = _encoder(options, header, frame_shape)
    exported = export_encoder(
        encoder, options.out, frame_shape, options.opset, options.half, options.force
    )
    console = Console()
    console.print(summary(exported, encoder.spec), markup=False, highlight=False, soft_wrap=True)
    if note:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="s2robot export",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("name", nargs="?", help="of an encoder, see `s2robot encoders`")
    add("--policy", type=Path, help="take the encoder of this policy file instead of a NAME")
    add("--frame", metavar="HxW", help="height x width of the frames [px] (default: the policy's)")
    add("--out", required=True, type=Path, help="file to write, such as encoder.onnx")
    add("--weights", type=Path, help="file to take the encoder's weights from")
    add_encoder_options(parser, [name for name in ENCODER_OPTIONS if name != "dtype"])
    add("--aspect", action="store_true", help="the largest scale's tiles follow the frame's shape")
    add("--opset", type=int, default=OPSET, help=f"of ONNX, at least {OPSET} (default)")
    add("--half", action="store_true", help="weights in half precision: a file half as large")
    add("--force", action="store_true", help="replace a file that is there")
    return parser.parse_args(argv)


def frame_shape_of(text: str) -> tuple[int, int]:
    """(height, width) of a word such as "480x640".

    Raises:
        ValueError: it is no such word.
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
            aspect_of=frame_shape if options.aspect else None,
            dtype="float32",
            **chosen,
        )
        return encoder, ""
    given = [ENCODER_OPTIONS[name].flag for name in chosen] + ["--aspect"] * options.aspect
    if given:
        raise ValueError(f"{', '.join(given)}: the policy has decided that already; leave it out")
    if header.encoder["backbone"] in ("none", "state"):
        raise ValueError(
            f"{options.policy} sees no pixels (encoder {header.encoder['backbone']}), so there is "
            "no encoder to export"
        )
    spec = EncoderSpec.from_dict(header.encoder)
    encoder = FrameEncoder.from_spec(spec, options.weights, device="cpu", dtype="float32")
    note = f"the policy's encoder computes in {spec.dtype}; this file computes in float32"
    return encoder, "" if spec.dtype == "float32" else note


def summary(exported: Exported, spec: EncoderSpec) -> str:
    """What was written, how well it agrees, and how to run it."""
    height, width, _ = exported.input_shape
    agreement = ", ".join(f"{name} {value:.0e}" for name, value in exported.differences.items())
    scales = ", ".join(f"{scale:g}" for scale in spec.scales)
    older = " (by PyTorch's older exporter)" if exported.exporter != "dynamo" else ""
    return f"""\
{exported.path}: {exported.megabytes:.1f} MB{older}
  encoder    {spec.backbone}, scales ({scales}), readout {spec.readout}, geometry {spec.geometry}
  input      frames     uint8   (batch, {height}, {width}, 3) RGB
  output     embedding  float32 (batch, {exported.embedding_dim})
  differs    {agreement} of the embeddings' std from s2robot's encoder

Run it with onnxruntime and numpy alone:

  import numpy as np, onnxruntime
  session = onnxruntime.InferenceSession({str(exported.path)!r})
  frames = np.zeros((1, {height}, {width}, 3), np.uint8)  # RGB, as the camera gives them
  (embedding,) = session.run(None, {{"frames": frames}})  # (1, {exported.embedding_dim}) float32
  print(embedding.shape, session.get_modelmeta().custom_metadata_map["s2robot.spec"])"""
