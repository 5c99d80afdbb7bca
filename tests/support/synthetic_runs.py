"""Runs as a sweep writes them (format 2), with made-up outcomes: no policy, no simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s2robot.utils.io import digest_of

SMALL, LARGE, OTHER = "mvp-vits-hoi", "mvp-vitb-hoi", "r3m-resnet50"
RANDOM = "random/vits16-224"
PARAMETERS = {SMALL: 21_700_000, RANDOM: 21_700_000, LARGE: 86_000_000, OTHER: 23_500_000}
GFLOPS = {SMALL: 9.2, RANDOM: 9.2, LARGE: 35.0, OTHER: 8.2}
FAMILIES = {SMALL: "mvp", LARGE: "mvp", OTHER: "r3m", RANDOM: "random-vit"}
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
    first: int = 0,
    strips: int = 0,
    settings: Mapping[str, Any] | None = None,
    **encoder: Any,
) -> Path:
    """Write a run whose episode i succeeds if `outcomes[i]`; the rest of `planned` is to come.

    `settings` replace entries of sections, such as ``{"train": {"epochs": 30}}``.
    """
    baseline = backbone in ("none", "state")
    spec = {"scales": list(scales), "input_mode": input_mode, "readout": readout, **encoder}
    record = {"backbone": backbone} if baseline else {"backbone": backbone, **spec}
    label = backbone if baseline else f"{backbone} ({', '.join(map(str, scales))})"
    label += " interpolated" if input_mode == "interpolate" else ""
    label += "".join(f" {key} {value}" for key, value in encoder.items())
    planned = planned or len(outcomes)
    merged = _settings(level, record)
    for section, entries in (settings or {}).items():
        merged[section] = {**(merged[section] or {}), **entries}
    changed = f"-{digest_of(settings)[:6]}" if settings else ""
    name = f"{level}-{label}-{readout}-{seed}{changed}".replace("/", "-").replace(" ", "")
    run = {
        "format": 2,
        "name": name,
        "level": level,
        "rare_share": 0.0,
        "label": label,
        "family": FAMILIES.get(backbone),
        "encoder": record,
        "policy_kind": merged["policy"]["kind"],
        "seed": seed,
        "conditions": conditions(planned, first, level),
        "demos": {"digest": "d", "n": 120, "level": level},
        "parameters": PARAMETERS.get(backbone, 0),
        "gflops_per_frame": 0.0
        if baseline
        else GFLOPS.get(backbone, 1.0) * sum(TILES[s] for s in scales),
        "embedding_dim": 0 if baseline else 12_288 * len(scales),
        "head": {"lr": 0.003, "softmax_scale": 3.0, "trials": [1, 2]},
        "settings": merged,
        "provenance": {"versions": {"torch": "2.9"}, "commit": "abcdef"},
    }
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(run))
    (folder / "run.json").write_text(json.dumps({"conditions": run["conditions"]}))
    rows = [_row(level, first + index, bool(outcome)) for index, outcome in enumerate(outcomes)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if len(rows) == planned:
        (folder / "summary.json").write_text(json.dumps(_summary(folder, outcomes, strips)))
    return folder


def conditions(n: int, first: int = 0, level: str = "precise") -> dict[str, Any]:
    """Describe initial states of a level, from number `first` of the split on."""
    block = f"{first}+{n}"
    return {
        "hash": f"{level} {block}",
        "starts": block,
        "n": n,
        "split": "test",
        "first": first,
    }


def change_run(folder: Path, **entries: Any) -> None:
    """Replace entries of a run's ``cell.json``."""
    path = folder / "cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def _settings(level: str, encoder: dict[str, Any]) -> dict[str, Any]:
    pixels = encoder["backbone"] not in ("none", "state")
    return {
        "task": {"level": level, "env": {"level": level, "control": "ee_delta"}},
        "demonstrations": {"digest": "d", "n": 120, "level": "precise"},
        "camera": {"name": "far", "size": 384, "gl": "egl"} if pixels else None,
        "encoder": encoder,
        "policy": {"kind": "mlp", "hidden": [256, 256]},
        "train": {"epochs": 60, "device": "cpu"},
        "search": None,
        "rollout": {"horizon": 32, "num_envs": 16, "tile_budget": None},
        "inference": {"dtype": "float32", "device": "cpu"} if pixels else None,
        "versions": {"s2robot_rows": 1, "torch": "2.15"},
    }


def _row(level: str, index: int, success: bool) -> dict[str, Any]:
    return {
        "index": index,
        "condition": f"{level} {index}",
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
