"""How fast are rollouts, and how much memory do they take, against earlier ones and a plain loop?

The same policy, encoder and initial states are rolled out by this build (as it is by default, and
with the runtime of the earlier build), by the build of CHECKOUT, and by a plain loop of one
environment, one frame and one policy call at a time, as robomimic's rollouts are. Ways take turns.
Memory is the largest sum of the proportional set sizes of all processes of a way. Two further
cases: a run whose workers are killed and stopped in the middle, and the memory of many short
episodes.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/rollouts.py --before CHECKOUT

Finished cases are kept in the file and not repeated; --fresh starts over.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2robot.utils.io import read_json, read_jsonl, write_json
from s2robot.utils.provenance import provenance

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "rollouts.json"
ENCODERS = {"large": ("s2r-vitt16-128", "[1,2]"), "small": ("random/vitt16-128", "[1]")}
DRIVER = """
import json, sys, time
from pathlib import Path
options = json.loads(sys.argv[1])
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.policies.checkpoint import load_policy
policy, header = load_policy(Path(options["policy"]))
spec = EncoderSpec.from_dict(header.encoder)
known = {} if options["runtime"] is None else {"runtime": options["runtime"]}
encoder = FrameEncoder.from_spec(spec, None, "cpu", **known)
states = make_initial_states(header.level, "test", options["n"], header.env_kwargs)
begun = time.perf_counter()
evaluate(policy, encoder, states, EvalConfig(**options["rollout"]), Path(options["out"]),
         header=header, progress=False)
print("SECONDS", time.perf_counter() - begun)
"""
PLAIN = """
import json, sys, time
from pathlib import Path
import numpy as np, torch
options = json.loads(sys.argv[1])
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.evaluation.initial_states import make_initial_states
from s2robot.policies.checkpoint import load_policy
policy, header = load_policy(Path(options["policy"]))
spec = EncoderSpec.from_dict(header.encoder)
encoder = FrameEncoder.from_spec(spec, None, "cpu", runtime="eager")
states = make_initial_states(header.level, "test", options["n"], header.env_kwargs).states
env = PickCubeEnv(**{**header.env_kwargs, "image_camera": None, "render_mode": None})
camera = header.frames["camera"]
begun = time.perf_counter()
for state in states:
    obs, _ = env.reset(seed=0, options={"state": state})
    policy.reset(1)
    for _ in range(env.level.horizon):
        frame = env.render_frame(camera["name"], camera["size"], camera["size"])
        proprio = np.concatenate([obs[key] for key in header.proprio_keys])[None]
        action = policy.act(encoder(frame), torch.from_numpy(proprio))[0]
        obs, *_ = env.step(action.cpu().numpy())
