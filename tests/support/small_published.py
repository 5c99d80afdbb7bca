"""Published encoders made small, so that a test may write and read their files quickly."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from s2robot.analysis.parity.reference_models import PUBLISHED
from s2robot.backbones import BackboneCard
from s2robot.backbones.architectures import Architecture
from s2robot.backbones.from_packages.layouts import onnx_dinov2_layout
from s2robot.backbones.state_dicts import dinov2_layout
from support.published_weights import ViTShape

SMALL = ViTShape(image_size=56, patch=8, dim=48, depth=2)
HEADS = 3
TOLERANCE = 1e-4
"""Largest difference, in standard deviations of the output."""
VITS = {name for name in PUBLISHED if "resnet" not in name}
RESNETS = {"r3m-resnet18": 18, "d4r-resnet18": 18, "vip-resnet50": 50, "mcr-resnet50": 50}


def small_card(card: BackboneCard) -> BackboneCard:
    architecture = card.architecture
    assert isinstance(architecture, Architecture)
    sizes = {
        "img_size": SMALL.image_size,
        "patch_size": SMALL.patch,
        "embed_dim": SMALL.dim,
        "depth": SMALL.depth,
        "num_heads": HEADS,
    }
    pixels = card.preprocessing
    resize = round(SMALL.image_size * pixels.resize / pixels.image_size)
    layout = card.layout
    if card.name.startswith("dinov2"):  # its positions are resampled to the grid of the images
        in_onnx = card.filename.endswith(".onnx")
        layout = (onnx_dinov2_layout if in_onnx else dinov2_layout)(SMALL.image_size // SMALL.patch)
    return dataclasses.replace(
        card,
        layout=layout,
        architecture=dataclasses.replace(architecture, options={**architecture.options, **sizes}),
        preprocessing=dataclasses.replace(pixels, image_size=SMALL.image_size, resize=resize),
        stride=SMALL.patch,
        dim=SMALL.dim,
    )


def some_frames(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())
