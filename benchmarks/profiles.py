"""Where does the time of `collect`, `features`, `train` and `eval` go, with this build and another?

Each command runs once a round as a process of its own, with the same settings and inputs: the
demonstrations of `collect` go through `features` and `train` to `eval`. Its parts are wall time
spent in named functions, without that of other named functions inside them; "rest" is imports,
settings and whatever has no name. Work in threads and worker processes beside is not counted, only
the waiting for it. `--before CHECKOUT` runs another build in alternation. The file has the medians
of all rounds, and digests that show whether both builds made the same data and policy.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/profiles.py --before CHECKOUT
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "profiles.json"
PARTS = {
    "collect": {
        "inverse kinematics": ["s2robot.envs.kinematics:ArmKinematics.inverse"],
        "physics": ["s2robot.envs.pick_cube_sim:PickCubeSimulation.advance"],
        "waiting for workers": ["s2robot.utils.workers:_Crew.result"],
        "writing and checking files": [
            "os:fsync",
            "s2robot.data.collection:write_demonstrations",
            "s2robot.data.collection:Demonstrations",
        ],
    },
    "features": {
        "rendering, in workers where they pay": [
            "s2robot.data.rendered_frames:RenderedFrames._ensure"
        ],
        "reading frames": ["s2robot.data.rendered_frames:RenderedFrames.read"],
        "loading the encoder": ["s2robot.encoder.frame_encoder:FrameEncoder.from_name"],
        "encoding": ["s2robot.encoder.frame_encoder:FrameEncoder.encode_scales"],
        "writing features": ["s2robot.data.feature_entries:Entry.write"],
        "verifying and merging features": [
            "s2robot.data.feature_store:FeatureStore.load",
            "s2robot.data.feature_entries:Entry.is_sound",
            "s2robot.data.feature_entries:Entry.mend",
        ],
    },
    "train": {
        "loading the encoder": ["s2robot.encoder.frame_encoder:FrameEncoder.from_name"],
        "verifying and merging features": [
            "s2robot.data.feature_store:FeatureStore.load",
            "s2robot.data.feature_entries:Entry.is_sound",
        ],
        "digest of the training data": ["s2robot.policies.dataset:TrajectoryData.digest"],
        "making the policy, normalizing": [
            "s2robot.policies.policy:Policy.for_data",
            "s2robot.training.frames:DeviceFrames.__init__",
        ],
        "gathering batches": ["s2robot.training.frames:DeviceFrames.gather"],
        "forward": ["s2robot.training.stacked_policy:StackedPolicy.losses"],
        "backward": ["torch:Tensor.backward"],
        "optimizer, averages": ["s2robot.training.seed_stack:SeedStack._step"],
        "validation": ["s2robot.training.seed_trainer:validate"],
        "checkpoints and logs": [
            "s2robot.training.seed_trainer:Trainer.save",
            "torch.utils.tensorboard:SummaryWriter.__init__",
            "torch.utils.tensorboard:SummaryWriter.add_scalar",
            "torch.utils.tensorboard:SummaryWriter.close",
        ],
    },
    "eval": {
        "loading the encoder": ["s2robot.encoder.frame_encoder:FrameEncoder.from_name"],
        "encoding": ["s2robot.encoder.frame_encoder:FrameEncoder.forward"],
        "policy": ["s2robot.policies.policy:Policy.act"],
        "inverse kinematics": ["s2robot.envs.kinematics:ArmKinematics.inverse"],
        "physics": ["s2robot.envs.pick_cube_sim:PickCubeSimulation.advance"],
        "rendering": ["s2robot.envs.rendering:Renderer.render"],
        "waiting for workers": ["s2robot.evaluation.env_worker:Worker.wait"],
    },
}
"""Names of functions by part and command; those that a build does not have are left out."""


class Clock:
    """Wall time of parts in the main thread; a part's time excludes the parts inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = ["rest"]
        self._since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        part = self._open[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge the time inside to a part."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def restart(self, name: str) -> None:
        """Charge all time so far to a part."""
        self._charge()
        self.seconds = {name: sum(self.seconds.values())}

    def wrap(self, place: str, name: str) -> None:
        """Charge the calls of ``module:owner.function`` to a part, if there is such a function."""
        module, _, path = place.partition(":")
        try:
            owner: Any = importlib.import_module(module)
            *owners, last = path.split(".")
            for each in owners:
                owner = getattr(owner, each)
            found = vars(owner)[last]
        except (ImportError, AttributeError, KeyError):
            return
        if hasattr(found, "func"):  # a cached property
            found.func = self._timed(found.func, name)
        elif isinstance(found, classmethod):
            setattr(owner, last, classmethod(self._timed(found.__func__, name)))
        else:
            setattr(owner, last, self._timed(found, name))

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.part(name):
                return function(*arguments, **keywords)

        return timed


def child(words: list[str]) -> None:
    """Run one command with the clock; the last line printed is the record, as JSON."""
    clock = Clock()
    main = importlib.import_module("s2robot.cli.main").main
    for name, places in PARTS[words[0]].items():
        for place in places:
            clock.wrap(place, name)
    clock.restart("imports of what is timed")
    with clock.part("rest"):
        status = main(words)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    record = {
        "seconds": sum(clock.seconds.values()),
        "parts": clock.seconds,
        "peak_mb": round(usage[0].ru_maxrss / 1024),
        "cpu_s": round(sum(each.ru_utime + each.ru_stime for each in usage), 2),
    }
    print("\n" + json.dumps(record))
    sys.exit(status)


def run(command: str, settings: list[str], checkout: Path, folder: Path) -> dict[str, Any]:
    """Run a command of a build on the folder of its data; return its record."""
    places = [f"data_dir={folder / 'data'}"]
    if command == "train":
        places.append(f"runs_dir={folder / 'runs'}")
    if command == "eval":
        (policy,) = (folder / "runs").rglob("policy.safetensors")
        places.append(f"checkpoint={policy}")
    words = [sys.executable, str(Path(__file__).resolve()), "--child", command, *settings, *places]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def results_of(folder: Path) -> dict[str, str]:
    """Return digests of the demonstrations, the features and the policy of a folder."""
    import hashlib

    from safetensors.numpy import load_file

    from s2robot.data.demonstrations import Demonstrations

    def digest(parts: list[bytes]) -> str:
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

    (demos,) = (folder / "data" / "demos").glob("*.hdf5")
    shards = sorted((folder / "data" / "features").rglob("*.npy"))
    (policy,) = (folder / "runs").rglob("policy.safetensors")
    weights = load_file(policy)
    return {
        "demonstrations": Demonstrations(demos).digest[:16],
        "features": digest([shard.read_bytes() for shard in shards]),
        "policy": digest([weights[name].tobytes() for name in sorted(weights)]),
    }


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the rounds, with each part's share of the whole."""
    total = statistics.median(record["seconds"] for record in records)
    names = {name: None for record in records for name in record["parts"]}
    parts = {
        name: statistics.median(record["parts"].get(name, 0.0) for record in records)
        for name in names
    }
    return {
        "seconds": round(total, 3),
        "all_seconds": [round(record["seconds"], 3) for record in records],
        "cpu_s": statistics.median(record["cpu_s"] for record in records),
        "peak_mb": max(record["peak_mb"] for record in records),
        "parts": {
            name: {"seconds": round(value, 3), "share": round(value / total, 3)}
            for name, value in sorted(parts.items(), key=lambda item: -item[1])
        },
    }


def commit(checkout: Path) -> str:
    """Return the short commit of a checkout."""
    words = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def measure(builds: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the record of all rounds of all builds."""
    demos = f"demos.episodes={arguments.episodes}"
    settings = {
        "collect": [f"level={arguments.level}", f"episodes={arguments.episodes}"],
        "features": [f"level={arguments.level}", demos],
        "train": [f"level={arguments.level}", demos, "budget=none"],
        "eval": [f"n={arguments.n}", "rollout.videos=0"],
    }
    records: dict[str, dict[str, list]] = {name: {} for name in builds}
    digests: dict[str, dict[str, str]] = {}
    for number in range(arguments.rounds):
        for name, checkout in builds.items():
            with tempfile.TemporaryDirectory() as folder:
                for command in arguments.commands:
                    record = run(command, settings[command], checkout, Path(folder))
                    records[name].setdefault(command, []).append(record)
                    print(number, name, command, f"{record['seconds']:.1f} s", flush=True)
                if "train" in arguments.commands:
                    digests[name] = results_of(Path(folder))
    return {
        "settings": settings,
        "rounds": arguments.rounds,
        "builds": {
            name: {
                "commit": commit(checkout),
                "results": digests.get(name),
                "commands": {each: summary(found) for each, found in records[name].items()},
            }
            for name, checkout in builds.items()
        },
    }


def main() -> None:
    """Measure and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="checkout of another build")
    parser.add_argument("--commands", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--level", default="precise")
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--n", type=int, default=16, help="initial states of eval")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    from s2robot.utils.io import write_json
    from s2robot.utils.provenance import provenance

    builds = {"before": arguments.before} if arguments.before else {}
    builds = {name: path.resolve() for name, path in {**builds, "now": HERE.parent}.items()}
    found = measure(builds, arguments)
    write_json(arguments.out, {**found, "provenance": provenance()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    main()
