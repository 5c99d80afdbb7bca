"""Encoders of tiny models of each kind, and S² done tile by tile with plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from s2robot.backbones import Architecture, Backbone, BackboneCard, Preprocessing
from s2robot.backbones.architectures import vit_architecture
from s2robot.backbones.card import vit_card
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from support.tiny_models import SHAPE, spread

KINDS = ("one prefix", "registers", "convnet")
PIXELS = Preprocessing(32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


def backbone_of(kind: str) -> Backbone:
    """A tiny ViT with a class token (and four registers), or a ResNet with 32 px cells."""
    if kind == "convnet":
        architecture = Architecture(
            "resnet10t", {"stem_width": 8, "channels": (8, 8, 16, 16), "num_classes": 0}
        )
        card = BackboneCard(
            kind, architecture, PIXELS, 32, 0, 16, "mean", "random", partial_cells=True
        )
    else:
        registers = 4 if kind == "registers" else 0
        architecture = vit_architecture(*SHAPE, reg_tokens=registers)
        card = vit_card(kind, architecture, PIXELS, "random")
    model = card.architecture.build()
    if kind != "convnet":
        model.load_state_dict(spread(model.state_dict()))
    return Backbone(card, model)


def encoder_of(kind: str = "one prefix", **settings: Any) -> FrameEncoder:
    """An encoder of ``backbone_of(kind)`` on the CPU; ``settings`` of ``EncoderSpec``."""
    backbone = backbone_of(kind)
    settings = {"scales": (1, 2), "readout": "mean", **settings}
    batch = settings.pop("max_tiles_per_batch", 128)
    spec = EncoderSpec(kind, backbone.weights_digest, **settings)
    return FrameEncoder(spec, backbone, "cpu", batch)


def picture(batch: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random frames ``(batch, height, width, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def scenes(count: int, size: int = 96) -> np.ndarray:
    """Smooth pictures with a block somewhere, as calibration wants them."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, size).astype(np.uint8)
    frames = np.stack([np.stack([ramp[:, None] + ramp[None] // 8] * 3, axis=-1)] * count)
    for frame in frames:
        row, column = rng.integers(0, size - 20, 2)
        frame[row : row + 20, column : column + 20] = rng.integers(0, 256, 3)
    return frames


def normalized(images: Tensor) -> Tensor:
    """Images ``(B, 3, h, w)`` in 0-255 as the tiny models want them."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PIXELS.mean, PIXELS.std))
    return (images / 255 - mean) / std


def loop_over_tiles(
    encoder: FrameEncoder, images: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Images ``(B, 3, H, W)`` in 0-255, tile by tile.

    Returns:
        The prefix tokens of each tile ``(n, B, P, C)`` and the whole grid ``(B, gh, gw, C)``.
    """
    height, width = images.shape[2] // rows, images.shape[3] // columns
    backbone, spec = encoder.backbone, encoder.spec
    prefixes, lines = [], []
    for i in range(rows):
        line = []
        for j in range(columns):
            tile = images[:, :, i * height : (i + 1) * height, j * width : (j + 1) * width]
            crops = normalized(tile.float())
            if spec.layers:
                tokens = backbone.forward_intermediates(crops, spec.layers, spec.layers_merge)
            else:
                tokens = backbone(crops)
            count = backbone.card.num_prefix_tokens
            side = round((tokens.shape[1] - count) ** 0.5)
            prefixes.append(tokens[:, :count])
            line.append(tokens[:, count:].reshape(len(images), side, side, -1))
        lines.append(torch.cat(line, dim=2))
    return torch.stack(prefixes), torch.cat(lines, dim=1)