print("SECONDS", time.perf_counter() - begun)
"""


def measured(
    checkout: Path, driver: str, options: dict[str, Any], while_running: Callable[[int], None]
) -> dict[str, Any]:
    """Run a driver with the build of a checkout; return its seconds and its peak memory."""
    command = [sys.executable, "-W", "ignore", "-c", driver, json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            peak[0] = max(peak[0], memory_mib(process.pid))
            while_running(process.pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    text, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{checkout} could not roll out: exit status {process.returncode}")
    seconds = float(text.split("SECONDS")[1])
    return {"seconds": round(seconds, 2), "peak_mib": round(peak[0])}


def memory_mib(pid: int) -> float:
    """Return the proportional set size of a process and its descendants [MiB]."""
    total = 0.0
    for each in [pid, *descendants(pid)]:
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    try:
        found = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [*found, *(below for child in found for below in descendants(child))]


def matrix_rate(size: int = 2048, repeats: int = 12) -> dict[str, Any]:
    """Return the rate of float32 matrix products here, the most that encoding can reach."""
    import torch

    matrix, best_s = torch.ones(size, size), float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        matrix @ matrix
        best_s = min(best_s, time.perf_counter() - begun)
    rate = 2 * size**3 / best_s / 1e9
    return {"size": size, "gflop_per_s": round(rate, 1), "threads": torch.get_num_threads()}


def train(folder: Path, encoder: str, scales: str, level: str) -> Path:
    """Train a policy briefly; how well it picks does not matter to its speed."""
    settings = [f"level={level}", f"encoder={encoder}", f"scales={scales}", "demos.episodes=6"]
    places = [f"data_dir={folder / 'data'}", f"runs_dir={folder / 'runs'}"]
    command = [sys.executable, "-m", "s2robot.cli", "train", *settings, *places]
    subprocess.run(
        [*command, "budget=none", "train.epochs=3", "runtime=eager"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (policy,) = (folder / "runs").rglob("policy.safetensors")
    return policy


def compare(policy: Path, before: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """Roll out with each way in turn."""
    rollout = {"num_envs": options.num_envs, "videos": 0}
    ways: dict[str, tuple[Path, str, str | None, int]] = {
        "this build": (ROOT, DRIVER, None, options.n),
        "this build, eager": (ROOT, DRIVER, "eager", options.n),
        "one frame at a time": (ROOT, PLAIN, None, max(2, options.n // 16)),
    }
    if before is not None:
        ways["earlier build"] = (before, DRIVER, "eager", options.n)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    rows: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.repeats):
        for name, (checkout, driver, runtime, n) in ways.items():
            with tempfile.TemporaryDirectory() as out:
                wanted = {"policy": str(policy), "runtime": runtime, "n": n, "out": out}
                run = measured(checkout, driver, {**wanted, "rollout": rollout}, lambda _: None)
                run["episodes_per_minute"] = round(60 * n / run["seconds"], 2)
                if driver is DRIVER:
                    rows[name] = read_jsonl(Path(out) / "episodes.jsonl")
                    timing = read_json(Path(out) / "summary.json")["latency_ms"]
                    parts = ("encode", "policy", "env", "render")
                    run["step_ms"] = {part: timing[part]["p50"] for part in parts}
                    run["inference"] = read_json(Path(out) / "run.json").get("inference")
                runs[name].append(run)
                print(name, run, flush=True)
    rate = {
        name: statistics.median(run["episodes_per_minute"] for run in done)
        for name, done in runs.items()
    }
    peak = {name: max(run["peak_mib"] for run in done) for name, done in runs.items()}
    ratios = {
        f"{one} / {other}": round(rate[one] / rate[other], 3)
        for one in ("this build", "this build, eager")
        for other in ("earlier build", "one frame at a time")
        if other in rate
    }
    found: dict[str, Any] = {"runs": runs, "speed": ratios}
    if before is not None:
        found["same_rows_as_earlier"] = rows["this build, eager"] == rows["earlier build"]
        found["memory"] = round(peak["this build"] / peak["earlier build"], 3)
    return found


def disturb(policy: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Kill one worker and stop the other in mid-run; the rows must be those of a quiet run."""
    rows = []
    for losses in ([], [(6.0, signal.SIGKILL), (12.0, signal.SIGSTOP), (14.0, signal.SIGKILL)]):
        seen: list[float] = []
        with tempfile.TemporaryDirectory() as out:
            left = list(losses)

            def lose(pid: int, seen=seen, left=left) -> None:
                workers = descendants(pid)
                if len(workers) < 2 or not left:
                    return
                seen.append(time.monotonic())
                if time.monotonic() - seen[0] > left[0][0]:
                    _, how = left.pop(0)
                    os.kill(workers[0 if how == signal.SIGKILL else 1], how)

            rollout = {"num_envs": options.num_envs, "videos": 0, "workers": 2}
            wanted = {"policy": str(policy), "runtime": "eager", "n": options.n, "out": out}
            measured(ROOT, DRIVER, {**wanted, "rollout": rollout}, lose)
            if left:
                raise SystemExit("the run was over before its workers were lost; give a larger --n")
            rows.append(read_jsonl(Path(out) / "episodes.jsonl"))
    conditions = [row["condition"] for row in rows[1]]
    return {
        "lost": ["killed", "stopped", "killed"],
        "episodes": len(conditions),
        "each_condition_once": len(set(conditions)) == len(conditions) == options.n,
        "same_rows": rows[0] == rows[1],
    }


def many_episodes(policy: Path, count: int) -> dict[str, Any]:
    """Return the memory after the first 1,000 of many short episodes, and at their end."""
    series: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as out:
        path = Path(out) / "episodes.jsonl"

        def look(pid: int) -> None:
            finished = path.read_bytes().count(b"\n") if path.exists() else 0
            if finished:
                series.append((finished, memory_mib(pid)))

        rollout = {"num_envs": 16, "videos": 0, "horizon": 2}
        wanted = {"policy": str(policy), "runtime": None, "n": count, "out": out}
        measured(ROOT, DRIVER, {**wanted, "rollout": rollout}, look)
    after = statistics.median(m for done, m in series if 1000 <= done <= 1500)
    last = statistics.median(m for done, m in series if done >= 0.95 * count)
    return {
        "episodes": count,
        "mib_after_1000": round(after),
        "mib_at_end": round(last),
        "ratio": round(last / after, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--before", type=Path, metavar="CHECKOUT", help="checkout of the earlier build")
    add("--n", type=int, default=32, help="initial states")
    add("--num-envs", type=int, default=16)
    add("--repeats", type=int, default=2)
    add("--episodes", type=int, default=10_000, help="of the case of many short episodes")
    add("--out", type=Path, default=RESULTS)
    add("--fresh", action="store_true", help="do not go on with the cases that are there")
    options = parser.parse_args()
    there = options.out.exists() and not options.fresh
    found = read_json(options.out) if there else {"provenance": provenance()}
    with tempfile.TemporaryDirectory() as folder:
        large = train(Path(folder) / "large", *ENCODERS["large"], "precise")
        small = train(Path(folder) / "small", *ENCODERS["small"], "easy")
        settings = ("n", "num_envs", "repeats")
        cases: dict[str, Callable[[], dict[str, Any]]] = {
            "matrix products": matrix_rate,
            "speed": lambda: compare(large, options.before, options),
            "lost workers": lambda: disturb(large, options),
            "many episodes": lambda: many_episodes(small, options.episodes),
        }
        for name, case in cases.items():
            if name not in found:
                found[name] = case()
                found["settings"] = {key: getattr(options, key) for key in settings}
                write_json(options.out, found)
            print(name, {k: v for k, v in found[name].items() if k != "runs"}, flush=True)


if __name__ == "__main__":
    main()
