"""Runs of a sequential sweep with made-up outcomes, and the file that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.experiments.sequential_sweep import (
    PlannedPair,
    PlannedVariant,
    SequentialPlan,
    SequentialSweep,
)
from s2robot.utils.io import digest_of
from support.synthetic_runs import write_run

STATES = 32


class SyntheticRuns:
    """Write a run for each seed, whose share of successes is about the variant's."""

    def __init__(self, folder: Path, variants: Sequence[Mapping[str, Any]]) -> None:
        self.folder, self.variants = folder, variants
        self.keys: dict[int, str] = {}

    def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
        settings = dict(self.variants[variant])
        rate = settings.pop("rate")
        rng = np.random.default_rng([variant, seed])
        outcomes = rng.permutation(STATES) < round(rate * STATES) - seed % 2
        folder = self.folder / f"{variant}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)  # a sweep that continues finds the same run
        run = write_run(folder, outcomes, seed=seed, first=seed * STATES, **settings)
        self.keys[variant] = digest_of(json.loads((run / "cell.json").read_text())["settings"])
        return float(outcomes.mean())

    def seconds_per_run(self) -> float | None:
        return 60.0

    def key(self, variant: int) -> str | None:
        return self.keys.get(variant)


def write_sequential(
    runs_dir: Path,
    variants: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[int, int]],
    max_seeds: int = 8,
    **changes: Any,
) -> SequentialSweep:
    """Run a sequential sweep on made-up outcomes.

    Args:
        runs_dir: gets ``cells`` and ``sequential.json``.
        variants: arguments of ``write_run``, and ``rate``, the share of successes.
        pairs: numbers of the first and second variants.
        max_seeds: of the sweep.
        changes: of the plan.
    """
    plan = SequentialPlan(
        tuple(PlannedVariant(f"variant {i}", {"number": i}) for i in range(len(variants))),
        tuple(PlannedPair(first, second, "scales") for first, second in pairs),
        STATES,
        **changes,
    )
    sweep = SequentialSweep(plan, SyntheticRuns(runs_dir / "cells", variants), runs_dir, max_seeds)
    sweep.claim()
    for _ in sweep.rounds():
        pass
    return sweep
