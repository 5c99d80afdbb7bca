"""What the MLP beside the transformer of `policy=act` does for a policy that sees through images.

Pick-cube's demonstrations (60 of `easy`, frames of 96 px) are exported to a LeRobot data set, on
which `s2robot train data=` trains each policy; compared are errors on its held-out episodes.

    OMP_NUM_THREADS=1 python benchmarks/action_chunks.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "action_chunks.json"
ALONE = ("policy=act", "policy.shortcut_width=0")
POLICIES: dict[str, tuple[str, ...]] = {
    "mlp": ("policy=mlp",),
    "act": ("policy=act",),
    "act without its MLP": ALONE,
    "act without its MLP, lr 0.001": (*ALONE, "train.lr=0.001"),
    "act without its MLP, lr 0.001, 240 epochs": (*ALONE, "train.lr=0.001", "train.epochs=240"),
}


def s2robot(*words: str) -> list[str]:
    """Run a command and return the lines that it prints."""
    print("s2robot", *words, flush=True)
    command = [sys.executable, "-m", "s2robot.cli.main", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")


def data_set(work: Path) -> Path:
    """Collect and export the demonstrations, unless they are there; return their folder."""
    root, demos = work / "data_set", work / "demos.hdf5"
    if not root.exists():
        s2robot("collect", "level=easy", "episodes=60", f"out={demos}")
        names = ("--size", "96", "--low-dim", "ee_pos", "gripper_width")
        s2robot("export-dataset", str(demos), str(root), *names)
    return root


def errors(root: Path, work: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """Train a policy; return its mean absolute errors by entry of the action, in its units."""
    where = (f"data={root}", f"data_dir={work / 'data'}", f"runs_dir={work / 'runs'}")
    lines = s2robot("train", *where, "scales=[1,2]", "budget=none", "dtype=float32", *words)
    policy = next(Path(line) for line in lines if line.endswith(".safetensors"))
    found = read_json(policy.parent / "held_out.json")
    return {
        e["name"]: {k: e[k] for k in ("error", "constant", "verdict")} for e in found["entries"]
    }


def main() -> None:
    """Train all policies, print and write their errors."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/action-chunks"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    root = data_set(options.work)
    found: dict[str, Any] = {}
    for name, words in POLICIES.items():
        found[name] = {"settings": words, "held_out": errors(root, options.work, words)}
        print(
            name, {k: round(e["error"]["estimate"], 4) for k, e in found[name]["held_out"].items()}
        )
    record = {"level": "easy", "demonstrations": 60, "size": 96, "seed": 0, "policies": found}
    write_json(options.out, {**record, "provenance": provenance()})


if __name__ == "__main__":
    main()
