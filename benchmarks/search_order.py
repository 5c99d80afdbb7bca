"""A random order of trials against a balanced one: successes and learning rates of each seed.

    s2robot decide level=precise n=32 budget=quick encoder=s2r-vitt16-128 'scales=[1,2]' \\
        search.order=random,balanced --max-seeds 16
    python benchmarks/search_order.py runs

The same with encoder=efficientnet-lite0 and --encoder efficientnet-lite0; the results of other
encoders are kept. Three random trials can all have a learning rate that is too large; a balanced
order tries each one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as sps

from s2robot.experiments.run_folders import find_runs
from s2robot.experiments.sequential_results import read_sequential
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "search_order.json"


def orders(folder: Path, seeds: list[int], backbone: str) -> dict[str, dict[str, Any]]:
    """Return success rate and learning rate of each seed, and the rates' spread, by order."""
    rows: dict[str, dict[int, tuple[float, float]]] = {"random": {}, "balanced": {}}
    for run in find_runs(folder):
        cell = read_json(run / "cell.json")
        if cell["label"] != f"{backbone} (1,2)" or cell["seed"] not in seeds:
            continue
        order = cell["settings"]["search"].get("order", "random")
        rate = read_json(run / "summary.json")["success_once"]["estimate"]
        rows[order][cell["seed"]] = rate, cell["head"]["lr"]
    return {
        order: {
            "rates": [found[seed][0] for seed in seeds],
            "lrs": [found[seed][1] for seed in seeds],
            "mean": float(np.mean([found[seed][0] for seed in seeds])),
            "std_over_seeds": float(np.std([found[seed][0] for seed in seeds], ddof=1)),
        }
        for order, found in rows.items()
    }


def main() -> None:
    """Add an encoder to ``results/search_order.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--encoder", default="s2r-vitt16-128")
    options = parser.parse_args()
    tests = read_sequential(options.runs / "cells")[0]
    label = f"{options.encoder} (1,2)"
    (pair,) = [
        pair
        for test in tests
        for pair in test.content["pairs"]
        if pair.get("question") == "search.order"
        and test.content["plan"]["variants"][pair["first"]]["label"].startswith(label)
    ]
    kept = ("seeds", "difference", "interval", "verdict")
    rows = orders(options.runs / "cells", pair["seeds"], options.encoder)
    earlier = read_json(RESULTS)["encoders"] if RESULTS.exists() else {}
    first, second = (np.array(rows[order]["rates"]) for order in ("random", "balanced"))
    found = {
        **{name: pair[name] for name in kept},
        "difference_is": "random less balanced",
        "orders": rows,
        # Pitman-Morgan: equal variances of a pair leave sum and difference uncorrelated.
        "equal_spread_p": sps.pearsonr(first + second, first - second)[1],
        "provenance": provenance(),
    }
    write_json(RESULTS, {"encoders": {**earlier, options.encoder: found}})
    for order, row in found["orders"].items():
        print(
            f"{order}: {100 * row['mean']:.1f} %, spread {100 * row['std_over_seeds']:.1f} points"
        )
    print(f"equal spreads: p = {found['equal_spread_p']:.3f}")


if __name__ == "__main__":
    main()
