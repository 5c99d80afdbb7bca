"""How long is a step of robomimic's training with an encoder in its network, and on embeddings?

Every step is one of robomimic's own ``run_epoch``: its loader, its behavior cloning, its optimizer,
on the same demonstrations of pick-cube. Networks that read images: a frozen `S2Core`, robomimic's
own ResNet-18 that is trained along (``VisualCore``), robomimic's frozen ``R3MConv``, and a frozen
`S2Core` of R3M's architecture. The last two have random weights, on which no time depends; the
package r3m is replaced by torchvision's ResNet-18 for it. Embeddings are those of the first
`S2Core`, written by `s2robot robomimic-cache`. Rounds alternate.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/robomimic_training.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import robomimic.utils.file_utils as file_utils
import robomimic.utils.obs_utils as obs_utils
import robomimic.utils.train_utils as train_utils
import torch
import torchvision
from robomimic.algo import algo_factory
from torch.utils.data import DataLoader

from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.rendered_demonstrations import open_source
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.plugins.robomimic.cache import cache_embeddings
from s2robot.plugins.robomimic.configuration import read_config
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "robomimic.json"
LOW_DIM = ["ee_pos", "gripper_width"]
CAMERA = "front_image"
ENCODER: dict[str, Any] = {"scales": [1, 2], "readout": "mean"}
RESNET18 = {"feature_dimension": 64, "pool_class": "SpatialSoftmax"}
CORES: dict[str, tuple[str, dict[str, Any]]] = {
    "S2Core": ("S2Core", {"backbone": "s2r-vitt16-128", **ENCODER}),
    "ResNet18Conv, trained": (
        "VisualCore",
        {**RESNET18, "backbone_class": "ResNet18Conv", "backbone_kwargs": {"pretrained": False}},
    ),
    "R3MConv, frozen": (
        "VisualCore",
        {
            "feature_dimension": None,
            "flatten": True,
            "pool_class": None,
            "backbone_class": "R3MConv",
            "backbone_kwargs": {"r3m_model_class": "resnet18", "freeze": True},
        },
    ),
    "S2Core of R3M's architecture": (
        "S2Core",
        {"backbone": "random/resnet18-224", "scales": [1], "readout": "mean"},
    ),
}
CACHED = "embeddings"


class Run:
    """One network of robomimic with its loader."""

    def __init__(self, folder: Path, data: Path, name: str, batch_size: int, seed: int) -> None:
        embedded = name == CACHED
        keys = [*LOW_DIM, CAMERA.replace("_image", "_embedding")] if embedded else LOW_DIM
        modalities = {"obs": {"low_dim": keys, "rgb": [] if embedded else [CAMERA]}}
        core, kwargs = CORES["S2Core" if embedded else name]
        given = {
            "algo_name": "bc",
            "train": {"data": str(data), "batch_size": batch_size, "cuda": _on_gpu()},
            "observation": {
                "modalities": modalities,
                "encoder": {"rgb": {"core_class": core, "core_kwargs": kwargs}},
            },
        }
        path = folder / "bc.json"
        path.write_text(json.dumps(given))
        config = read_config(path)
        obs_utils.initialize_obs_utils_with_config(config)
        shapes = file_utils.get_shape_metadata_from_dataset(str(data), config.all_obs_keys)
        torch.manual_seed(seed)
        device = torch.device("cuda" if _on_gpu() else "cpu")
        self.algorithm = algo_factory(
            "bc", config, OrderedDict(shapes["all_shapes"]), shapes["ac_dim"], device
        )
        data_set, _ = train_utils.load_data_for_training(config, shapes["all_obs_keys"])
        self.loader = DataLoader(data_set, batch_size=batch_size, shuffle=True, drop_last=True)
        self.config = config
        trained = sum(w.numel() for w in self.algorithm.nets.parameters() if w.requires_grad)
        self.parameters = trained
        """Number of weights that are trained."""

    def seconds(self, steps: int, epoch: int) -> tuple[float, float]:
        """Return the seconds of a step, over some steps: by the clock, and of all processors."""
        obs_utils.initialize_obs_utils_with_config(self.config)
        begin, processor = time.perf_counter(), time.process_time()
        train_utils.run_epoch(self.algorithm, self.loader, epoch, num_steps=steps)
        if _on_gpu():
            torch.cuda.synchronize()
        passed = time.perf_counter() - begin, time.process_time() - processor
        return passed[0] / steps, passed[1] / steps


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return seconds of a step of each network, and their ratios to the one on embeddings."""
    sys.modules["r3m"] = _r3m()
    demos = collect(CollectConfig(level="easy", episodes=arguments.episodes, out=folder / "d.hdf5"))
    data = open_source(demos.path, ["front"], None, arguments.size, folder)
    images = folder / "images.hdf5"
    write_robomimic(data, images)
    encoder = FrameEncoder.from_name("s2r-vitt16-128", (1, 2), "mean")
    cached = cache_embeddings(images, folder / "embeddings.hdf5", encoder)
    runs = {}
    for name in (*CORES, CACHED):
        with contextlib.redirect_stdout(io.StringIO()):
            file = cached.path if name == CACHED else images
            runs[name] = Run(folder, file, name, arguments.batch_size, arguments.seed)
            runs[name].seconds(1, 0)  # compiles, and fills caches
    clock: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(1, arguments.rounds + 1):
        for name, run in runs.items():
            steps = arguments.cached_steps if name == CACHED else arguments.steps
            with contextlib.redirect_stdout(io.StringIO()):
                for found, value in zip(
                    (clock, processor), run.seconds(steps, number), strict=True
                ):
                    found[name].append(value)
        print({name: round(values[-1], 4) for name, values in processor.items()}, flush=True)
    return {
        "frames": cached.frames,
        "trained_parameters": {name: run.parameters for name, run in runs.items()},
        "clock": _described(clock),
        "processor": _described(processor),
    }


