"""Views a second while pre-training, against a plain eager loop over the same model.

The plain loop is what a user would otherwise write: one process, float32, timm's own attention,
AdamW, PyTorch's default threads. Ours is what `s2robot pretrain` does on this machine; the arms
between take one step each from the one to the other. All read the same frames through a DataLoader
and run in turn, each in a process of its own. "matrix rate" is what this machine's matrix product
reaches in the arm's precision, on as many cores (or on the GPU).

    OMP_WAIT_POLICY=PASSIVE python benchmarks/pretrain_speed.py
    python benchmarks/pretrain_speed.py --recipe vitb --img-size 224 --batch 512     # on a GPU
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_module
from rich.console import Console
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from s2robot.pretraining.augmentation import CropSampler
from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.frame_sources import open_dataset
from s2robot.pretraining.masked_autoencoder import (
    MaskedAutoencoder,
    normalize_pixels,
    visible_patches,
)
from s2robot.pretraining.run import batches
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.config import from_config
from s2robot.utils.distributed import DistributedContext, count_processes, launch, usable_cores
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "pretrain_speed.json"
ARMS = {
    "plain loop": ["processes=1", "precision=float32"],
    "ours in one process": ["processes=1"],
    "ours": [],
}
WARM_UP_STEPS = 3


def recipe(options: argparse.Namespace, arm: str) -> PretrainConfig:
    """The settings of an arm."""
    words = [f"recipe={options.recipe}", f"model.img_size={options.img_size}", "frames=1024"]
    words += [f"batch_size={options.batch}", f"views={options.batch * 10_000}", *ARMS[arm]]
    words += [f"frame_size={3 * options.img_size}", "cache=data/pretrain_speed"]
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        return from_config(PretrainConfig, compose("pretrain", overrides=words))


def views_of(config: PretrainConfig, context: DistributedContext) -> CropSampler:
    """Views that this process trains on."""
    pool = open_dataset(config, Console(quiet=True))
    settings = config.model.img_size, config.sampling, config.seed, config.batch_size
    return CropSampler(pool, *settings, context)


def plain_steps(config: PretrainConfig) -> Iterator[None]:
    """The loop a user would write; yields after every step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = config.model
    decoder = shape.decoder_dim, shape.decoder_depth, shape.decoder_heads
    model = MaskedAutoencoder(shape.build(), *decoder).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, betas=(0.9, 0.95))
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        views_of(config, DistributedContext()), None, sampler=range(10_000), num_workers=1
    )
    for (views,) in loader:
        keep = visible_patches(config.batch_size, model.grid**2, config.mask_ratio, generator)
        loss, _ = model(normalize_pixels(views.to(device)), keep.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        yield


def our_steps(context: DistributedContext, config: PretrainConfig) -> Iterator[None]:
    """`s2robot pretrain`'s own steps."""
    trainer = Trainer(config, context)
    for views, _ in batches(views_of(config, context), trainer):
        trainer.update(*views)
        yield


def measure(
    context: DistributedContext, config: PretrainConfig, arm: str, steps: int, out: str
) -> None:
    """Write an arm's seconds a step, after the first few."""
    run = plain_steps(config) if arm == "plain loop" else our_steps(context, config)
    seconds = []
    for number in range(WARM_UP_STEPS + steps):
        started = time.perf_counter()
        next(run)
        if number >= WARM_UP_STEPS:
            seconds.append(time.perf_counter() - started)
    if context.is_main_process:
        Path(out).write_text(json.dumps(seconds))


def run_arm(options: argparse.Namespace) -> None:
    """One arm, in this process and those it starts."""
    config = recipe(options, options.arm)
    processes = count_processes(config.processes, config.device, config.batch_size)
    launch(measure, processes, config, options.arm, options.steps, options.seconds)


def gflops_per_view(config: PretrainConfig) -> float:
    """10⁹ floating-point operations of a training step for one view: forward and twice backward."""
    shape = config.model
    decoder = shape.decoder_dim, shape.decoder_depth, shape.decoder_heads
    model = MaskedAutoencoder(shape.build(), *decoder)
    keep = visible_patches(1, model.grid**2, config.mask_ratio, torch.Generator())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, shape.img_size, shape.img_size), keep)
    return 3 * counter.get_total_flops() / 1e9


def matrix_rate(dtype: torch.dtype, width: int, repeats: int = 20) -> float:
    """10⁹ floating-point operations a second of products as wide as the model's, best of many."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = 2048 if device == "cpu" else 16384
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(width, 4 * width, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(10):
            torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - started) / 10)
    return 2 * rows * width * 4 * width / best / 1e9


def timed(options: argparse.Namespace, arm: str) -> list[float]:
    """Seconds a step of one run of an arm, in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = Path(folder) / "seconds.json"
        words = [f"--{k}={getattr(options, k)}" for k in ("recipe", "batch", "steps")]
        words += [f"--img-size={options.img_size}", f"--arm={arm}", f"--seconds={seconds}"]
        subprocess.run([sys.executable, __file__, *words], check=True)
        return json.loads(seconds.read_text())


def main() -> None:
    """Run every arm in turn, several times; print and keep the ratios."""
    options = parsed()
    if options.arm:
        run_arm(options)
        return
    config = recipe(options, "ours")
    open_dataset(config, Console())
    steps: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for arm in ARMS:
            steps[arm].append(timed(options, arm))
    gflops = gflops_per_view(config)
    rates = {
        name: matrix_rate(getattr(torch, name), config.model.embed_dim)
        for name in ("float32", "bfloat16")
    }
    rows = [row_of(arm, steps, options.batch, gflops) for arm in ARMS]
    for row in rows:
        print(
            f"{row['arm']:24}{row['views_per_s']:9.0f} views/s  {row['ratio']:.2f} of the plain "
            f"loop (rounds {row['ratio_low']:.2f} to {row['ratio_high']:.2f})  "
            f"{row['gflops_per_s']:.0f} GFLOP/s"
        )
    print(f"matrix rates [GFLOP/s]: {rates}")
    result = {
        "settings": {k: v for k, v in vars(options).items() if k not in ("arm", "seconds", "out")},
        "cores": usable_cores(),
        "gflops_per_view": gflops,
        "matrix_gflops_per_s": rates,
        "rows": rows,
        "seconds_per_step": steps,
        "provenance": provenance(),
    }
    write_json(options.out, result)


def row_of(
    arm: str, steps: dict[str, list[list[float]]], batch: int, gflops: float
) -> dict[str, Any]:
    """Rates of an arm: medians of rounds, and the ratio to the plain loop in the same round."""
    medians = {name: np.median(rounds, axis=1) for name, rounds in steps.items()}
    ratios = medians["plain loop"] / medians[arm]
    views = float(batch / np.median(medians[arm]))
    return {
        "arm": arm,
        "views_per_s": views,
        "gflops_per_s": views * gflops,
        "ratio": float(np.median(ratios)),
        "ratio_low": float(ratios.min()),
        "ratio_high": float(ratios.max()),
    }


def parsed() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="vitt")
    parser.add_argument("--img-size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=128, help="views a step")
    parser.add_argument("--steps", type=int, default=15, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
