"""Do the verdicts hold on the real pipeline? Negative and positive controls, and the demo's pair.

A negative control is the same encoder as two variants: other training seeds, other hyperparameter
searches, other sizes of the readout head, another name, another exact runtime. It must come out
"not shown". A positive control has a known answer. ``benchmarks/controls.sh`` makes the runs; this
script compares them by ``s2robot compare``'s own function and, beside it, by the procedure that it
replaced: McNemar's test pooled over seeds and the crossed bootstrap, of which both had to agree.

    bash benchmarks/controls.sh runs/controls
    python benchmarks/controls.py runs/controls
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.reporting.comparisons import Comparison, adjusted, compare_pair
from s2robot.reporting.json_report import comparison_record, rate_record
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import VariantResults, group_variants, outcomes
from s2robot.stats.paired_tests import holm, mcnemar, paired_difference
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "controls.json"
METRIC = "success_once"


@dataclass(frozen=True)
class Side:
    """One variant of a pair: a folder of runs, a backbone, scales, training seeds."""

    folder: str
    backbone: str = "s2r-vitt16-128"
    scales: tuple[float, ...] = (1,)
    seeds: tuple[int, int] = (0, 99)
    """First and last training seed."""


ONE = Side("base")
FIRST, LAST = Side("base", seeds=(0, 7)), Side("base", seeds=(8, 15))
NEGATIVE = {
    "other training seeds": (FIRST, LAST),
    "other searches of the head": (Side("search", seeds=(0, 2)), Side("search", seeds=(3, 5))),
    "half the keypoints": (ONE, Side("keypoints")),
    "half the hidden width": (ONE, Side("hidden")),
    "another name": (ONE, Side("name", backbone="another-name")),
    "another exact runtime": (ONE, Side("runtime")),
}
POSITIVE = {
    "blind against ground truth": (Side("limits", "none", ()), Side("limits", "state", ())),
    "untrained against trained": (Side("untrained", "random/vitt16-128"), ONE),
}
QUESTIONS = {
    "(1) against (1, 2), one fixed head": (ONE, Side("base", scales=(1, 2))),
    "(1) against (1, 2), a search for each seed": (Side("search"), Side("search", scales=(1, 2))),
    "(1): a search for each seed against the fixed head": (Side("search"), ONE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the controls and write the results.")
    parser.add_argument("runs", type=Path, help="folder that benchmarks/controls.sh filled")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    variants = {
        folder.name: [
            VariantResults(folder.name, tuple(members))
            for members in group_variants(load_runs(folder / "cells"))
        ]
        for folder in sorted(options.runs.iterdir())
        if (folder / "cells").exists()
    }
    record = {
        "negative_controls": _family(NEGATIVE, variants),
        "positive_controls": [
            {**row, "seeds_to_decide": _seeds_to_decide(*_sides(POSITIVE[row["pair"]], variants))}
            for row in _family(POSITIVE, variants)
        ],
        "questions": _family(QUESTIONS, variants),
        "variants": [_outcomes(v) for found in variants.values() for v in found],
        "provenance": provenance(),
    }
    write_json(options.out, record)
    print(options.out)


def _family(
    pairs: dict[str, tuple[Side, Side]], variants: dict[str, list[VariantResults]]
) -> list[dict[str, Any]]:
    """Return the verdicts of some pairs, Holm-adjusted among themselves."""
    compared = [_compared(*_sides(sides, variants)) for sides in pairs.values()]
    [found] = adjusted([compared])
    rows = []
    before = _before(found)
    for name, pair, old in zip(pairs, found, before, strict=True):
        print(f"{name}: {pair.verdict} (before: {'shown' if old['shown'] else 'not shown'})")
        rates = {side: rate_record(v, METRIC) for side, v in _named(pair)}
        rows.append({"pair": name, **comparison_record(pair), "rates": rates, "before": old})
    return rows


def _named(pair: Comparison) -> tuple[tuple[str, VariantResults], ...]:
    return ("first", pair.first), ("second", pair.second)


def _before(pairs: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return what the earlier procedure says: seeds matched by rank, episodes pooled."""
    rows = []
    for pair in pairs:
        first, second = (_matrix(variant) for _, variant in _named(pair))
        seeds = min(len(first), len(second))
        difference = paired_difference(first[:seeds], second[:seeds])
        rows.append(
            {
                "seeds": seeds,
                "difference": round(difference.estimate, 4),
                "interval_95": [round(difference.low, 4), round(difference.high, 4)],
                "mcnemar_pooled": dataclasses.asdict(mcnemar(first[:seeds], second[:seeds])),
            }
        )
    adjusted_p = holm([row["mcnemar_pooled"]["p_value"] for row in rows])
    for row, p_value in zip(rows, adjusted_p, strict=True):
        low, high = row["interval_95"]
        row |= {"holm_adjusted_p": p_value, "shown": p_value < 0.05 and (low > 0 or high < 0)}
    return rows


