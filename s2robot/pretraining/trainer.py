"""Pre-train an encoder by masked autoencoding (He et al. 2021, arXiv 2111.06377).

Everything needed to go on after a kill is in ``<out>/checkpoint.pt``; the encoder and its model
card (``encoder.safetensors``, ``encoder.json``) are exported at every checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from s2robot.errors import DivergedError, MismatchError
from s2robot.pretraining.augmentation import CropSampler
from s2robot.pretraining.config import PretrainConfig, learning_rate
from s2robot.pretraining.export import export, jsonable
from s2robot.pretraining.frame_sources import open_dataset
from s2robot.pretraining.hardware import (
    compiles,
    data_workers,
    plain_attention,
    resolve_precision,
    training_device,
)
from s2robot.pretraining.logger import TrainingLogger
from s2robot.pretraining.masked_autoencoder import (
    SEGMENT_CELLS,
    MaskedAutoencoder,
    normalize_pixels,
    visible_patches,
)
from s2robot.pretraining.visualization import write_page, write_reconstructions
from s2robot.utils.distributed import (
    ALONE,
    DistributedContext,
    count_processes,
    launch,
    under_torchrun,
)
from s2robot.utils.io import atomic_path
from s2robot.utils.optim import parameter_groups, seeded


class Trainer:
    """State of one pre-training run: model, average, optimiser, step.

    Args:
        config: the recipe.
        context: the processes that train together.
    """

    def __init__(self, config: PretrainConfig, context: DistributedContext = ALONE) -> None:
        self.config, self.context = config, context
        self.device = training_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        with seeded(config.seed, 0):
            self.model = self._new_model()
        self.average = self._new_model().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        if self.device.type == "cpu":
            plain_attention(self.model)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay),
            lr=config.lr,
            betas=(0.9, 0.95),
            fused=True,
        )
        self.forward: Any = self.model
        if context.size > 1:
            self.forward = DistributedDataParallel(self.model)
        if compiles(config.compile, self.device):
            self.forward = torch.compile(self.forward)
        self.step = 0

    def _new_model(self) -> MaskedAutoencoder:
        shape = self.config.model
        decoder = shape.decoder_dim, shape.decoder_depth, shape.decoder_heads
        model = MaskedAutoencoder(shape.build(), *decoder, self.config.segments_weight)
        return model.to(self.device)

    def update(self, views: torch.Tensor, segments: torch.Tensor | None = None) -> float:
        """One optimiser step on this process's views; the mean loss.

        Args:
            views: ``(B, 3, S, S)`` uint8.
            segments: what they show, where the recipe asks for it (see ``MaskedAutoencoder``).

        Raises:
            DivergedError: the loss or a gradient is NaN or infinite; the weights stay as they are.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        loss = self._loss(views, segments)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        mean, norm = self.context.mean(torch.stack([loss.detach(), norm.detach()])).tolist()
        self._check(mean, norm)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return mean

    def _loss(self, views: torch.Tensor, segments: torch.Tensor | None) -> torch.Tensor:
        keep = self.context.share(self.visible(self.step, self.config.batch_size)).to(self.device)
        images = normalize_pixels(views.to(self.device, non_blocking=True))
        if segments is not None:
            segments = segments.to(self.device, non_blocking=True)
        low = self.precision is torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return self.forward(images, keep, segments)[0]

    def visible(self, step: int, batch: int) -> torch.Tensor:
        """Visible patches of a step: they depend only on (seed, step), so a resume repeats them."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        return visible_patches(batch, self.model.grid**2, self.config.mask_ratio, generator)

    def _check(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"a gradient is {norm}"
        raise DivergedError(
            f"{what} in batch {self.step} (views of seed {self.config.seed}, step {self.step}); "
            f"the checkpoint before it in {self.config.out} is kept and is good. Lower lr "
            f"({self.config.lr}) and give another out="
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        if not self.context.is_main_process:
            return
        # Short runs would otherwise keep the random start: the usual (1 + t) / (10 + t) ramp.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averages: list[torch.Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, list(self.model.parameters()), 1 - decay)  # pyright: ignore

    def save(self, path: Path) -> None:
        """Write everything needed to resume, atomically."""
        state = {
            "recipe": json.dumps(jsonable(self.config.recipe()), sort_keys=True),
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
        ours, theirs = jsonable(self.config.recipe()), json.loads(state["recipe"])
        if ours != theirs:
            raise MismatchError(
                f"{path} was written by another recipe: {_differences(theirs, ours)}; "
                "give the same settings, or another out="
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [k for k in sorted({*theirs, *ours}) if theirs.get(k) != ours.get(k)]
    return ", ".join(f"{k} is {theirs.get(k)!r} there and {ours.get(k)!r} here" for k in keys)


def pretrain(config: PretrainConfig, console: Console | None = None) -> Path:
    """Prepare frames, train (or go on training), export; returns the model card's path.

    Raises:
        DivergedError: the loss became NaN or infinite.
        MismatchError: ``config.out`` holds a checkpoint of another recipe.
        S2RobotError: sources that cannot be used, or a full disk.
    """
    console = console or Console()
    processes = count_processes(config.processes, config.device, config.batch_size)
    if not under_torchrun():
        open_dataset(config, console)  # once, before several processes want it
    launch(_work, processes, config)
    return config.out / "encoder.json"


def _work(context: DistributedContext, config: PretrainConfig) -> None:
    """What each process does."""
    console = Console(quiet=not context.is_main_process)
    trainer = Trainer(config, context)
    checkpoint = config.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        console.print(f"resuming at step {trainer.step} of {config.steps}")
    pool = open_dataset(config, Console(quiet=True))
    sampling = config.model.img_size, config.sampling, config.seed, config.batch_size
    cells = config.model.img_size // config.model.patch_size * SEGMENT_CELLS
    sampler = CropSampler(pool, *sampling, context, cells)
    console.print(
        f"pre-training {config.name} on {trainer.device} in {trainer.precision}, "
        f"{context.size} process(es): {config.views} views",
        highlight=False,
    )
    _train(trainer, sampler, console)
    if context.is_main_process:
        with SummaryWriter(str(config.out / "tb")) as board:
            write_reconstructions(trainer, CropSampler(pool, *sampling[:3], 8), board)
        export(trainer)
        write_page(config)


def _train(trainer: Trainer, sampler: CropSampler, console: Console) -> None:
    config, context = trainer.config, trainer.context
    logger = TrainingLogger(trainer, console) if context.is_main_process else None
    for views, waited in batches(sampler, trainer):
        loss = trainer.update(*views)
        if logger is not None:
            logger.add(loss, waited)
            if trainer.step % config.checkpoint_every == 0 or trainer.step == config.steps:
                logger.checkpoint()
    if logger is not None:
        logger.close()


def batches(sampler: CropSampler, trainer: Trainer) -> Iterator[tuple[list[torch.Tensor], float]]:
    """Batches of the steps still to do, each with the seconds waited for it."""
    config = trainer.config
    steps = range(trainer.step, config.steps)
    workers = data_workers(config.workers, trainer.device, trainer.context.size)
    if workers:
        pin = trainer.device.type == "cuda"
        loaded = DataLoader(sampler, None, sampler=steps, num_workers=workers, pin_memory=pin)
        loader = iter(loaded)
    else:
        loader = _one_ahead(sampler, steps)
    for _ in steps:
        asked = time.monotonic()
        views = next(loader)
        yield views, time.monotonic() - asked


def _one_ahead(sampler: CropSampler, steps: range) -> Iterator[list[torch.Tensor]]:
    """Batches cut by a thread while the step before trains: no process is forked."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(sampler.__getitem__, step) for step in steps[:1]]
        for step in steps:
            views = waiting.pop().result()
            if step + 1 in steps:
                waiting.append(pool.submit(sampler.__getitem__, step + 1))
            yield views
