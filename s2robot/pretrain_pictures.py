"""What pre-training shows: its loss curve and reconstructions of masked views."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from s2robot.files import atomic_path, read_jsonl
from s2robot.mae import MEAN, STD, normalise_pixels, patch_moments, patchify, unpatchify
from s2robot.views import ViewSampler

if TYPE_CHECKING:
    from s2robot.pretrain import Trainer


def loss_curve(log: Path, points: int = 60) -> list[list[float]]:
    """``[step, mean loss]`` of about ``points`` stretches of the log."""
    rows = read_jsonl(log)
    if not rows:
        return []
    parts = np.array_split(np.array([[r["step"], r["loss"]] for r in rows]), min(points, len(rows)))
    return [[float(part[-1, 0]), round(float(part[:, 1].mean()), 5)] for part in parts]


@torch.no_grad()
def write_pictures(trainer: Trainer, sampler: ViewSampler, board: SummaryWriter) -> None:
    """``loss.png`` and ``reconstructions.png`` (view, visible part, reconstruction) in ``out``."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    curve = np.array(loss_curve(trainer.config.out / "loss.jsonl"))
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(curve[:, 0], curve[:, 1])
    axes.set(xlabel="step", ylabel="MAE loss (normalised pixels, masked patches)")
    axes.set_title(trainer.config.name)
    _save_figure(figure, trainer.config.out / "loss.png")
    images = _reconstructions(trainer, sampler.batch(10**9, 8))
    board.add_image("reconstructions", images, trainer.step, dataformats="HWC")
    with atomic_path(trainer.config.out / "reconstructions.png") as temporary:
        plt.imsave(temporary, images)


def _save_figure(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def _reconstructions(trainer: Trainer, views: torch.Tensor) -> np.ndarray:
    """Rows view / visible / reconstruction, one column a view: ``(3·S, B·S, 3)`` uint8."""
    model = trainer.average
    images = normalise_pixels(views.to(trainer.device))
    keep = trainer.visible(10**9, len(views)).to(trainer.device)
    _, predicted = model(images, keep)
    patches = patchify(images, model.patch)
    mean, deviation = patch_moments(patches)
    seen = torch.zeros_like(patches[..., :1]).scatter_(1, keep.unsqueeze(-1), 1.0)
    filled = torch.where(seen > 0, patches, predicted.float() * deviation + mean)
    rows = [unpatchify(p, model.patch) for p in (patches, patches * seen, filled)]
    return np.concatenate([_to_picture(row) for row in rows])


def _to_picture(images: torch.Tensor) -> np.ndarray:
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    pixels = ((images * std + mean).clamp(0, 1) * 255).round().byte()
    return torch.cat(list(pixels), dim=-1).permute(1, 2, 0).cpu().numpy()  # (S, B·S, 3)
