"""Everything that needs a GPU, in steps that fit into calls of a few minutes; behind ``gpu.sh``.

A step runs in a process of its own and writes ``gpu_STEP.json``. A step that is done at this
commit is skipped, one that does not fit into what is left of ``--minutes`` waits for the next call,
and the ladder's pieces go on where they were cut. No setting of the GPU is changed.

    bash benchmarks/gpu.sh --minutes 9          # again and again, until it prints "all done"
    bash benchmarks/gpu.sh --status
    bash benchmarks/gpu.sh --device cpu --small # tries every step on a processor
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.utils.io import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
PIECES = ("pretrain", "probe", "reconstruct", "sweep")
_MARGIN_S = 15.0
"""Kept free at the end of a call, to stop a step and to write."""


@dataclass(frozen=True)
class Step:
    """A measurement."""

    minutes: float
    """Expected on one H200, before it was measured."""
    resumes: bool = False
    """Whether a call that is cut goes on in the next one."""
    needs: str = ""
    """Step that comes before."""


STEPS = {
    "machine": Step(0.5),
    "tests": Step(3),
    "render": Step(0.5),
    "latency": Step(3),
    **{f"throughput_{size}": Step(4) for size in ("vits16", "vitb16", "vitl16")},
    "compile": Step(3),
    "policy": Step(5, resumes=True),
    "cell": Step(2, needs="policy"),
    "rollouts": Step(4, needs="policy"),
    "pretrain_speed": Step(5),
    **{
        f"ladder_{piece}": Step(8, resumes=True, needs=f"ladder_{before}" if before else "")
        for before, piece in zip(("", *PIECES[:-1]), PIECES, strict=True)
    },
}


def runners() -> dict[str, Callable[[argparse.Namespace], dict[str, Any]]]:
    """The function of each step; it imports PyTorch."""
    import gpu_steps as do

    named = {k: getattr(do, "compiled" if k == "compile" else k, None) for k in STEPS}
    for size in ("vits16", "vitb16", "vitl16"):
        named[f"throughput_{size}"] = functools.partial(do.throughput, name=f"random/{size}-224")
    for piece in PIECES:
        named[f"ladder_{piece}"] = functools.partial(do.ladder, piece=piece)
    return {name: function for name, function in named.items() if function is not None}


# ---------------------------------------------------------------------------------------- state
def source() -> str:
    """The commit, with "+changes" if tracked files differ; results of this script do not count."""
    try:
        git = functools.partial(
            subprocess.run, cwd=ROOT, check=True, capture_output=True, text=True, timeout=20
        )
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        where = [".", ":(exclude)benchmarks/results"]
        changed = git(["git", "status", "--porcelain", "--untracked-files=no", "--", *where]).stdout
    except (OSError, subprocess.SubprocessError):
        return "no checkout"
    return commit + ("+changes" if changed.strip() else "")


def result_path(options: argparse.Namespace, name: str) -> Path:
    """Where a step's result is."""
    return Path(options.out) / f"gpu_{name}.json"


def identity(options: argparse.Namespace) -> dict[str, Any]:
    """What a result must have been made with to count as done."""
    return {"commit": options.commit, "device": options.device, "small": options.small}


