"""Pre-train an encoder by masked autoencoding (He et al. 2021, arXiv 2111.06377).

``<out>/checkpoint.pt`` holds everything that an interrupted run needs to continue. The encoder and
its model card (``encoder.safetensors``, ``encoder.json``) are exported at every checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.console import Console
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from s2robot.pretraining.augmentation import CropSampler
from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.export import export
from s2robot.pretraining.frame_sources import open_dataset
from s2robot.pretraining.hardware import data_workers
from s2robot.pretraining.logger import TrainingLogger
from s2robot.pretraining.masked_autoencoder import SEGMENT_CELLS
from s2robot.pretraining.trainer import Trainer
from s2robot.pretraining.visualization import write_page, write_reconstructions
from s2robot.utils.console import make_console
from s2robot.utils.distributed import DistributedContext, count_processes, launch, under_torchrun


def pretrain(config: PretrainConfig, console: Console | None = None) -> Path:
    """Prepare frames, train or resume, and export; return the path of the model card.

    Args:
        config: settings of the run.
        console: console for messages.

    Raises:
        DivergedError: the loss became NaN or infinite.
        MismatchError: ``config.out`` contains a checkpoint with another recipe.
        S2RobotError: sources cannot be used, or the disk is full.
    """
    console = console or make_console()
    processes = count_processes(config.processes, config.device, config.batch_size)
    if not under_torchrun():
        open_dataset(config, console)  # once, before several processes need it
    launch(_work, processes, config)
    return config.out / "encoder.json"


def _work(context: DistributedContext, config: PretrainConfig) -> None:
    """Train in one of the processes; the main process writes the results."""
    console = make_console(quiet=not context.is_main_process)
    trainer = Trainer(config, context)
    checkpoint = config.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        console.print(f"resuming at step {trainer.step} of {config.steps}")
    dataset = open_dataset(config, make_console(quiet=True))
    sampling = config.model.img_size, config.sampling, config.seed, config.batch_size
    cells = config.model.img_size // config.model.patch_size * SEGMENT_CELLS
    sampler = CropSampler(dataset, *sampling, context, cells)
    console.print(
        f"pre-training {config.name} on {trainer.device} in {trainer.precision}, "
        f"{context.size} process(es): {config.views} crops",
    )
    _train(trainer, sampler, console)
    if context.is_main_process:
        with SummaryWriter(str(config.out / "tb")) as board:
            write_reconstructions(trainer, CropSampler(dataset, *sampling[:3], 8), board)
        export(trainer)
        write_page(config)


def _train(trainer: Trainer, sampler: CropSampler, console: Console) -> None:
    config, context = trainer.config, trainer.context
    logger = TrainingLogger(trainer, console) if context.is_main_process else None
    for crops, waited in batches(sampler, trainer):
        loss = trainer.update(*crops)
        if logger is not None:
            logger.add(loss, waited)
            if trainer.step % config.checkpoint_every == 0 or trainer.step == config.steps:
                logger.checkpoint()
    if logger is not None:
        logger.close()


def batches(sampler: CropSampler, trainer: Trainer) -> Iterator[tuple[list[torch.Tensor], float]]:
    """Yield the batch of each remaining step, and the time that the step waited for it [s].

    Args:
        sampler: sampler of the crops.
        trainer: the run; its step is the first.
    """
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
        crops = next(loader)
        yield crops, time.monotonic() - asked


def _one_ahead(sampler: CropSampler, steps: range) -> Iterator[list[torch.Tensor]]:
    """Yield batches; a thread prepares each one during the step before, without a fork."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(sampler.__getitem__, step) for step in steps[:1]]
        for step in steps:
            crops = waiting.pop().result()
            if step + 1 in steps:
                waiting.append(pool.submit(sampler.__getitem__, step + 1))
            yield crops
