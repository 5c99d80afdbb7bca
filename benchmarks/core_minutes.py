"""Core-minutes of one comparison, in this build and in an earlier one.

Each build sweeps the same two variants over the same training seeds and initial states: so both
intervals have the same design, and what they cost can be compared. Demonstrations and their frames
are made before and not counted; embeddings, searches, trainings and rollouts are. The cost is CPU
time of all processes, which other work on the machine changes less than the clock. The builds run
at the same time, so that other work slows both alike, each in folders of its own. The earlier build
is a checkout beside this one:

    git worktree add ../before c746653 --detach
    python benchmarks/core_minutes.py --before ../before --seeds 8
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "core_minutes.json"
HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the cost of one comparison.")
    add = parser.add_argument
    add("--before", type=Path, required=True, help="checkout of the earlier build")
    add("--encoder", default="s2r-vitt16-128")
    add("--seeds", type=int, default=8, help="training seeds of each variant (default %(default)s)")
    add("--states", type=int, default=32, help="initial states of a seed (default %(default)s)")
    add("--threads", type=int, default=1, help="threads of a process (default %(default)s)")
    add("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        builds = {"before": options.before.resolve(), "now": HERE}
        with ProcessPoolExecutor(len(builds)) as pool:  # each counts its own children's time
            each = {
                name: pool.submit(measured, checkout, Path(folder) / name, options)
                for name, checkout in builds.items()
            }
            found = {name: future.result() for name, future in each.items()}
    ratio = found["before"]["core_minutes"] / found["now"]["core_minutes"]
    print(f"{ratio:.2f} x fewer core-minutes")
    write_json(
        options.out,
        {
            "command": "python benchmarks/core_minutes.py --before CHECKOUT "
            f"--encoder {options.encoder} --seeds {options.seeds} --states {options.states} "
            f"--threads {options.threads}",
            "builds": found,
            "ratio": round(ratio, 3),
            "provenance": provenance(),
        },
    )


def measured(checkout: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Core-minutes of a build's sweep, and what it found."""
    folder.mkdir(parents=True)
    shared = [f"data_dir={folder / 'data'}", "level=precise"]
    encoder = f"encoder={options.encoder}"
    run(checkout, ["features", *shared, encoder, "scales=[1]"], options)  # demonstrations, frames
    seeds = "seed=" + ",".join(str(seed) for seed in range(options.seeds))
    settings = ["budget=quick", f"n={options.states}", "rollout.videos=0", seeds]
    scales = "scales=[1],[1,2]"
    started, before = time.perf_counter(), cpu_seconds()
    runs = f"runs_dir={folder / 'runs'}"
    run(checkout, ["sweep", *shared, encoder, scales, *settings, runs], options)
    minutes, clock = (cpu_seconds() - before) / 60, (time.perf_counter() - started) / 60
    commit = subprocess.check_output(["git", "-C", str(checkout), "rev-parse", "HEAD"], text=True)
    report = next((folder / "runs").glob("**/report.json"))
    record = {
        "commit": commit.strip(),
        "core_minutes": round(minutes, 3),
        "minutes": round(clock, 3),
        "differences": differences(read_json(report)),
    }
    print(json.dumps(record, indent=1), flush=True)
    return record


def differences(report: Any) -> list[Any]:
    """Each entry of a report that has a difference and its interval, wherever it is."""
    if isinstance(report, dict):
        own = [report] if "difference" in report else []
        return own + [each for value in report.values() for each in differences(value)]
    if isinstance(report, list):
        return [each for value in report for each in differences(value)]
    return []


def cpu_seconds() -> float:
    """CPU time of this process's finished children, in user and system mode [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(checkout: Path, command: list[str], options: argparse.Namespace) -> None:
    """Run a command of a build's CLI.

    Raises:
        subprocess.CalledProcessError: the command fails.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": str(options.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    module = "s2robot.cli" if (checkout / "s2robot" / "cli.py").exists() else "s2robot.cli.main"
    arguments = [sys.executable, "-m", module, *command]
    subprocess.run(arguments, check=True, env=environment, cwd=checkout)


if __name__ == "__main__":
    main()