def done(options: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """The result of a step at this commit, or None."""
    path = result_path(options, name)
    found = read_json(path) if path.exists() else {}
    same = all(found.get(key) == value for key, value in identity(options).items())
    return found if same else None


def notes(options: argparse.Namespace) -> dict[str, Any]:
    """What earlier calls met: by step, "failed" or "cut" and seconds."""
    path = Path(options.work) / "state.json"
    known = read_json(path) if path.exists() else {}
    return known if known.get("identity") == identity(options) else {}


def note(options: argparse.Namespace, name: str, **content: Any) -> None:
    """Keep what happened to a step."""
    known = {**notes(options), "identity": identity(options), name: content}
    write_json(Path(options.work) / "state.json", known)


def expected_s(options: argparse.Namespace, name: str) -> float:
    """Seconds that a step will take, as far as is known."""
    cut = notes(options).get(name, {})
    if cut.get("state") == "cut" and not STEPS[name].resumes:
        return 1.5 * cut["seconds"]
    return 0.0 if options.small else 60 * STEPS[name].minutes


# ------------------------------------------------------------------------------------------ run
def run_all(options: argparse.Namespace) -> int:
    """Run what is open and fits; 0 if everything is done or waits for the next call."""
    end = time.monotonic() + 60 * options.minutes - _MARGIN_S
    failed, started = [], False
    for name in options.only or STEPS:
        needed = STEPS[name].needs
        if done(options, name):
            continue
        if needed and not done(options, needed):
            print(f"{name}: waits for {needed}")
            continue
        left = end - time.monotonic()
        enough = left > 30 if STEPS[name].resumes else left >= expected_s(options, name)
        if left <= 0 or (started and not enough):
            print(f"{name}: does not fit into the {max(0, left):.0f} s that are left; next call")
            continue
        started = True
        if not run_step(options, name, left):
            failed.append(name)
    open_steps = [name for name in options.only or STEPS if not done(options, name)]
    print("all done" if not open_steps else f"open: {', '.join(open_steps)}")
    verdicts(options)
    return 1 if failed else 0


def run_step(options: argparse.Namespace, name: str, seconds: float) -> bool:
    """Run a step in a process of its own; return False if it failed."""
    log = Path(options.work) / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{name}: runs, at most {seconds:.0f} s, log {log}", flush=True)
    command = [sys.executable, __file__, *options.words, "--step", name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "S2ROBOT_OFFLINE": "1"}
    environment["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    started = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            stop(process)
            status = None
    took = time.monotonic() - started
    if status == 0:
        print(f"{name}: done in {took:.0f} s")
        return True
    note(options, name, state="cut" if status is None else "failed", seconds=took)
    if status is None:
        goes_on = (
            "goes on in the next call" if STEPS[name].resumes else "begins anew in a longer call"
        )
        print(f"{name}: cut after {took:.0f} s; {goes_on}")
        return True
    print(f"{name}: FAILED with status {status}; the end of {log}:")
    print("\n".join(log.read_text(errors="replace").splitlines()[-15:]))
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a step and all that it started."""
    for kind, seconds in ((signal.SIGTERM, 8), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, kind)
            process.wait(timeout=seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def do_step(options: argparse.Namespace) -> None:
    """Run a step in this process and write its result."""
    from gpu_steps import host

    from s2robot.utils.provenance import provenance

    started = time.perf_counter()
    found = runners()[options.step](options)
    found |= {"step_s": round(time.perf_counter() - started, 1), "seed": 0}
    record = {**identity(options), "host": host(), **found, "provenance": provenance()}
    write_json(result_path(options, options.step), record)


# -------------------------------------------------------------------------------------- results
def status(options: argparse.Namespace) -> None:
    """List the steps."""
    known = notes(options)
    for name, step in STEPS.items():
        found = done(options, name)
        earlier = known.get(name, {})
        state = "done" if found else earlier.get("state", "open")
        seconds = found["step_s"] if found else earlier.get("seconds", 60 * step.minutes)
        print(f"{name:20}{state:8}{seconds:7.0f} s  {result_path(options, name) if found else ''}")
    verdicts(options)


def verdicts(options: argparse.Namespace) -> None:
    """Print whether what an H200 must reach was reached, from the results of this commit."""
    if options.small:
        print("tiny sizes: nothing is judged")
        return
    for name, judge in GOALS.items():
        try:
            met, measured = judge(options)
        except (TypeError, KeyError, ValueError):  # a result is missing, or has no such row
            print(f"not measured: {name}")
            continue
        print(f"{'met' if met else 'not met'}: {name}: {measured}")


def _latency(options: argparse.Namespace) -> tuple[bool, str]:
    rows = [r for r in done(options, "latency")["rows"] if not r["path"].startswith("per scale")]  # pyright: ignore[reportOptionalSubscript]
    best = min(rows, key=lambda row: row["p50_ms"])
    return best[
        "p50_ms"
    ] <= 6, f"{best['p50_ms']:.2f} ms (p95 {best['p95_ms']:.2f}), {best['path']}"


def _batches(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = done(options, "throughput_vitl16")["rows"]  # pyright: ignore[reportOptionalSubscript]
    most = max(row["batch"] for row in rows)
    scales = max((row["scales"] for row in rows), key=len)
    return [row for row in rows if row["batch"] == most and row["scales"] == scales]


def _best_bf16(options: argparse.Namespace) -> dict[str, Any]:
    rows = [row for row in _batches(options) if row["path"].endswith("bfloat16")]
    return max(rows, key=lambda row: row["tflops"])


def _share(options: argparse.Namespace) -> tuple[bool, str]:
    best = _best_bf16(options)
    share = best["tflops"] / done(options, "machine")["matrix_tflops"]["bfloat16"]  # pyright: ignore[reportOptionalSubscript]
    return share >= 0.5, f"{100 * share:.0f} %, batch {best['batch']}, {best['path']}"


def _ratio(options: argparse.Namespace) -> tuple[bool, str]:
    plain = next(row for row in _batches(options) if row["path"].startswith("per scale"))
    ratio = _best_bf16(options)["frames_a_second"] / plain["frames_a_second"]
    return ratio >= 4, f"{ratio:.1f} times"


def _cell(options: argparse.Namespace) -> tuple[bool, str]:
    found = done(options, "cell")
    if found is None or found["n"] < 1000:
        raise ValueError("fewer initial states")
    return found["seconds"] <= 60, f"{found['seconds']:.0f} s"


GOALS: dict[str, Callable[[argparse.Namespace], tuple[bool, str]]] = {
    "ViT-L/16 (1,2,3), one camera, p50 <= 6 ms": _latency,
    "ViT-L/16 (1,2,3) in batches, bfloat16, >= 50 % of the measured matrix rate": _share,
    "the same >= 4 times the per-scale float32 baseline": _ratio,
    "a cell of 1,000 initial states <= 60 s": _cell,
}


def parsed(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9, help="after which no step begins")
    parser.add_argument("--status", action="store_true", help="list the steps and end")
    parser.add_argument("--only", nargs="+", choices=STEPS, metavar="STEP", help="these steps")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"), help="of results")
    parser.add_argument("--work", default="runs/gpu", help="folder of policies, logs, checkpoints")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.commit = source()
    options.words = [
        w for name in ("device", "out", "work") for w in (f"--{name}", getattr(options, name))
    ]
    options.words += ["--small"] * options.small
    return options


def main() -> int:
    options = parsed(sys.argv[1:])
    Path(options.work).mkdir(parents=True, exist_ok=True)
    if options.step:
        do_step(options)
        return 0
    if options.status:
        status(options)
        return 0
    return run_all(options)


if __name__ == "__main__":
    raise SystemExit(main())
