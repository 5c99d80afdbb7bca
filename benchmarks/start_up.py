"""How long do the commands take to say their help, and with how much memory?

Every command's `--help`, the overview, `import s2robot`, the lists of `s2robot encoders` and
`s2robot doctor`, and wrong words, each in a process of its own: seconds on the clock, seconds of
the processor, and peak of the resident memory. With `--before CHECKOUT` every command is run with
that build and with this one in turn, round by round. A command that ends with another status than
it should is an error. Nothing is downloaded. Memory below some 23 MiB cannot be told apart: a child
counts the memory of the measuring process until it begins.

    python benchmarks/start_up.py --before CHECKOUT
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from s2robot.cli.verbs import VERBS
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results" / "start_up.json"
RUN = "import sys; from s2robot.cli.main import main; sys.exit(main(sys.argv[1:]))"
TYPOS = (
    "compar",
    "train sedd=1",
    "train encoder=s2r-vit16-128",
    "decide 'scals=[1],[1,2]'",
    "bench --hz fast",
    "bench s2r-vit16-128",
)
"""Wrong words, which end with status 2."""


def commands() -> dict[str, tuple[list[str], int]]:
    """Return the words after ``python -c`` and the status of each case by its name."""
    found = {"import s2robot": (["import s2robot"], 0), "python alone": (["pass"], 0)}
    lines = ["--help", *(f"{verb} --help" for verb in VERBS), "encoders", "doctor"]
    for line in lines:
        found[f"s2robot {line}"] = ([RUN, *shlex.split(line)], 0)
    for line in TYPOS:
        found[f"s2robot {line}"] = ([RUN, *shlex.split(line)], 2)
    return found


def run(words: list[str], status: int, build: Path, folder: Path) -> dict[str, float]:
    """Run one process of its own; return its seconds and its peak of memory [MiB].

    Raises:
        RuntimeError: it ended with another status.
    """
    environment = {**os.environ, "PYTHONPATH": str(build), "S2ROBOT_OFFLINE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, ended, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode != status:
        raise RuntimeError(f"{words[1:]} ended with {process.returncode}: {said.decode()}")
    return {
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 2**10,
    }


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return median, smallest and largest value of each figure."""
    found = {}
    for key in rows[0]:
        values = [round(row[key], 3) for row in rows]
        median = round(statistics.median(values), 3)
        found[key] = {"median": median, "min": min(values), "max": max(values)}
    return found


def measure(builds: dict[str, Path], rounds: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each case and build; the builds take turns, and swap their order."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (words, status) in commands().items():
            for build in builds.values():  # writes bytecode, and reads the files once
                run(words, status, build, Path(folder))
            rows: dict[str, list[dict[str, float]]] = {build: [] for build in builds}
            for number in range(rounds):
                for build in list(builds)[:: 1 if number % 2 else -1]:
                    rows[build].append(run(words, status, builds[build], Path(folder)))
            found[name] = {build: summary(done) for build, done in rows.items()}
            told = ", ".join(
                f"{build} {figures['seconds']['median']:.2f} s, "
                f"{figures['peak_mib']['median']:.0f} MiB"
                for build, figures in found[name].items()
            )
            print(f"{name}: {told}", flush=True)
    return found


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout."""
    words = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another build, in turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    builds = {"now": ROOT}
    if options.before:
        builds = {"before": options.before.resolve(), "now": ROOT}
    load = os.getloadavg()[0]
    cases = measure(builds, options.rounds)
    helps = [name for name in cases if name.endswith("--help")]
    slowest = {
        build: max(cases[name][build]["seconds"]["median"] for name in helps) for build in builds
    }
    record = {
        "rounds": options.rounds,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "commits": {build: commit_of(path) for build, path in builds.items()},
        "slowest_help_s": slowest,
        "cases": cases,
        "provenance": provenance(),
    }
    write_json(options.out, record)
    print(json.dumps(slowest))


if __name__ == "__main__":
    main()
