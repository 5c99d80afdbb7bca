"""Encoders against the first of a probe run, on the same test episodes: change in percent.

`s2robot probe` compares scale sets of one encoder; this compares encoders at equal scales, paired
by episode, from the rows that it keeps. The shipped encoder against the one that shipped before:

    mkdir -p runs/first; for f in json safetensors; do
        git show 0b8e630:s2robot/backbones/weights/s2r-vitt16-128.$f > runs/first/s2r-vitt16-128.$f
    done
    s2robot pretrain out=runs/vitt
    s2robot pretrain out=runs/segments segments_weight=1.0 views=204800
    s2robot probe file:runs/first/s2r-vitt16-128.json file:runs/segments/encoder.json \\
        random/vitt16-128 file:runs/vitt/encoder.json --scales '[1]' --task localization \\
        --episodes 260 --resets 1200 --runtime openvino --out runs/probes-old-new
    python benchmarks/encoders_compared.py runs/probes-old-new
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.probes.study import NO_ENCODER
from s2robot.analysis.probes.tasks import get_task
from s2robot.stats.intervals import block_draws, limits
from s2robot.utils.io import read_json, read_jsonl, write_json

RESULTS = Path(__file__).parent / "results" / "encoders_compared.json"


def change(first: dict[str, Any], second: dict[str, Any]) -> dict[str, float]:
    """Change in percent from one row to another of the same task and scales, 95 % over episodes."""
    metric = get_task(first["task"]).measures[0].metric
    before, after = np.array(first["sums"]), np.array(second["sums"])  # (E, K)
    draws = block_draws(len(before))
    low, high = limits(metric(draws @ after) / metric(draws @ before))
    ratio = metric(after.sum(axis=0)) / metric(before.sum(axis=0))
    return {k: 100 * (float(v) - 1) for k, v in (("estimate", ratio), ("low", low), ("high", high))}


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every encoder's rows beside the first encoder's."""
    rows = [row for row in rows if row["encoder"] != NO_ENCODER]
    first = rows[0]["encoder"]
    found = []
    for row in rows:
        base = next(
            r
            for r in rows
            if (r["encoder"], r["task"], r["scales"]) == (first, row["task"], row["scales"])
        )
        facts = {k: row[k] for k in ("encoder", "task", "scales", "measures", "test_episodes")}
        found.append({**facts, "against": first, "change_percent": change(base, row)})
    return found


def main() -> None:
    """Print and keep the comparison."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="the --out of `s2robot probe`")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = read_json(options.folder / "probes.json")
    asked = {row["key"] for row in results["rows"]}
    kept_rows = read_jsonl(options.folder / "rows.jsonl")  # these have the sums by episode
    rows = compared([row for row in kept_rows if row["key"] in asked])
    for row in rows:
        name, value = next(iter(row["measures"].items()))
        change_, scales = row["change_percent"], ",".join(f"{s:g}" for s in row["scales"])
        print(
            f"{row['encoder']:40} ({scales:5}) {row['task']}: {name} {value['estimate']:.2f} "
            f"[{value['low']:.2f}, {value['high']:.2f}]  {change_['estimate']:+.1f} % "
            f"[{change_['low']:+.1f}, {change_['high']:+.1f}]"
        )
    kept = {k: v for k, v in results.items() if k != "rows"}
    write_json(options.out, {"compared": rows, "probe": kept})


if __name__ == "__main__":
    main()