def _matrix(variant: VariantResults) -> np.ndarray:
    """Return the outcomes (S, C); all runs are on the same initial states."""
    found = outcomes(variant.runs, METRIC)
    values, present = found.table(found.conditions)
    if not present.all():
        raise SystemExit(
            f"{variant.label}: runs on different initial states; run controls.sh again"
        )
    return values.astype(bool)


def _seeds_to_decide(first: VariantResults, second: VariantResults) -> int | None:
    """Return with how many first seeds of each variant the pair is decided."""
    for seeds in range(1, min(len(first.runs), len(second.runs)) + 1):
        sides = [dataclasses.replace(v, runs=v.runs[:seeds]) for v in (first, second)]
        [[pair]] = adjusted([[_compared(*sides)]])
        if pair.shown:
            return seeds
    return None


def _compared(first: VariantResults, second: VariantResults) -> Comparison:
    pair = compare_pair(first, second, METRIC)
    if pair is None:
        raise SystemExit(f"{first.label}, {second.label}: no runs in common; run controls.sh again")
    return pair


def _sides(
    sides: tuple[Side, Side], variants: dict[str, list[VariantResults]]
) -> tuple[VariantResults, VariantResults]:
    first, second = (_chosen(side, variants) for side in sides)
    return first, second


def _chosen(side: Side, variants: dict[str, list[VariantResults]]) -> VariantResults:
    for variant in variants.get(side.folder, ()):
        name = variant.backbone.removeprefix("file:").split("/")[-1].removesuffix(".json")
        if name == side.backbone.split("/")[-1] and variant.scales == side.scales:
            low, high = side.seeds
            runs = tuple(run for run in variant.runs if low <= run.seed <= high and run.finished)
            if runs:
                label = f"{side.folder} {side.backbone} {variant.scales_text}"
                return dataclasses.replace(variant, label=label, runs=runs)
    raise SystemExit(f"no finished run of {side}; run benchmarks/controls.sh again")


def _outcomes(variant: VariantResults) -> dict[str, Any]:
    """Return every outcome, so that the verdicts can be had from the file alone."""
    runs = [run for run in variant.runs if run.finished]
    ordered = [sorted(run.rows, key=lambda row: row["index"]) for run in runs]
    return {
        "folder": variant.label,
        "label": variant.info["label"],
        "conditions_sha256": variant.info["conditions"]["hash"],
        "search": variant.settings["search"],
        "policy": {k: variant.settings["policy"][k] for k in ("keypoints", "hidden")},
        "heads": [run.hyperparameters.get("policy_config") for run in runs if run.info["head"]],
        "motion_error_mm": {
            str(run.seed): round(1000 * read_json(run.path / "history.json")[-1]["motion_error"], 3)
            for run in runs
        },
        "outcomes": {
            str(run.seed): "".join(str(int(row[METRIC])) for row in rows)
            for run, rows in zip(runs, ordered, strict=True)
        },
    }


if __name__ == "__main__":
    main()
