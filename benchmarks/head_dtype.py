"""Heads on large token grids in bfloat16 and float32: seconds of an epoch, held-out errors.

Timed are epochs on random grids of a size (default: two cameras of EfficientNet-Lite0 at (1,2)),
in turn: as now in bfloat16 and in float32, and in float32 with new memory for each batch, as before
there was another precision. Steps and validation are on fewer moments than a data set has, which
changes no step. Errors are those of trainings on pick-cube's demonstrations with the encoder that
ships, of which only the precision differs, by seed.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/head_dtype.py
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.experiments.config import DemosChoice, VariantConfig
from s2robot.experiments.variant import Variant
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training import precision
from s2robot.training.config import TrainConfig
from s2robot.training.frames import DeviceFrames
from s2robot.training.many_seeds import fit_many
from s2robot.training.seed_stack import SeedStack
from s2robot.training.seed_trainer import Trainer
from s2robot.utils.io import write_json
from s2robot.utils.process_state import one_thread_an_operation
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "head_dtype.json"
DTYPES = ("float32", "bfloat16")
EARLIER = "float32, new memory for each batch"
MEASURES = ("train_loss", "valid_loss", "motion_error")


class _NewMemory(DeviceFrames):
    """Frames whose batches get new memory as float32."""

    def _own(self, use: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor | None:
        return None if use == "normalized" else super()._own(use, shape, dtype)


def random_grids(moments: int, shape: tuple[int, ...]) -> TrajectoryData:
    """Return seven episodes of random grids, the last one held out."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.empty(moments, math.prod(shape), dtype=torch.float16)
    for part in embedding.split(64):
        part.copy_(torch.randn(part.shape, generator=generator))
    return TrajectoryData(
        embedding=embedding,
        embedding_shape=shape,
        proprio=torch.randn(moments, 2, generator=generator),
        actions=torch.tanh(embedding[:, :2].float()),
        episode_ends=torch.linspace(0, moments, 8).round().long()[1:],
        train_episodes=torch.arange(6),
        valid_episodes=torch.tensor([6]),
        motion_dims=2,
        motion_unit=1.0,
    )


def epoch_seconds(data: TrajectoryData, rounds: int) -> dict[str, Any]:
    """Return seconds of an epoch by precision, and how many epochs of bfloat16 each one takes."""
    stacks = {name: _stack(data, name, rounds + 1) for name in (EARLIER, *DTYPES)}
    seconds: dict[str, list[float]] = {name: [] for name in stacks}
    with one_thread_an_operation():  # as trainings have it
        for number in range(rounds + 1):
            for name, stack in stacks.items():
                started = time.perf_counter()
                list(stack.epoch())
                if number:  # the first one takes memory
                    seconds[name].append(time.perf_counter() - started)
    low = seconds["bfloat16"]
    return {
        name: {
            **_spread(own),
            "ratio to bfloat16": _spread([a / b for a, b in zip(own, low, strict=True)]),
        }
        for name, own in seconds.items()
    }


def _stack(data: TrajectoryData, name: str, epochs: int) -> SeedStack:
    """Return a training of one seed, in float32 with frames that are normalized batch by batch."""
    config = TrainConfig(epochs=epochs, dtype=name.split(",")[0])
    limit, precision.PREPARED_BYTES = precision.PREPARED_BYTES, 0  # as for more moments
    try:
        trainer = Trainer(data, PolicyConfig(), config, torch.device("cpu"))
    finally:
        precision.PREPARED_BYTES = limit
    if name == EARLIER:
        trainer.frames.__class__ = _NewMemory
    return SeedStack([trainer])


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in found.items()}


def errors(work: Path, episodes: int, epochs: int, seeds: int) -> dict[str, Any]:
    """Return the last epoch's losses and errors by precision, kind of policy and seed."""
    variant = VariantConfig(
        level="easy",
        encoder="s2r-vitt16-128",
        scales=(1.0, 2.0),
        demos=DemosChoice(episodes=episodes),
        device="cpu",
        dtype="float32",
        runtime="eager",
        data_dir=work,
    )
    data = Variant(variant).data
    held_out = len(data.valid_episodes)
    found: dict[str, Any] = {"training": len(data.train_episodes), "held_out": held_out}
    for kind in ("mlp", "gmm"):
        rows = {}
        for dtype in DTYPES:
            config = TrainConfig(epochs=epochs, dtype=dtype)
            policies = fit_many(data, PolicyConfig(kind=kind), config, range(seeds), device="cpu")
            ends = [policy.history[-1] for policy in policies.values()]
            rows[dtype] = {name: [end[name] for end in ends] for name in MEASURES}
        found[kind] = {**rows, "bfloat16 less float32": _differences(rows)}
    return found


def _differences(rows: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Return means over seeds, the seeds' standard deviation in float32, and the paired error."""
    found = {}
    for name in MEASURES:
        low, full = (np.array(rows[dtype][name]) for dtype in ("bfloat16", "float32"))
        found[name] = {
            "mean": float((low - full).mean()),
            "standard_error": float((low - full).std(ddof=1) / math.sqrt(len(low))),
            "float32_mean": float(full.mean()),
            "float32_std_of_seeds": float(full.std(ddof=1)),
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--moments", type=int, default=1500)
    add("--grid", type=int, nargs=3, default=(7, 7, 5120), metavar=("ROWS", "COLUMNS", "CHANNELS"))
    add("--rounds", type=int, default=5, help="epochs that are timed")
    add("--episodes", type=int, default=60, help="demonstrations")
    add("--epochs", type=int, default=40)
    add("--seeds", type=int, default=12)
    add("--work", type=Path, default=Path("runs/head-dtype"), help="folder of demonstrations")
    add("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    grids = random_grids(options.moments, tuple(options.grid))
    found = {
        "moments": options.moments,
        "grid": list(options.grid),
        "epoch_s": epoch_seconds(grids, options.rounds),
        "trainings": {
            **{name: getattr(options, name) for name in ("episodes", "epochs", "seeds")},
            **errors(options.work, options.episodes, options.epochs, options.seeds),
        },
        "provenance": provenance(),
    }
    write_json(options.out, found)
    print(found["epoch_s"])
    print({kind: found["trainings"][kind]["bfloat16 less float32"] for kind in ("mlp", "gmm")})


if __name__ == "__main__":
    main()
