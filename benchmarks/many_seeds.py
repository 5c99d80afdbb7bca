"""How long do 32 training seeds of a variant take together, against one seed alone?

Trainings of 60 epochs of the fixed MLP head on the shipped encoder's embeddings of demonstrations,
with checkpoints and TensorBoard logs as in `s2robot sweep`. Each is a process of its own, timed
after its imports; rounds alternate. "one" is `fit`, "many" is `fit_many` with all seeds, "searched"
is `search_hyperparameters` (8 trials of 20 epochs) and then `fit`, which was the default way to the
first policy of a variant. `--before CHECKOUT` times "one" and "searched" of another build.

The policies of "one" and "many" are compared: predictions and errors on held-out frames after the
whole schedule. "bound" is the time that the matrix products of all seeds would take alone, at the
rate of a large product on all cores.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/many_seeds.py --before CHECKOUT
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData, acting_windows
from s2robot.training.trainer import TrainConfig, fit

RESULTS = Path(__file__).parent / "results" / "many_seeds.json"
CASES = {
    "published (1)": ("published", (1.0,)),
    "cls (1)": ("cls", (1.0,)),
    "cls (1,2)": ("cls", (1.0, 2.0)),
    "grid (1)": ("spatial_softmax", (1.0,)),
    "grid (1,2)": ("spatial_softmax", (1.0, 2.0)),
}
"""Readout and scales by name."""
FIELDS = [field.name for field in dataclasses.fields(TrajectoryData)]


def prepare(path: Path, case: str, data_dir: Path) -> dict[str, Any]:
    """Write a case's training data; return its sizes."""
    from s2robot.experiments.variant import Variant, VariantConfig

    readout, scales = CASES[case]
    config = VariantConfig(readout=readout, scales=scales, data_dir=data_dir, device="cpu")
    data = Variant(config).data
    torch.save({name: getattr(data, name) for name in FIELDS}, path)
    frames = len(data.frames_of(data.train_episodes))
    return {"embedding_shape": list(data.embedding_shape), "training_frames": frames}


def timed(task: str, path: Path, seeds: list[int], out: Path) -> dict[str, Any]:
    """Run one task; return seconds, processor time, memory, and each seed's last row."""
    data = TrajectoryData(**torch.load(path))
    policy, config = PolicyConfig(), TrainConfig(seed=seeds[0])
    fit(data, policy, dataclasses.replace(config, epochs=1))  # warms up
    before, folder = os.getloadavg()[0], out / "training"
    started, cpu_started = time.perf_counter(), time.process_time()
    results = TASKS[task](data, policy, config, seeds, folder)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    held_out = acting_windows(policy, data, data.valid_episodes).index
    actions = {str(seed): predictions(r.policy, data, held_out) for seed, r in results.items()}
    torch.save(actions, out / "predictions.pt")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "load_before": before,
        "ends": {seed: result.history[-1] for seed, result in results.items()},
    }


def predictions(policy: Any, data: TrajectoryData, frames: torch.Tensor) -> torch.Tensor:
    """Return the actions of held-out frames."""
    with torch.no_grad():
        embedding = policy.normalize_embedding(data.embedding[frames])
        return policy.predict(embedding, policy.normalize_proprio(data.proprio[frames]))


def one(data: Any, policy: Any, config: Any, seeds: list[int], folder: Path) -> dict[int, Any]:
    """Train the first seed alone."""
    return {seeds[0]: fit(data, policy, config, folder)}


def many(data: Any, policy: Any, config: Any, seeds: list[int], folder: Path) -> dict[int, Any]:
    """Train all seeds together."""
    from s2robot.training.many_seeds import fit_many

    run_dirs = {seed: folder / str(seed) for seed in seeds}
    return fit_many(data, policy, config, seeds, run_dirs)


def searched(data: Any, policy: Any, config: Any, seeds: list[int], folder: Path) -> dict[int, Any]:
    """Choose a head by a search, then train the first seed alone."""
    from s2robot.training.hyperparameter_search import SearchConfig, search_hyperparameters

    choice = search_hyperparameters(
        data, policy, config, SearchConfig(), seed=seeds[0], cache_path=folder / "trials.jsonl"
    )
    config = dataclasses.replace(config, lr=choice.lr)
    return {seeds[0]: fit(data, choice.policy_config, config, folder)}


TASKS: dict[str, Callable[..., dict[int, Any]]] = {"one": one, "many": many, "searched": searched}


def run(task: str, path: Path, seeds: list[int], out: Path, build: Path | None) -> dict[str, Any]:
    """Run a task in a process of its own, with this build or that of another checkout."""
    root = build or Path(__file__).resolve().parent.parent
    command = [sys.executable, __file__, "--task", task, "--data", str(path), "--out", str(out)]
    command += ["--seeds", ",".join(map(str, seeds))]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    out.mkdir(parents=True)
    result = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def matrix_gflops() -> float:
    """Return the rate of a large float32 product on all cores, the best of ten."""
    matrix = torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best / 1e9


