"""Cells as a sweep writes them, with made-up outcomes: no policy, no simulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SMALL, LARGE = "s2r-vitt16-128", "mvp-vits-hoi"
PARAMETERS = {SMALL: 5_500_000, "random/vitt16-128": 5_500_000, LARGE: 21_700_000}
GFLOPS = {SMALL: 0.75, "random/vitt16-128": 0.75, LARGE: 9.2}
TILES = {1: 1, 2: 4, 3: 9}


def write_run(
    root: Path,
    outcomes: Sequence[bool] | np.ndarray,
    backbone: str = SMALL,
    scales: tuple[int, ...] = (1,),
    *,
    seed: int = 0,
    input_mode: str = "native",
    readout: str = "spatial_softmax",
    level: str = "precise",
    planned: int | None = None,
    strips: int = 0,
    **encoder: Any,
) -> Path:
    """Write a cell whose episode i succeeds if `outcomes[i]`; the rest of `planned` is to come."""
    baseline = backbone in ("none", "state")
    scales = () if baseline else scales
    label = f"{backbone} ({', '.join(map(str, scales))})" if scales else backbone
    label += " interpolated" if input_mode == "interpolate" else ""
    label += "".join(f" {key} {value}" for key, value in encoder.items())
    name = f"{level}-{label}-{readout}-{seed}".replace("/", "-").replace(" ", "")
    planned = planned or len(outcomes)
    run = {
        "name": name,
        "level": level,
        "label": label,
        "encoder": {"backbone": backbone}
        if baseline
        else {
            "backbone": backbone,
            "scales": scales,
            "input_mode": input_mode,
            "readout": readout,
            **encoder,
        },
        "scales": scales,
        "input_mode": None if baseline else input_mode,
        "readout": None if baseline else readout,
        "policy_kind": "mlp",
        "seed": seed,
        "conditions": {"hash": "c0ffee", "n": planned, "split": "test"},
        "demos": {"digest": "d", "n": 120},
        "parameters": PARAMETERS.get(backbone, 0),
        "gflops_per_frame": GFLOPS.get(backbone, 0.0) * sum(TILES[s] for s in scales),
        "embedding_dim": 12_288 * len(scales),
        "head": {"lr": 0.003, "softmax_scale": 3.0},
        "train": {"epochs": 60},
        "provenance": {"versions": {"torch": "2.9"}, "commit": "abcdef"},
    }
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(run))
    rows = [_row(index, bool(outcome)) for index, outcome in enumerate(outcomes)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if len(rows) == planned:
        (folder / "summary.json").write_text(json.dumps(_summary(folder, outcomes, strips)))
    return folder


def _row(index: int, success: bool) -> dict[str, Any]:
    return {
        "index": index,
        "success_once": success,
        "success_at_end": success and index % 8 != 0,
        "stage": ("drop" if index % 8 == 0 else "none") if success else "grasp",
    }


def _summary(folder: Path, outcomes: Sequence[bool] | np.ndarray, strips: int) -> dict[str, Any]:
    names = [f"strips/failure_{i:05d}.png" for i in np.flatnonzero(~np.array(outcomes))[:strips]]
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((24, 192, 3), 90, np.uint8)).save(path)
    latency = {"p50": 10.0, "p95": 14.0}
    return {
        "strips": names,
        "latency_ms": {"per_frame": latency, "single_frame": {"total": latency}},
    }


def outcomes(rate: float, seed: int, n: int = 64) -> np.ndarray:
    """Draw (n,) bool; the same seed draws the same difficulties, so that outcomes are paired."""
    return np.random.default_rng(seed).random(n) < rate
