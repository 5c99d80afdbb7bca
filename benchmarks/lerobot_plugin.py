"""Time of a training epoch with the LeRobot plug-in, first and later ones, beside LeRobot's ACT.

    OMP_NUM_THREADS=1 .venv-lerobot/bin/python benchmarks/lerobot_plugin.py lerobot/easy \\
        --out benchmarks/results/lerobot_plugin.json

Both policies read the same LeRobot data set through LeRobot's own classes and PyTorch's data
loader in this process, with equal batches; ACT has its ResNet-18 in the loop, from random weights.
An epoch is all of reading, forward, backward and optimizer.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot_policy_s2robot import S2robotConfig
from torch.utils.data import DataLoader

from s2robot.policies.config import PolicyConfig
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance


def epoch_times(config: Any, root: Path, batch: int, epochs: int) -> list[float]:
    """Return the seconds of each epoch."""
    meta = LeRobotDatasetMetadata("benchmarks/lerobot", root=root)
    steps = resolve_delta_timestamps(config, meta)
    dataset = LeRobotDataset("benchmarks/lerobot", root=root, delta_timestamps=steps)
    torch.manual_seed(0)
    policy: Any = make_policy(config, ds_meta=dataset.meta)
    pre, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
    policy.train()
    found = []
    for _ in range(epochs):
        begun = time.perf_counter()
        for rows in DataLoader(dataset, batch_size=batch, shuffle=True):
            loss, _ = policy(pre(rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        found.append(round(time.perf_counter() - begun, 3))
        print(f"{config.type}: epoch {len(found)} {found[-1]} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="LeRobot data set")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--scales", default="1,2")
    parser.add_argument("--readout", default="mean")
    parser.add_argument("--note", default="", help="on what else the machine did")
    given = parser.parse_args()
    scales = tuple(float(scale) for scale in given.scales.split(","))
    common = {"device": "cpu", "push_to_hub": False}
    head = PolicyConfig(kind="act", context=1, chunk=8)
    with tempfile.TemporaryDirectory() as folder:
        own = S2robotConfig(
            scales=scales, readout=given.readout, runtime="eager", head=head,
            features_dir=Path(folder), **common,
        )  # fmt: skip
        ours = epoch_times(own, given.root, given.batch, given.epochs)
    act = ACTConfig(chunk_size=8, n_action_steps=8, pretrained_backbone_weights=None, **common)
    theirs = epoch_times(act, given.root, given.batch, 2)
    later, their_later = statistics.median(ours[1:]), statistics.median(theirs[1:])
    meta = LeRobotDatasetMetadata("benchmarks/lerobot", root=given.root)
    result = {
        "frames": meta.total_frames,
        "cameras": {key: list(meta.features[key]["shape"]) for key in meta.camera_keys},
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "encoder": {"backbone": own.backbone, "scales": list(scales), "readout": given.readout},
        "s2robot_epochs_s": ours,
        "act_epochs_s": theirs,
        "first_to_later": round(ours[0] / later, 1),
        "act_to_later": round(their_later / later, 1),
        "seed": 0,
        "note": given.note,
        "provenance": provenance(),
        "versions": {name: importlib.metadata.version(name) for name in ("lerobot", "torch")},
    }
    print(json.dumps(result, indent=1))
    if given.out:
        write_json(given.out, result)


if __name__ == "__main__":
    main()
