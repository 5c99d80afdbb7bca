"""Encode a camera frame by frame, and encode again only the tiles that changed.

A stream keeps the tokens of every tile. A tile whose pixels did not change is not
encoded a second time, so the embeddings are the same as without the cache.

    python examples/stream_camera.py
    python examples/stream_camera.py --source run.mp4 --tolerance 2

Expected output (times of two busy cores; yours differ):

    40 frames, tiles taken from the cache: 20% of all, scale 1: 0%, scale 2: 24%
    latency per frame: median 92.9 ms, 95th percentile 147.2 ms
    largest difference from the encoder without a cache: 0.0e+00
"""

import argparse
import time

import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.data.frame_sources import frames_from


def main() -> None:
    """Stream frames, then print the hit rate, the latency and the difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", default="pick-cube", help="video, folder, bag or pick-cube")
    parser.add_argument("--count", type=int, default=40, help="largest number of frames")
    parser.add_argument("--tolerance", type=float, default=0, help="gray levels; 0 is exact")
    args = parser.parse_args()

    frames = frames_from(args.source, height=384, width=384, count=args.count)
    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2))
    encoder(frames[0])  # the first call is slower than the others

    stream = encoder.stream(tolerance=args.tolerance)
    embeddings, times_ms = [], []
    for frame in frames:
        start = time.perf_counter()
        embeddings.append(stream(frame).cpu())  # (1, D)
        times_ms.append(1000 * (time.perf_counter() - start))

    rates = [f"scale {scale:g}: {rate:.0%}" for scale, rate in stream.stats.hit_rates().items()]
    print(
        f"{len(frames)} frames, tiles taken from the cache: {stream.stats.hit_rate:.0%} of all, "
        + ", ".join(rates)
    )
    median, slow = np.percentile(times_ms, [50, 95])
    print(f"latency per frame: median {median:.1f} ms, 95th percentile {slow:.1f} ms")
    difference = (torch.cat(embeddings) - encoder(frames).cpu()).abs().max()
    print(f"largest difference from the encoder without a cache: {float(difference):.1e}")


if __name__ == "__main__":
    main()
