"""Export an encoder as one ONNX file and run it without s2robot or PyTorch.

The file takes camera frames: resizing, tiles, backbone and merging are inside. Before
it is kept, it is compared with the encoder. Needs the extra `runtimes`.

    python examples/export_onnx.py

Expected output:

    wrote encoder.onnx (23.5 MB), frames (1, 240, 320, 3) -> embeddings (1, 384)
    largest difference from the encoder: 6.0e-07
"""

import argparse

import numpy as np
import onnxruntime

from s2robot import FrameEncoder
from s2robot.export import export_encoder


def main() -> None:
    """Export, run in ONNX Runtime, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--height", type=int, default=240, help="of the camera's frames [px]")
    parser.add_argument("--width", type=int, default=320, help="of the camera's frames [px]")
    parser.add_argument("--scales", nargs="+", default=[1, 2], help="such as '[1,2]'")
    parser.add_argument("--out", default="encoder.onnx")
    args = parser.parse_args()

    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=args.scales, device="cpu")
    exported = export_encoder(encoder, args.out, (args.height, args.width), force=True)

    # These lines are all that a program needs that runs the file.
    session = onnxruntime.InferenceSession(args.out, providers=["CPUExecutionProvider"])
    frames = np.random.default_rng(0).integers(
        0, 256, (1, args.height, args.width, 3), dtype=np.uint8
    )
    embeddings = np.asarray(session.run(None, {"frames": frames})[0])

    print(
        f"wrote {args.out} ({exported.megabytes:.1f} MB), "
        f"frames {frames.shape} -> embeddings {embeddings.shape}"
    )
    difference = np.abs(embeddings - encoder(frames).numpy()).max()
    print(f"largest difference from the encoder: {difference:.1e}")


if __name__ == "__main__":
    main()
