"""Embed the frames of a video, a folder of pictures or a rendered episode.

The embeddings go to a NumPy file, one row per frame. By default the frames are
rendered: a scripted expert picks up a cube.

    python examples/embed_frames.py
    python examples/embed_frames.py --source run.mp4 --height 480 --width 640

Expected output (the default):

    frames: (32, 384, 384, 3) uint8
    embeddings: (32, 384) float32, written to embeddings.npy
"""

import argparse

import numpy as np

from s2robot import FrameEncoder
from s2robot.data.frame_sources import frames_from


def main() -> None:
    """Read frames, encode them, write the embeddings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", default="pick-cube", help="video, folder, bag, pick-cube or noise"
    )
    parser.add_argument("--count", type=int, default=32, help="largest number of frames")
    parser.add_argument("--height", type=int, default=384, help="resize frames to this height [px]")
    parser.add_argument("--width", type=int, default=384, help="resize frames to this width [px]")
    parser.add_argument("--scales", nargs="+", default=[1, 2], help="such as '[1,2]'")
    parser.add_argument("--out", default="embeddings.npy")
    args = parser.parse_args()

    frames = frames_from(args.source, args.height, args.width, args.count)
    print(f"frames: {frames.shape} {frames.dtype}")

    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=args.scales)
    embeddings = encoder(frames).cpu().numpy()  # (T, D) float32
    np.save(args.out, embeddings)
    print(f"embeddings: {embeddings.shape} {embeddings.dtype}, written to {args.out}")


if __name__ == "__main__":
    main()
