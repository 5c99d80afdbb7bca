"""How often does a policy trained by our commands succeed in a task of another package?

Collects demonstrations of the expert, trains a policy and evaluates it from fixed initial states,
each by its command, in the environment that the task's package runs in. What is there is not done
again, so that an interrupted call goes on where it was. The expert's rate on the first seeds is
measured first, without and with the execution noise of demonstrations.

    python benchmarks/tasks.py fetch/pick-and-place --episodes 100 --n 50
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named
from s2robot.envs.tasks.names import PACKAGED, file_name
from s2robot.stats.intervals import wilson
from s2robot.utils.io import read_jsonl, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results"
SEEDS = 50


def expert_rates(name: str, seeds: int) -> dict[str, Any]:
    """Measure how often the expert succeeds, and in how many control steps, without frames."""
    env, task = make_env({"level": named_by_user(name)}), task_named(name)
    rates = {}
    for noisy in (False, True):
        steps = []
        for seed in range(seeds):
            observation, _ = env.reset(seed=seed)
            expert, noise = task.expert_of(env), task.noise_of(env, seed)
            if expert is None:
                raise SystemExit(f"the task {name} has no expert")
            for step in range(env.horizon):
                action = expert(observation)
                observation, *_, info = env.step(noise(action) if noisy else action)
                if info["is_success"]:
                    steps.append(step + 1)
                    break
        rates["with noise" if noisy else "without noise"] = {
            **rate_of(len(steps), seeds),
            "median_steps": sorted(steps)[len(steps) // 2] if steps else None,
        }
    env.close()
    return rates


def rate_of(successes: int, n: int) -> dict[str, Any]:
    """Return counts and rate, with Wilson's interval."""
    found = wilson(successes, n)
    return {"successes": successes, "n": n, "rate": [found.estimate, found.low, found.high]}


def command(*words: str) -> tuple[float, str]:
    """Run a command of s2robot; returns its seconds and what it prints."""
    print("s2robot", *words, flush=True)
    start = time.perf_counter()
    run = [sys.executable, "-m", "s2robot.cli.main", *words]
    printed = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(printed, end="", flush=True)
    return time.perf_counter() - start, printed


def trained(options: argparse.Namespace) -> dict[str, Any]:
    """Collect, train and evaluate; returns counts and seconds."""
    work = options.work / file_name(options.task)
    where = [f"task={options.task}", f"data_dir={work / 'data'}"]
    collecting, _ = command("collect", *where, f"episodes={options.episodes}")
    demos, runs = f"demos.episodes={options.episodes}", f"runs_dir={work / 'runs'}"
    training, printed = command("train", *where, demos, runs, *options.train)
    # A line of its own; before it may stand how far bfloat16 is from float32.
    policy = next(Path(line) for line in printed.splitlines() if line.endswith(".safetensors"))
    out = policy.parent / "rows"
    settings = [f"checkpoint={policy}", f"n={options.n}", f"out={out}", *options.eval]
    evaluating, _ = command("eval", *where, *settings)
    rows = list(read_jsonl(next(out.rglob("episodes.jsonl"))))[: options.n]
    seconds = {"collect": collecting, "train": training, "eval": evaluating}
    return {
        "policy": policy.parent.name,
        "success_once": rate_of(sum(row["success_once"] for row in rows), len(rows)),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=sorted(PACKAGED))
    parser.add_argument("--episodes", type=int, default=100, help="demonstrations")
    parser.add_argument("--n", type=int, default=50, help="fixed initial states")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the expert, from 0")
    parser.add_argument("--train", nargs="*", default=["scales=[1]"], help="settings of train")
    parser.add_argument("--eval", nargs="*", default=["rollout.videos=0"], help="settings of eval")
    parser.add_argument("--expert-only", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--out", type=Path, help="default: results/tasks_NAME.json")
    options = parser.parse_args()
    out = options.out or RESULTS / f"tasks_{file_name(options.task)}.json"
    package = importlib.import_module(PACKAGED[options.task].partition(":")[0]).PACKAGE
    record: dict[str, Any] = {
        "task": options.task,
        "package": {package.distribution: metadata.version(package.distribution)},
        "mujoco": metadata.version("mujoco"),
        "seed": 0,
    }
    earlier = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if all(earlier.get(name) == value for name, value in record.items()):  # else it starts anew
        record = earlier
    if record.get("expert", {}).get("with noise", {}).get("n") != options.seeds:
        record["expert"] = expert_rates(options.task, options.seeds)
        write_json(out, {**record, "provenance": provenance()})
    if not options.expert_only:
        settings = {
            "demonstrations": options.episodes,
            "train": options.train,
            "eval": options.eval,
        }
        record["policies"] = [
            *(each for each in record.get("policies", []) if each["settings"] != settings),
            {"settings": settings, **trained(options)},
        ]
        write_json(out, {**record, "provenance": provenance()})
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
