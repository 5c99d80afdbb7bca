"""Figures of a pre-training run: loss curve, reconstructions of masked crops, and a page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch.utils.tensorboard import SummaryWriter

from s2robot._version import __version__
from s2robot.pretraining.augmentation import CropSampler
from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.export import loss_curve
from s2robot.pretraining.masked_autoencoder import (
    MEAN,
    STD,
    normalize_pixels,
    patch_moments,
    patchify,
    unpatchify,
)
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.html import render_page
from s2robot.utils.io import atomic_path, read_json, read_jsonl

_UNSEEN_STEP = 10**9  # its crops are not used in training


@torch.no_grad()
def write_reconstructions(trainer: Trainer, sampler: CropSampler, board: SummaryWriter) -> Path:
    """Write ``reconstructions.png``: rows of crops, visible patches and reconstructions.

    Args:
        trainer: the run; the file is written to its ``out``.
        sampler: sampler of the crops to show.
        board: TensorBoard's writer, which gets the image too.
    """
    images = _reconstructions(trainer, sampler[_UNSEEN_STEP][0])
    board.add_image("reconstructions", images, trainer.step, dataformats="HWC")
    path = trainer.config.out / "reconstructions.png"
    with atomic_path(path) as temporary:
        imsave(temporary, images)
    return path


def _reconstructions(trainer: Trainer, crops: torch.Tensor) -> np.ndarray:
    """Return rows of crops, visible patches and reconstructions: ``(3·S, B·S, 3)`` uint8."""
    model = trainer.average
    images = normalize_pixels(crops.to(trainer.device))
    keep = trainer.visible(_UNSEEN_STEP, len(crops)).to(trainer.device)
    _, predicted = model(images, keep)
    patches = patchify(images, model.patch)
    mean, deviation = patch_moments(patches)
    visible = torch.zeros_like(patches[..., :1]).scatter_(1, keep.unsqueeze(-1), 1.0)
    filled = torch.where(visible > 0, patches, predicted.float() * deviation + mean)
    rows = [unpatchify(p, model.patch) for p in (patches, patches * visible, filled)]
    return np.concatenate([_to_picture(row) for row in rows])


def _to_picture(images: torch.Tensor) -> np.ndarray:
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    pixels = ((images * std + mean).clamp(0, 1) * 255).round().byte()
    return torch.cat(list(pixels), dim=-1).permute(1, 2, 0).cpu().numpy()  # (S, B·S, 3)


def write_loss_picture(config: PretrainConfig) -> Path:
    """Write ``loss.png`` to ``out`` and return its path."""
    curve = np.array(loss_curve(config.out / "loss.jsonl", points=200))  # (points, 2)
    figure = Figure(figsize=(7, 4))  # not pyplot's, whose backend belongs to the user's program
    axes = figure.subplots()
    axes.plot(curve[:, 0] * config.batch_size / 1000, curve[:, 1])
    of = "normalized pixels and segments" if config.segments_weight else "normalized pixels"
    axes.set(xlabel="crops [thousands]", ylabel=f"loss ({of})", title=config.name)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    path = config.out / "loss.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def write_page(config: PretrainConfig) -> Path:
    """Write ``index.html`` to ``out``, one self-contained page of the run; return its path."""
    card = read_json(config.out / "encoder.json")
    rows = read_jsonl(config.out / "loss.jsonl")
    pictures = [write_loss_picture(config), config.out / "reconstructions.png"]
    page = render_page(
        "s2robot.pretraining",
        "pretrain.html.j2",
        card=card,
        facts=_facts(config, card),
        recipe=card["recipe"],
        loss=f"{np.mean([row['loss'] for row in rows[-100:]]):.4f}",
        pictures=[base64.b64encode(picture.read_bytes()).decode() for picture in pictures],
        encoder=f"file:{config.out / 'encoder.json'}",
        version=__version__,
    )
    path = config.out / "index.html"
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _facts(config: PretrainConfig, card: dict[str, Any]) -> dict[str, str]:
    shape = card["architecture"]
    machine = card["provenance"]["machine"]
    return {
        "model": f"ViT of width {shape['embed_dim']}, depth {shape['depth']}, "
        f"patch {shape['patch_size']}, {shape['img_size']} px",
        "frames": card["data"],
        "crops": f"{card['views']:,} ({card['steps']:,} steps of {config.batch_size})",
        "precision": card["precision"],
        "machine": machine["gpu"] or f"{machine['processor']}, {machine['cpus']} CPUs",
        "license": card["license"],
        "SHA-256": card["sha256"],
    }
