"""Which choices of the hyperparameter search go with more successes, over the runs of a sweep?

    bash benchmarks/published_sweep.sh runs/published limits    # unpacks the stored runs
    python benchmarks/search_choices.py runs/published

Each run is compared with the others of its variant (encoder, scales, controls): a regression with
an offset for each variant, and one for each value that a search chose. The choice was not drawn at
random: it is the one with the smallest error on held-out demonstrations. So a difference says that
the search errs there, or that a seed whose search chooses so has bad luck with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats as sps

from s2robot.experiments.run_folders import find_runs
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "search_choices.json"
FIRST = {"lr": 0.003, "keypoints": 32, "softmax_scale": 3.0}
"""The choice that the others of its setting are compared with."""


def read(folder: Path) -> list[dict[str, Any]]:
    """Read variant, chosen settings and success rate of each finished run of a grid encoder."""
    rows = []
    for run in find_runs(folder):
        if not (run / "summary.json").is_file():  # not finished
            continue
        cell = read_json(run / "cell.json")
        search, head = cell["settings"].get("search"), cell["head"]
        if not search or cell["encoder"].get("readout") != "spatial_softmax":
            continue
        rows.append(
            {
                "variant": f"{cell['label']}, {search.get('order', 'random')} order",
                "lr": head["lr"],
                "keypoints": head["policy_config"]["keypoints"],
                "softmax_scale": head["policy_config"]["softmax_scale"],
                "rate": read_json(run / "summary.json")["success_once"]["estimate"],
            }
        )
    return rows


def effects(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the difference of success of each choice to the first of its setting.

    Ordinary least squares with an offset a variant; standard errors allow for unequal variances
    (HC1), intervals are Student's.
    """
    variants = sorted({row["variant"] for row in rows})
    columns = [[float(row["variant"] == name) for row in rows] for name in variants]
    choices = []
    for name, first in FIRST.items():
        for value in sorted({row[name] for row in rows} - {first}):
            choices.append((name, value, first))
            columns.append([float(row[name] == value) for row in rows])
    design, rate = np.array(columns).T, np.array([row["rate"] for row in rows])
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ rate
    residuals = rate - design @ found
    dof = len(rows) - np.linalg.matrix_rank(design)
    scaled = design * residuals[:, None]
    errors = np.sqrt(np.diag(inverse @ (scaled.T @ scaled) @ inverse) * len(rows) / dof)
    width = sps.t.ppf(0.975, dof) * errors
    return [
        {
            "setting": name,
            "chosen": value,
            "against": first,
            "runs": sum(row[name] == value for row in rows),
            "runs_against": sum(row[name] == first for row in rows),
            "difference": float(found[i]),
            "interval_95": [float(found[i] - width[i]), float(found[i] + width[i])],
        }
        for i, (name, value, first) in enumerate(choices, start=len(variants))
    ]


def main() -> None:
    """Write ``results/search_choices.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the sweep")
    options = parser.parse_args()
    rows = read(options.folder / "runs" / "cells")
    found = effects(rows)
    command = "python benchmarks/search_choices.py runs/published"
    write_json(
        RESULTS,
        {
            "command": command,
            "runs": len(rows),
            "variants": len({row["variant"] for row in rows}),
            "effects": found,
            "provenance": provenance(),
        },
    )
    for row in found:
        low, high = (100 * limit for limit in row["interval_95"])
        print(
            f"{row['setting']} {row['chosen']:g} ({row['runs']} runs) against {row['against']:g}: "
            f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}] points"
        )


if __name__ == "__main__":
    main()
