"""Small robomimic configurations."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

TINY_CORE: dict[str, Any] = {
    "backbone": "random/vitt16-128",
    "scales": [1],
    "readout": "mean",
    "runtime": "eager",
}
"""``core_kwargs`` of a quick ``S2Core``."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a nested dictionary with some entries replaced."""
    found = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


def bc(data: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """BC on one camera through an ``S2Core``: two epochs of two steps, without rollouts."""
    base = {
        "algo_name": "bc",
        "experiment": {
            "name": "tiny",
            "rollout": {"enabled": False},
            "save": {"every_n_epochs": 2},
            "epoch_every_n_steps": 2,
            "logging": {"log_tb": False},
        },
        "train": {
            "data": str(data),
            "output_dir": str(folder),
            "batch_size": 2,
            "num_epochs": 2,
            "cuda": False,
        },
        "observation": {
            "modalities": {"obs": {"low_dim": ["robot0_eef_pos"], "rgb": ["agentview_image"]}},
            "encoder": {"rgb": {"core_class": "S2Core", "core_kwargs": TINY_CORE}},
        },
        "algo": {"actor_layer_dims": [8]},
    }
    return merged(base, changes)


def write_config(path: Path, content: Any) -> Path:
    """Write a configuration as JSON."""
    path.write_text(json.dumps(content))
    return path
