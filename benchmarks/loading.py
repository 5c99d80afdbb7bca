"""How long does a published encoder take to load, and how much memory?

A file in MVP's layout with the weights of a ViT-B (seeded, 343 MB) is loaded in fresh processes, in
turn: from the converted copy that the first load leaves behind, and as one would by hand
(``torch.load``, build the timm model, ``load_state_dict``). Read time is that of the bytes alone.

    python benchmarks/loading.py --runs 7
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

NAME = "mvp-vitb-egosoup"
RESULTS = Path(__file__).parent / "results" / "loading.json"

# Resident memory above what the imports take: its peak, and what is the process's own (not mapped
# from a file) when the model is there. Writing 5 to clear_refs makes the kernel forget the peak.
_COMMON = """
import json, sys, time
import torch, timm
import s2robot.backbones as backbones
from s2robot.backbones.download.cache import converted_path
path = sys.argv[1]
def memory():
    lines = [line.split() for line in open("/proc/self/status")]
    return {line[0][:-1]: int(line[1]) / 1024 for line in lines if line[-1:] == ["kB"]}
open("/proc/self/clear_refs", "w").write("5")
before = memory()
started = time.perf_counter()
"""
_WAYS = {
    "converted": """
model = backbones.load_backbone(NAME, weights=path)
""",
    "by_hand": """
state = torch.load(path, map_location="cpu", weights_only=True)["model"]
model = timm.create_model("vit_base_patch16_224", num_classes=0)
model.load_state_dict(state)
model.eval().requires_grad_(False)
""",
    "read_converted": """
data = converted_path(backbones.get_card(NAME), path).read_bytes()
""",
}
_END = """
seconds = time.perf_counter() - started
after = memory()
peak, own = after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]
print(json.dumps({"seconds": seconds, "peak_mb": peak, "own_mb": own}))
"""


def write_checkpoint(folder: Path) -> Path:
    """A file in MVP's layout with seeded weights."""
    import torch

    from s2robot.backbones import get_card

    path = folder / "mvp-vitb.pth"
    torch.save({"model": get_card(NAME).architecture.build().state_dict()}, path)
    return path


def run(way: str, path: Path, home: Path) -> dict[str, float]:
    """One load in a process of its own: seconds, and peak memory above the imports [MB]."""
    program = f"NAME = {NAME!r}\n{_COMMON}{_WAYS[way]}{_END}"
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "S2ROBOT_HOME": str(home)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(result.stdout)


def summarize(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Median and range of each figure."""
    return {
        key: {
            "median": statistics.median(row[key] for row in rows),
            "min": min(row[key] for row in rows),
            "max": max(row[key] for row in rows),
        }
        for key in rows[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, home = write_checkpoint(Path(folder)), Path(folder) / "home"
        size_mb = path.stat().st_size / 2**20
        run("converted", path, home)  # converts
        rows: dict[str, list[dict[str, float]]] = {way: [] for way in _WAYS}
        for _ in range(options.runs):
            for way, done in rows.items():
                done.append(run(way, path, home))
    ratios = [
        hand["seconds"] / ours["seconds"]
        for hand, ours in zip(rows["by_hand"], rows["converted"], strict=True)
    ]
    record = {
        "name": NAME,
        "file_mb": size_mb,
        "runs": options.runs,
        "ways": {way: summarize(done) for way, done in rows.items()},
        "by_hand_over_converted": summarize([{"ratio": ratio} for ratio in ratios])["ratio"],
        "provenance": provenance(),
    }
    write_json(options.out, record)
    for way, figures in record["ways"].items():
        seconds, peak, own = (figures[key] for key in ("seconds", "peak_mb", "own_mb"))
        print(
            f"{way:15} {seconds['median']:.2f} s [{seconds['min']:.2f}, {seconds['max']:.2f}]  "
            f"peak {peak['median']:.0f} MB, own {own['median']:.0f} MB"
        )
    print(f"file {size_mb:.0f} MB; by hand / converted: {statistics.median(ratios):.1f} x")


if __name__ == "__main__":
    main()