def training_flops(path: Path) -> float:
    """Return the operations of one seed's matrix products over all training steps."""
    from torch.utils.flop_counter import FlopCounterMode

    from s2robot.training.seed_trainer import Trainer

    data = TrajectoryData(**torch.load(path))
    trainer = Trainer(data, PolicyConfig(), TrainConfig(), torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        embedding, *rest = trainer.frames.gather(trainer.windows, torch.arange(100))
        trainer.policy.loss(embedding, *rest).backward()
    per_frame = counter.get_total_flops() / 100
    return per_frame * trainer.windows_per_epoch * trainer.config.epochs


def summary(values: list[float]) -> dict[str, Any]:
    """Return the median, the range and all values."""
    rounded = [round(value, 3) for value in values]
    median = round(statistics.median(values), 3)
    return {"median": median, "min": min(rounded), "max": max(rounded), "all": rounded}


def difference(out: Path, first: str, second: str, seed: int, rows: dict) -> dict[str, float]:
    """Return how far two trainings of a seed are apart after the whole schedule."""
    actions = [torch.load(out / name / "predictions.pt")[str(seed)] for name in (first, second)]
    apart = (actions[0] - actions[1]).abs()
    ends = [rows[name]["ends"][str(seed)] for name in (first, second)]
    errors = {key: abs(ends[0][key] - ends[1][key]) for key in ("motion_error", "gripper_error")}
    actions_apart = {"largest_action": float(apart.max()), "mean_action": float(apart.mean())}
    return {"seed": seed, **actions_apart, **errors}


def measure(case: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one case over several rounds."""
    path = folder / "data.pt"
    sizes = prepare(path, case, options.data_dir)
    seeds = list(range(options.count))
    tasks = {"one": ("one", None), "many": ("many", None)}
    if options.before is not None:
        tasks |= {
            "one before": ("one", options.before),
            "searched before": ("searched", options.before),
        }
    names = list(tasks)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    differences, rates = [], []
    for number in range(options.rounds):
        out = folder / str(number)
        rates.append(matrix_gflops())
        found = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            task, build = tasks[name]
            first = number % options.count  # another seed alone in each round
            wanted = seeds if task == "many" else [first]
            found[name] = run(task, path, wanted, out / name, build)
            rows[name].append(found[name])
            print(f"{case}, round {number}: {name} {found[name]['seconds']:.1f} s", flush=True)
        differences.append(difference(out, "one", "many", number % options.count, found))
    return (
        sizes
        | summarize(rows, rates, training_flops(path) * options.count)
        | {"differences_after_all_epochs": differences}
    )


def summarize(
    rows: dict[str, list[dict[str, Any]]], rates: list[float], flops: float
) -> dict[str, Any]:
    """Return seconds, ratios of rounds, memory and the bound."""
    seconds = {name: [row["seconds"] for row in done] for name, done in rows.items()}
    ratios = {
        f"many / {name}": summary([a / b for a, b in zip(seconds["many"], done, strict=True)])
        for name, done in seconds.items()
        if name != "many"
    }
    rate = max(rates)
    return {
        "seconds": {name: summary(done) for name, done in seconds.items()},
        "ratios": ratios,
        "cpu_seconds": {n: summary([row["cpu_seconds"] for row in d]) for n, d in rows.items()},
        "load_before": {name: [row["load_before"] for row in done] for name, done in rows.items()},
        "peak_gib": {name: round(max(row["peak_gib"] for row in d), 2) for name, d in rows.items()},
        "matrix_gflops": summary(rates),
        "tflop_of_all_seeds": round(flops / 1e12, 2),
        "bound_s": round(flops / rate / 1e9, 1),
        "motion_error_of_seeds": spread(
            [e["motion_error"] for e in rows["many"][0]["ends"].values()]
        ),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return the mean and the standard deviation over seeds."""
    return {"mean": statistics.mean(values), "sd": statistics.pstdev(values)}


def main() -> None:
    """Run the benchmark, or one of its tasks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="CASE")
    add("--count", type=int, default=32, help="seeds that are trained together")
    add("--rounds", type=int, default=3)
    add("--before", type=Path, help="checkout of the build to compare with")
    add("--data-dir", type=Path, default=Path("data"))
    add("--out", type=Path, default=RESULTS)
    add("--task", choices=TASKS, help=argparse.SUPPRESS)
    add("--data", type=Path, help=argparse.SUPPRESS)
    add("--seeds", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        seeds = [int(seed) for seed in options.seeds.split(",")]
        print(json.dumps(timed(options.task, options.data, seeds, options.out)))
        return
    from s2robot.utils.io import write_json
    from s2robot.utils.provenance import provenance

    record: dict[str, Any] = {"seeds": options.count, "epochs": TrainConfig().epochs, "cases": {}}
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            record["cases"][case] = measure(case, options, Path(folder))
        record["threads"] = torch.get_num_threads()
        write_json(options.out, record | {"provenance": provenance()})


if __name__ == "__main__":
    main()
