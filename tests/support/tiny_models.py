"""A vision transformer small enough for tests, as ``s2robot pretrain`` would have written it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from s2robot.backbones.architectures import vit_architecture
from s2robot.experiments.config import CameraChoice, DemosChoice, VariantConfig
from s2robot.utils.io import sha256_file, write_json

SHAPE = (32, 8, 24, 2, 2)
"""(image size, patch size, width, depth, heads)"""


def tiny_variant(card: Path, data_dir: Path) -> VariantConfig:
    """Settings of a variant that takes seconds: two demonstrations, frames of 32 px, scale (1)."""
    return VariantConfig(
        level="easy",
        encoder=f"file:{card}",
        scales=(1.0,),
        readout="mean",
        camera=CameraChoice(size=32),
        demos=DemosChoice(episodes=2),
        device="cpu",
        runtime="eager",
        data_dir=data_dir,
    )


def write_tiny_model(folder: Path, stem: str = "tiny", **changes: Any) -> Path:
    """Write ``<stem>.safetensors`` (half precision) and its card; returns the card's path."""
    architecture = vit_architecture(*SHAPE)
    weights = folder / f"{stem}.safetensors"
    state = spread(architecture.build().state_dict())
    save_file({name: tensor.half() for name, tensor in state.items()}, weights)
    card = {
        "name": stem,
        "architecture": architecture.to_dict(),
        "preprocessing": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "input_size": 32},
        "sha256": sha256_file(weights),
        "licence": "MIT",
        **changes,
    }
    write_json(folder / f"{stem}.json", card)
    return folder / f"{stem}.json"


def spread(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fresh weights are small; enlarged ones make attention and positions matter."""
    return {name: t * 5 if t.ndim > 1 else t for name, t in state.items()}
