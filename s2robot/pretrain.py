"""Pre-train an encoder by masked autoencoding on rendered, randomised frames.

Everything needed to go on after a kill is in ``<out>/checkpoint.pt``; the encoder and its model
card (``encoder.safetensors``, ``encoder.json``) are exported at every checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch.utils.tensorboard import SummaryWriter

from s2robot.errors import DivergedError, MismatchError
from s2robot.files import (
    append_jsonl,
    atomic_path,
    digest_of,
    read_jsonl,
    sha256_file,
    write_json,
)
from s2robot.mae import MEAN, STD, MaskedAutoencoder, normalise_pixels, visible_patches
from s2robot.pretrain_pictures import loss_curve, write_pictures
from s2robot.provenance import provenance
from s2robot.views import FramePool, ViewConfig, ViewSampler


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the vision transformer and of its decoder."""

    img_size: int = 128
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 3
    decoder_dim: int = 128
    decoder_depth: int = 2
    decoder_heads: int = 4

    def __post_init__(self) -> None:
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} must be a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(
                f"embed_dim {self.embed_dim} must divide by 4 and by num_heads {self.num_heads}"
            )

    def build(self) -> VisionTransformer:
        """The timm encoder: class token, final norm, no head."""
        return VisionTransformer(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            class_token=True,
            num_classes=0,
            global_pool="token",
        )


@dataclass(frozen=True)
class PretrainConfig:
    """The whole recipe; its digest guards a resumed run against another recipe's checkpoint."""

    name: str = "s2r-vitt16-128"
    out: Path = Path("runs/pretrain")
    frames: int = 10240
    """Rendered frames in the pool."""
    frame_size: int = 384
    """Side of a rendered frame [px]; a multiple of the base size, so that tiles are native."""
    views: int = 400_000
    """Views to train on in all; may be raised or lowered when resuming."""
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises linearly."""
    cooldown: float = 0.3
    """Share of the steps in which it falls to zero; constant between (so views may be changed)."""
    mask_ratio: float = 0.75
    ema: float = 0.999
    """Decay a step of the exponential moving average of the weights; the average is exported."""
    clip_norm: float = 1.0
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    seed: int = 0
    device: str = "auto"
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: ViewConfig = field(default_factory=ViewConfig)

    def __post_init__(self) -> None:
        for name in ("frames", "views", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        if not 0 <= self.warmup + self.cooldown <= 1:
            raise ValueError(
                f"warmup {self.warmup} + cooldown {self.cooldown} must lie between 0 and 1"
            )

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return math.ceil(self.views / self.batch_size)

    def recipe(self) -> dict[str, Any]:
        """What a checkpoint must agree with: all but where, how long and on which device."""
        free = {"out", "views", "device", "checkpoint_every"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}


def learning_rate(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, constant, linear cool-down to zero (a trapezoid)."""
    total = config.steps
    rise = (step + 1) / max(1.0, config.warmup * total)
    fall = (total - step) / max(1.0, config.cooldown * total)
    return config.lr * min(1.0, rise, fall)


