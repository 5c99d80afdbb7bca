"""How much longer is an epoch of behavior cloning that encodes its frames, against stored features?

Both epochs take the same steps: the same batches, policy, initial weights and frozen encoder. One
reads embeddings from the feature store, as `s2robot train` does. The other reads the batch's camera
frames and encodes them, as a training without a store does; it is timed on the first batches of the
epoch (`--batches`) and scaled to all of them. Rounds alternate. Validation is left out of both. The
losses of the common batches are compared.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/store_epoch.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.data.rendered_frames import RenderedFrames
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.experiments.variant import DemosChoice, Variant, VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import Windows
from s2robot.training.frames import DeviceFrames
from s2robot.training.seed_trainer import TrainConfig, Trainer
from s2robot.utils.io import write_json
from s2robot.utils.optim import seeded
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "store_epoch.json"


class EncodedFrames(DeviceFrames):
    """Frames that are read and encoded for each batch, in place of stored embeddings."""

    def __init__(self, stored: DeviceFrames, frames: RenderedFrames, encoder: FrameEncoder) -> None:
        vars(self).update(vars(stored))
        self.frames, self.encoder = frames, encoder

    def gather(self, windows: Windows, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return embedding, proprioception, actions and mask of windows of one frame."""
        index = windows.index[rows]
        pixels = np.concatenate([self.frames.read(i, i + 1) for i in index.tolist()])
        embedding = self.encoder(pixels).half()  # as it would be stored
        normalized = self.policy.normalize_embedding(embedding)
        index, mask = index.to(normalized.device), windows.mask[rows].to(normalized.device)
        return normalized, self.proprio[index], self.actions[index], mask


def measure(variant: Variant, rounds: int, batches: int) -> dict[str, Any]:
    """Return seconds of both epochs, their ratio, and how far their losses are apart."""
    assert variant.encoder is not None
    device = variant.encoder.device
    trainers = [Trainer(variant.data, PolicyConfig(), TrainConfig(), device) for _ in range(2)]
    stored, encoded = trainers
    encoded.frames = EncodedFrames(encoded.frames, variant.frames, variant.encoder)
    with seeded(0, 1):
        steps = stored.batches()
    part = steps[:batches]
    seconds: dict[str, list[float]] = {"stored": [], "encoded": []}
    differences = []
    for number in range(rounds):
        if number:
            _restart(variant, trainers)
        seconds["stored"].append(_timed(stored, steps, losses := []))
        taken = _timed(encoded, part, others := [])
        seconds["encoded"].append(taken * sum(map(len, steps)) / sum(map(len, part)))
        pairs = zip(losses, others, strict=False)
        differences += [abs(a - b) / abs(a) for a, b in pairs]
        print({name: round(values[-1], 3) for name, values in seconds.items()}, flush=True)
    ratios = [b / a for a, b in zip(seconds["stored"], seconds["encoded"], strict=True)]
    return {
        "training_frames": sum(map(len, steps)),
        "steps": len(steps),
        "steps_encoded": len(part),
        "frames_encoded": sum(map(len, part)),
        "embedding_shape": list(variant.embedding_shape),
        "seconds": {name: _spread(values) for name, values in seconds.items()},
        "encoded / stored": _spread(ratios),
        "largest relative difference of losses": max(differences),
    }


def _restart(variant: Variant, trainers: list[Trainer]) -> None:
    """Give both trainings their initial weights again."""
    for trainer in trainers:
        fresh = Trainer(variant.data, PolicyConfig(), TrainConfig(), trainer.device, trainer)
        frames = trainer.frames
        vars(trainer).update(vars(fresh))
        trainer.frames = frames


def _timed(trainer: Trainer, steps: tuple[torch.Tensor, ...], losses: list[float]) -> float:
    """Take steps and return their seconds; their losses are appended."""
    trainer.policy.train()
    start = time.perf_counter()
    found = [trainer._step(number, batch) for number, batch in enumerate(steps)]
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    losses += [float(loss) for loss in found]
    return seconds


def _spread(values: list[float]) -> dict[str, Any]:
    rounded = [round(value, 4) for value in values]
    middle = round(statistics.median(values), 4)
    return {"median": middle, "min": min(rounded), "max": max(rounded), "all": rounded}


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="demonstrations")
    parser.add_argument("--episodes", type=int, default=120)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, default=2, help="of the epoch that encodes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    config = VariantConfig(
        scales=tuple(arguments.scales),
        device=arguments.device,
        data_dir=arguments.data_dir,
        demos=DemosChoice(episodes=arguments.episodes),
    )
    variant = Variant(config)
    found = measure(variant, arguments.rounds, arguments.batches)
    settings = {
        "level": config.level,
        "encoder": config.encoder,
        "scales": list(config.scales),
        "episodes": arguments.episodes,
        "seed": TrainConfig().seed,
        "batch_size": TrainConfig().batch_size,
        "device": str(variant.encoder and variant.encoder.device),
        "threads": torch.get_num_threads(),
    }
    write_json(arguments.out, {**settings, **found, "provenance": provenance()})
    print(json.dumps(found["encoded / stored"]))


if __name__ == "__main__":
    main()
