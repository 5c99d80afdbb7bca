"""Does cost grow with the number of tiles alone, and does the chunk size bound memory?

Milliseconds of the backbone on 1 to 36 tiles with each runtime, with a straight line fitted to
them; then the peak memory of embedding many frames in processes of their own, by
``max_tiles_per_batch``.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/tiles.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.runtimes.base import tiles_like
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).parent / "results" / "tiles.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "tiles.png"
RUNTIMES = ("eager", "openvino", "openvino-int8")
COUNTS = (1, 2, 3, 4, 5, 7, 9, 11, 14, 18, 22, 26, 30, 36)
CHUNKS = (8, 32, 128, 512)
FRAMES = 64


def times_by_tiles(name: str, repeats: int) -> list[dict[str, Any]]:
    """Median milliseconds by number of tiles, runtimes in turn, and the fitted lines."""
    encoder = FrameEncoder.from_name(name, (1,), "mean", device="cpu", runtime="eager")
    side = encoder.backbone.card.preprocessing.image_size
    rng = np.random.default_rng(0)
    encoder.calibrate(rng.integers(0, 256, (100, side, side, 3), dtype=np.uint8))
    encoders = {runtime: encoder.with_runtime(runtime) for runtime in RUNTIMES}
    times = {runtime: {count: [] for count in COUNTS} for runtime in RUNTIMES}
    for repeat in range(repeats + 1):
        for count in COUNTS:
            tiles = tiles_like((side, side), count)
            for runtime, one in encoders.items():
                started = time.perf_counter()
                one.tokens(tiles)
                if repeat:
                    times[runtime][count].append(1000 * (time.perf_counter() - started))
    return [_fitted(name, runtime, times[runtime]) for runtime in RUNTIMES]


def _fitted(name: str, runtime: str, times: dict[int, list[float]]) -> dict[str, Any]:
    medians = np.array([np.median(times[count]) for count in COUNTS])
    slope, fixed = np.polyfit(COUNTS, medians, 1)
    left = medians - (slope * np.array(COUNTS) + fixed)
    return {
        "encoder": name,
        "runtime": runtime,
        "tiles": list(COUNTS),
        "median_ms": medians.round(3).tolist(),
        "ms_per_tile": float(slope),
        "fixed_ms": float(fixed),
        "r_squared": float(1 - left.var() / medians.var()),
    }


def peak_memory(name: str) -> list[dict[str, Any]]:
    """Peak memory above that of one frame [MB], by chunk size; each in a process of its own."""
    rows = []
    for chunk in CHUNKS:
        words = [sys.executable, __file__, "--chunk", str(chunk), "--encoders", name]
        printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        rows.append({"encoder": name, "chunk": chunk, "frames": FRAMES, "mb": float(printed)})
    return rows


def _print_growth(name: str, chunk: int) -> None:
    """In the process that is measured: how far embedding raises the highest memory use [MB]."""
    encoder = FrameEncoder.from_name(
        name, (1, 2), "mean", device="cpu", max_tiles_per_batch=chunk, runtime="eager"
    )
    frames = np.zeros((FRAMES, 256, 256, 3), dtype=np.uint8)
    encoder(frames[0])
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _peak_mb()
    encoder(frames)
    print(_peak_mb() - before)


def _peak_mb() -> float:
    """Highest memory use of this process since the peak was last cleared [MB]; Linux alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def draw(rows: list[dict[str, Any]], memory: list[dict[str, Any]], path: Path) -> None:
    """Lines of time against tiles, and memory against chunk size."""
    names = list(dict.fromkeys(row["encoder"] for row in rows))
    figure, axes = plt.subplots(1, len(names) + 1, figsize=(4.2 * (len(names) + 1), 3.6))
    for axis, name in zip(axes, names, strict=False):
        for row in (row for row in rows if row["encoder"] == name):
            label = f"{row['runtime']}: {row['fixed_ms']:.1f} + {row['ms_per_tile']:.2f} n"
            (line,) = axis.plot(row["tiles"], row["median_ms"], "o", markersize=4, label=label)
            ends = np.array([0, max(row["tiles"])])
            axis.plot(ends, row["fixed_ms"] + row["ms_per_tile"] * ends, color=line.get_color())
        axis.set(
            title=name, xlabel="tiles n", ylabel="backbone [ms]", xlim=(0, None), ylim=(0, None)
        )
        axis.legend(fontsize=8)
    chunks = [row["chunk"] for row in memory]
    axes[-1].plot(chunks, [row["mb"] for row in memory], "o-")
    axes[-1].set(xscale="log", xticks=chunks, xticklabels=chunks, ylim=(0, None))
    axes[-1].set(title=f"{FRAMES} frames at (1,2), {memory[0]['encoder']}")
    axes[-1].set(xlabel="max_tiles_per_batch", ylabel="peak memory [MB]")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--encoders", nargs="+", default=["s2r-vitt16-128", "random/vits16-224"])
    parser.add_argument("--chunk", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    if options.chunk:
        return _print_growth(options.encoders[0], options.chunk)
    rows = [row for name in options.encoders for row in times_by_tiles(name, options.repeats)]
    for row in rows:
        print(
            f"{row['encoder']:20}{row['runtime']:15} {row['fixed_ms']:6.2f} ms + "
            f"{row['ms_per_tile']:6.2f} ms a tile, r² {row['r_squared']:.4f}"
        )
    memory = peak_memory(options.encoders[-1])
    for row in memory:
        print(f"max_tiles_per_batch {row['chunk']:4}: {row['mb']:.0f} MB")
    draw(rows, memory, options.picture)
    threads = {"threads": torch.get_num_threads(), "repeats": options.repeats}
    write_json(options.out, {**threads, "rows": rows, "memory": memory, "provenance": provenance()})


if __name__ == "__main__":
    main()