def _described(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Return seconds of a step, and ratios of the same round."""
    pairs = [(name, CACHED) for name in CORES]
    pairs.append(("S2Core of R3M's architecture", "R3MConv, frozen"))
    return {
        "seconds_per_step": {name: _spread(values) for name, values in seconds.items()},
        "ratio": {
            f"{one} / {other}": _spread(
                [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
            )
            for one, other in pairs
        },
    }


def _r3m() -> types.ModuleType:
    """Return a stand-in of the package r3m, with a ResNet-18 of random weights."""

    def load_r3m(name: str) -> Any:
        net = torchvision.models.get_model(name, weights=None)
        net.fc = torch.nn.Identity()
        return types.SimpleNamespace(module=types.SimpleNamespace(convnet=net))

    module: Any = types.ModuleType("r3m")
    module.load_r3m = load_r3m
    return module


def _on_gpu() -> bool:
    return torch.cuda.is_available()


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "median": float(f"{statistics.median(values):.4g}"),
        "all": [float(f"{value:.4g}") for value in values],
    }


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--size", type=int, default=256, help="side of the frames [px]")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3, help="a round, of networks with images")
    parser.add_argument("--cached-steps", type=int, default=60, help="a round, on embeddings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder))
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    load = {
        "before": round(before, 1),
        "after": round(os.getloadavg()[0], 1),
        "cpus": os.cpu_count(),
        "note": "a load above 0.5 before is other work on the cores, which makes times longer",
    }
    content = {
        "encoder": "s2r-vitt16-128",
        **ENCODER,
        **settings,
        "device": "cuda" if _on_gpu() else "cpu",
        "threads": torch.get_num_threads(),
        **found,
        "load_average": load,
        "provenance": provenance(),
    }
    write_json(arguments.out, content)
    print(json.dumps({key: content[key] for key in ("clock", "processor")}, indent=2))


if __name__ == "__main__":
    main()
