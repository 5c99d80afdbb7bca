"""Milliseconds of a frame for the variants of benchmarks/published_sweep.sh, on one quiet machine.

The sweep's runs note their own times, but they were made on several machines and mostly beside
other work. Here all encoders take turns on the same frames in one process, one frame at a time,
with the runtime that suits one and in the precision of their runs. published_sweep.py --latency
takes the file.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/published_latency.py runs/published
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from s2robot.analysis.latency import measure
from s2robot.data.frame_sources import frames_from
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.evaluation.baselines import is_baseline
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "published_latency.json"
SIZE = 384
"""Height and width of the frames of `precise` [px]."""


class Timed(NamedTuple):
    """An encoder that waits for a single frame, and what it computes with."""

    encodes: Any
    runtime: str
    dtype: str


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the encoders of the published sweep.")
    parser.add_argument("folder", type=Path, help="that benchmarks/published_sweep.sh filled")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--count", type=int, default=110, help="frames (default: 110)")
    options = parser.parse_args()
    frames = frames_from("pick-cube/precise", SIZE, SIZE, options.count)
    paths = {
        label: prepared(record, options.folder, frames.shape[1:3])
        for label, record in encoders_of(options.folder).items()
    }
    rows = measure({label: only_time(path) for label, path in paths.items()}, frames, show=True)
    found = {
        row.path: {
            "p50_ms": round(row.p50_ms, 2),
            "p95_ms": round(row.p95_ms, 2),
            "frames": row.frames,
            "runtime": paths[row.path].runtime,
            "dtype": paths[row.path].dtype,
        }
        for row in rows
    }
    command = f"python benchmarks/published_latency.py {options.folder.name}"
    size = list(frames.shape[1:3])
    content = {"command": command, "frame": size, "variants": found, "provenance": provenance()}
    write_json(options.out, content)
    for label, row in found.items():
        print(f"{label}: {row['p50_ms']} ms ({row['runtime']}, {row['dtype']})")


def only_time(path: Timed) -> Callable[[np.ndarray], torch.Tensor]:
    """Return a path that gives one number of its embedding; ``measure`` compares what all give."""
    return lambda frame: path.encodes(frame)[:, :1]


def encoders_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the encoder of each variant with pixels, by label."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / "runs" / "cells").glob("*/cell.json")):
        cell = read_json(path)
        record = cell["settings"]["encoder"]
        if not is_baseline(record["backbone"]):
            found[cell["label"]] = record
    return dict(sorted(found.items()))


def prepared(record: dict[str, Any], folder: Path, shape: tuple[int, int]) -> Timed:
    """Return an encoder for single frames of a size; cards of the sweep lie in its folder."""
    spec = EncoderSpec.from_dict(record)
    if spec.backbone.startswith("file:"):
        spec = dataclasses.replace(spec, backbone=f"file:{folder / Path(spec.backbone).name}")
    encoder = FrameEncoder.from_spec(spec, device="cpu").for_batches_of(1)
    return Timed(encoder.single_frame(*shape), encoder.runtime.name, encoder.spec.dtype)


if __name__ == "__main__":
    main()
