"""What does crop reuse save on a camera that stands still?

The scripted expert picks cubes before a fixed camera. Every frame is embedded by the plain encoder
and by its stream (``FrameEncoder.stream()``, tolerance 0), one frame at a time in turn, and the
embeddings are compared bit by bit. "Counting allows" is all tiles over encoded tiles: what would be
saved if comparing, cutting and merging were free. "With a memory" is the share of tiles that were
ever seen before at their place, in any episode: what could be reused beyond the last frame.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/crop_reuse.py --episodes 8
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.data.frame_sources import expert_episode
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "crop_reuse.json"


def compare(encoder: FrameEncoder, episodes: list[np.ndarray]) -> dict[str, Any]:
    """Times of both paths frame by frame, what was reused, and whether a bit differed."""
    stream, plain_s, stream_s, identical = encoder.stream(), [], [], True
    for frames in episodes:
        for frame in frames:
            started = time.perf_counter()
            expected = encoder(frame)
            between = time.perf_counter()
            found = stream(frame)
            stream_s.append(time.perf_counter() - between)
            plain_s.append(between - started)
            identical &= torch.equal(found, expected)
    stats = stream.stats
    encoded = sum(stats.tiles.values()) - sum(stats.reused.values())
    allowed = sum(stats.tiles.values()) / encoded
    ratio = sum(plain_s) / sum(stream_s)
    return {
        "frames": stats.frames,
        "bit_identical": identical,
        "hit_rate": stats.hit_rate,
        "hit_rates": {f"{scale:g}": rate for scale, rate in stats.hit_rates().items()},
        "hit_rate_with_a_memory": ever_seen(encoder, episodes),
        "counting_allows": allowed,
        "measured": ratio,
        "share": ratio / allowed,
        "plain_ms": _quantiles(plain_s),
        "stream_ms": _quantiles(stream_s),
    }


def ever_seen(encoder: FrameEncoder, episodes: list[np.ndarray]) -> float:
    """Share of tiles whose pixels an earlier frame of any episode had at the same place."""
    parts = list(encoder.layout.scales.values())
    seen: set[tuple[float, int, bytes]] = set()
    total = hits = 0
    for frame in (frame for frames in episodes for frame in frames):
        tiles = encoder.tiles(torch.from_numpy(frame)[None], parts)
        for part, batch in zip(parts, tiles, strict=True):
            keys = {(part.scale, i, tile.numpy().tobytes()) for i, tile in enumerate(batch)}
            total, hits = total + len(keys), hits + len(keys & seen)
            seen |= keys
    return hits / total


def _quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(seconds, q) * 1000) for q in (50, 95)}


def _line(row: dict[str, Any]) -> str:
    scales = ",".join(f"{scale:g}" for scale in row["scales"])
    reached = f"{row['measured']:.2f} x of {row['counting_allows']:.2f} x"
    return (
        f"{row['encoder']:18} {row['runtime']:14} ({scales}) {row['frames']} frames, reused "
        f"{100 * row['hit_rate']:.0f} % ({100 * row['hit_rate_with_a_memory']:.0f} % with a "
        f"memory): {reached} ({100 * row['share']:.0f} %), "
        f"p50 {row['plain_ms']['p50']:.1f} -> {row['stream_ms']['p50']:.1f} ms, "
        f"bit-identical: {row['bit_identical']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--level", default="easy")
    parser.add_argument("--camera", default="front")
    parser.add_argument("--size", type=int, default=384, help="side of a native frame [px]")
    parser.add_argument("--encoders", nargs="+", default=["s2r-vitt16-128", "random/vits16-224"])
    parser.add_argument("--runtimes", nargs="+", default=["eager", "openvino"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    for name in options.encoders:
        for scales in ((1, 2), (1, 2, 3)):
            encoder = FrameEncoder.from_name(
                name, scales, "spatial_softmax", device="cpu", runtime="eager"
            )
            size = max(options.size, *encoder.layout.scales[max(scales)].image_shape)
            episodes = [
                np.stack(list(expert_episode(options.level, options.camera, (size, size), seed)))
                for seed in range(options.episodes)
            ]
            for runtime in options.runtimes:
                encoder.use_runtime(runtime)
                compare(encoder, episodes[:1])  # warm-up
                row = {"encoder": name, "runtime": runtime, "scales": list(scales), "size": size}
                rows.append(row | compare(encoder, episodes))
                print(_line(rows[-1]), flush=True)
    settings = {"level": options.level, "camera": options.camera, "episodes": options.episodes}
    threads = torch.get_num_threads()
    record = {**settings, "threads": threads, "rows": rows, "provenance": provenance()}
    write_json(options.out, record)


if __name__ == "__main__":
    main()