class Trainer:
    """State of one pre-training run: model, average, optimiser, step."""

    def __init__(self, config: PretrainConfig) -> None:
        self.config = config
        self.device = _device(config.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = self._new_model()
        self.average = self._new_model()
        self.average.load_state_dict(self.model.state_dict())
        self.model.to(self.device)
        self.average.to(self.device).requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1]},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.lr,
            betas=(0.9, 0.95),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step = 0

    def _new_model(self) -> MaskedAutoencoder:
        shape = self.config.model
        return MaskedAutoencoder(
            shape.build(), shape.decoder_dim, shape.decoder_depth, shape.decoder_heads
        )

    def update(self, views: torch.Tensor) -> float:
        """One optimiser step on uint8 views ``(B, 3, S, S)``; returns the loss."""
        loss = self._loss(views)
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} at step {self.step} (batch {self.step} of seed "
                f"{self.config.seed}); the checkpoint before it is kept: lower lr "
                f"({self.config.lr}) and rerun"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return value

    def _loss(self, views: torch.Tensor) -> torch.Tensor:
        keep = self.visible(self.step, len(views)).to(self.device)
        images = normalise_pixels(views.to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.model(images, keep)[0]

    def visible(self, step: int, batch: int) -> torch.Tensor:
        """Visible patches of a step: they depend only on (seed, step), so a resume repeats them."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        patches = self.model.grid**2
        return visible_patches(batch, patches, self.config.mask_ratio, generator)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Short runs would otherwise keep the random start: the usual (1 + t) / (10 + t) ramp.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything needed to resume, atomically."""
        state = {
            "recipe": json.dumps(_jsonable(self.config.recipe()), sort_keys=True),
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from ``path``.

        Raises:
            MismatchError: the checkpoint belongs to another recipe.
        """
        state = torch.load(path, map_location=self.device, weights_only=True)
        ours, theirs = _jsonable(self.config.recipe()), json.loads(state["recipe"])
        if ours != theirs:
            raise MismatchError(
                f"{path} was written by another recipe: {_differences(theirs, ours)}; "
                "give the same settings, or another out="
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def pretrain(config: PretrainConfig, console: Console | None = None) -> Path:
    """Render what is missing, train (or go on training), export; returns the model card's path.

    Raises:
        DivergedError: the loss became NaN or infinite.
        MismatchError: ``config.out`` holds a checkpoint of another recipe.
    """
    console = console or Console()
    trainer = Trainer(config)
    checkpoint = config.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        console.print(f"resuming at step {trainer.step} of {config.steps}")
    sampler = ViewSampler(_open_pool(config), config.model.img_size, config.sampling, config.seed)
    console.print(f"pre-training {config.name} on {trainer.device}: {config.views} views")
    with SummaryWriter(str(config.out / "tb")) as board:
        _train(trainer, sampler, board, console)
        write_pictures(trainer, sampler, board)
    return export(trainer)


def _open_pool(config: PretrainConfig) -> FramePool:
    def generator() -> Any:
        from s2robot.envs.randomize import RandomScenes

        return RandomScenes(seed=config.seed, size=config.frame_size)

    key = digest_of({"seed": config.seed, "size": config.frame_size})[:12]
    folder = config.out / f"frames-{key}"
    return FramePool.render(folder, config.frames, generator, config.frame_size)


def _train(trainer: Trainer, sampler: ViewSampler, board: SummaryWriter, console: Console) -> None:
    config = trainer.config
    log = config.out / "loss.jsonl"
    _trim_log(log, trainer.step)
    rows: list[dict[str, float]] = []
    started, waited, first = time.monotonic(), 0.0, trainer.step
    for views, wait in _prefetched(sampler, trainer.step, config.steps, config.batch_size):
        rows.append({"step": trainer.step, "loss": trainer.update(views)})
        waited += wait
        if trainer.step % config.checkpoint_every == 0 or trainer.step == config.steps:
            trainer.save(config.out / "checkpoint.pt")
            append_jsonl(log, rows)
            loss = sum(row["loss"] for row in rows) / len(rows)
            rows.clear()
            board.add_scalar("loss", loss, trainer.step)
            spent = time.monotonic() - started
            rate = (trainer.step - first) * config.batch_size / spent
            console.print(
                f"step {trainer.step}/{config.steps}  loss {loss:.4f}  {rate:.0f} views/s  "
                f"waiting for data {waited / spent:.1%}"
            )
            export(trainer)


def _trim_log(log: Path, step: int) -> None:
    """Drop rows past the checkpoint: a kill between save and append may leave or lack some."""
    rows = [row for row in read_jsonl(log) if row["step"] < step]
    with atomic_path(log) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _prefetched(
    sampler: ViewSampler, start: int, stop: int, batch: int
) -> Iterator[tuple[torch.Tensor, float]]:
    """Batches of the steps ``start`` to ``stop`` made one ahead, each with the seconds waited."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(sampler.batch, start, batch)
        for step in range(start, stop):
            asked = time.monotonic()
            views = following.result()
            waited = time.monotonic() - asked
            following = pool.submit(sampler.batch, min(step + 1, stop), batch)
            yield views, waited


def export(trainer: Trainer) -> Path:
    """Write the averaged encoder in half precision and its model card; returns the card's path."""
    config = trainer.config
    weights = config.out / "encoder.safetensors"
    tensors = {k: v.half().cpu() for k, v in trainer.average.encoder.state_dict().items()}
    with atomic_path(weights) as temporary:
        save_file(tensors, temporary)
    card = config.out / "encoder.json"
    write_json(card, _model_card(trainer, sha256_file(weights)))
    return card


def _model_card(trainer: Trainer, digest: str) -> dict[str, Any]:
    config = trainer.config
    shape = config.model
    architecture = {
        "timm": "vision_transformer.VisionTransformer",
        **{
            name: getattr(shape, name)
            for name in ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
        },
    }
    return {
        "name": config.name,
        "architecture": architecture,
        "preprocessing": {"mean": MEAN, "std": STD, "input_size": shape.img_size},
        "weights": "encoder.safetensors",
        "sha256": digest,
        "licence": "MIT",
        "method": "masked autoencoding (He et al. 2021, arXiv 2111.06377)",
        "data": f"{config.frames} frames of {config.frame_size} px rendered by "
        f"s2robot.envs.randomize.RandomScenes(seed={config.seed}); views span 1/s of a frame "
        f"for s in {list(config.sampling.scales)}",
        "recipe": _jsonable(config.recipe()),
        "steps": trainer.step,
        "views": trainer.step * config.batch_size,
        "views_planned": config.views,
        "loss_curve": loss_curve(config.out / "loss.jsonl"),
        "provenance": provenance(),
    }


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _jsonable(obj: Any) -> Any:
    """Tuples to lists and paths to strings, as a JSON round trip would."""
    return json.loads(json.dumps(obj, default=str))


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [k for k in sorted({*theirs, *ours}) if theirs.get(k) != ours.get(k)]
    return ", ".join(f"{k} is {theirs.get(k)!r} there and {ours.get(k)!r} here" for k in keys)
