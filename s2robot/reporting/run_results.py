"""Cells of a sweep as they lie on disk, gathered into arms and groups that may be compared.

A *cell* is one trained policy and its episodes: a folder with `cell.json`, `episodes.jsonl` and
`summary.json`. An *arm* is the cells that differ in the training seed only. A *group* is the arms
that share level, policy kind, demonstrations and initial conditions, hence can be paired.
"""

from __future__ import annotations

import functools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.evaluation.baselines import BASELINE_TITLES, is_baseline
from s2robot.stats.intervals import Interval, wilson
from s2robot.utils.io import digest_of, read_json, read_jsonl

METRICS = ("success_once", "success_at_end")
_REQUIRED = ("name", "level", "label", "encoder", "policy_kind", "seed", "conditions")


@dataclass(frozen=True)
class RunResult:
    """One trained policy: its description, the episodes rolled out so far, and their summary."""

    path: Path
    info: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]

    @property
    def seed(self) -> int:
        return int(self.info["seed"])

    @property
    def planned(self) -> int:
        """Number of episodes that a finished cell has."""
        return int(self.info["conditions"]["n"])

    @property
    def finished(self) -> bool:
        return len(self.rows) >= self.planned

    @functools.cached_property
    def group_key(self) -> tuple[str, str, str, str]:
        conditions, demos = self.info["conditions"], self.info.get("demos") or {}
        return (
            str(self.info["level"]),
            str(self.info["policy_kind"]),
            str(demos.get("digest", "")),
            str(conditions.get("hash", "")),
        )

    @functools.cached_property
    def variant_key(self) -> str:
        return digest_of([self.group_key, self.info["encoder"]])


@dataclass(frozen=True)
class VariantResults:
    """One encoder configuration: its cells in the order of their training seeds."""

    label: str
    runs: tuple[RunResult, ...]

    @property
    def info(self) -> Mapping[str, Any]:
        return self.runs[0].info

    @property
    def backbone(self) -> str:
        return str(self.info["encoder"]["backbone"])

    @property
    def is_baseline(self) -> bool:
        return is_baseline(self.backbone)

    @property
    def is_random(self) -> bool:
        """Whether the encoder's weights are untrained."""
        return self.backbone.startswith("random/")

    @property
    def scales(self) -> tuple[float, ...]:
        return tuple(self._field("scales") or ())

    @property
    def scales_text(self) -> str:
        return "(" + ", ".join(f"{scale:g}" for scale in self.scales) + ")"

    @property
    def input_mode(self) -> str:
        """How scales above 1 get their pixels; at scale 1 alone both ways are the same."""
        return "native" if self.scales in ((), (1,)) else str(self._field("input_mode") or "native")

    @property
    def readout(self) -> str:
        return str(self._field("readout") or "")

    @property
    def view(self) -> dict[str, Any]:
        """What else of an encoder's settings decides what is seen: view, layers, grid, merge."""
        encoder = self.info["encoder"]
        defaults = {
            "geometry": "published",
            "taps": [],
            "resize_output_to_idx": 0,
            "tilings": [],
            "merge": "concat",
            "scale_weights": [],
        }
        return {name: encoder.get(name, default) for name, default in defaults.items()}

    @property
    def parameters(self) -> int:
        return int(self.info.get("parameters") or 0)

    @property
    def gflops(self) -> float:
        """Cost of encoding one frame [GFLOP]."""
        return float(self.info.get("gflops_per_frame") or 0.0)

    @property
    def embedding_dim(self) -> int:
        return int(self.info.get("embedding_dim") or 0)

    @property
    def running(self) -> tuple[RunResult, ...]:
        return tuple(run for run in self.runs if not run.finished)

    def count(self, metric: str) -> tuple[int, int]:
        """Successes and episodes of all seeds, unfinished cells included."""
        outcomes = [bool(row[metric]) for run in self.runs for row in run.rows]
        return sum(outcomes), len(outcomes)

    def pooled(self, metric: str) -> Interval:
        """Success rate over all seeds' episodes."""
        return wilson(*self.count(metric))

    def per_seed(self, metric: str) -> list[tuple[int, Interval]]:
        """Success rate of each training seed that has episodes."""
        return [
            (run.seed, wilson(sum(bool(row[metric]) for row in run.rows), len(run.rows)))
            for run in self.runs
            if run.rows
        ]

    def outcomes(self, seeds: Sequence[int], metric: str) -> np.ndarray:
        """Successes of these seeds' finished cells: (S, C) bool, conditions in order."""
        by_seed = {run.seed: run for run in self.runs}
        ordered = [sorted(by_seed[seed].rows, key=lambda row: row["index"]) for seed in seeds]
        return np.array([[bool(row[metric]) for row in rows] for rows in ordered])

    def finished_seeds(self) -> set[int]:
        return {run.seed for run in self.runs if run.finished}

    def stages(self) -> dict[str, int]:
        """Number of episodes that ended at each stage."""
        return dict(Counter(str(row["stage"]) for run in self.runs for row in run.rows))

    def latency_ms(self, *path: str) -> float | None:
        """Return the median over the runs of one latency.

        `path` leads to it in a summary, such as `("single_frame", "total", "p50")`.
        """
        found = [_lookup(run.summary.get("latency_ms"), path) for run in self.runs]
        numbers = [number for number in found if number is not None]
        return statistics.median(numbers) if numbers else None

    def _field(self, name: str) -> Any:
        return self.info.get(name) or self.info["encoder"].get(name)


@dataclass(frozen=True)
class ComparisonGroup:
    """Arms that share level, policy kind, demonstrations and conditions, cheapest first."""

    level: str
    policy_kind: str
    variants: tuple[VariantResults, ...]

    @property
    def encoders(self) -> tuple[VariantResults, ...]:
        return tuple(variant for variant in self.variants if not variant.is_baseline)

    @property
    def baselines(self) -> tuple[VariantResults, ...]:
        return tuple(variant for variant in self.variants if variant.is_baseline)

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for variant in self.variants for run in variant.runs})

    @property
    def planned(self) -> int:
        """Initial conditions of each cell."""
        return self.variants[0].runs[0].planned

    def missing(self) -> list[str]:
        """Return, in words, what a whole grid of encoders and seeds would also hold.

        A control may have fewer seeds.
        """
        lines = []
        for variant in self.variants:
            have = {run.seed: run for run in variant.runs}
            for seed in have if variant.is_baseline else self.seeds:
                if seed not in have:
                    lines.append(f"{variant.label}, seed {seed}: no cell")
                elif not have[seed].finished:
                    done = len(have[seed].rows)
                    lines.append(f"{variant.label}, seed {seed}: {done} of {self.planned} episodes")
        return lines


def load_runs(folder: str | Path) -> list[RunResult]:
    """Read every cell under `folder`, however deep.

    Raises:
        S2RobotError: there is none.
        CorruptFileError: a cell lacks a field or holds damaged rows.
    """
    paths = sorted(Path(folder).rglob("cell.json"))
    if not paths:
        raise S2RobotError(
            f"no cells under {folder} (folders with a cell.json); "
            "make some with `s2robot sweep` and point the report at its output folder"
        )
    return [_load_run(path.parent) for path in paths]


def group_runs(runs: Sequence[RunResult]) -> list[ComparisonGroup]:
    """Gather cells into groups of arms, by level and policy kind."""
    variants: dict[str, list[RunResult]] = {}
    for run in runs:
        variants.setdefault(run.variant_key, []).append(run)
    groups: dict[tuple[str, str, str, str], list[list[RunResult]]] = {}
    for members in variants.values():
        _check_duplicates(members)
        groups.setdefault(members[0].group_key, []).append(members)
    return [_make_group(key, groups[key]) for key in sorted(groups)]


def _load_run(folder: Path) -> RunResult:
    info = read_json(folder / "cell.json")
    lacking = [key for key in _REQUIRED if key not in info]
    if lacking:
        raise CorruptFileError(
            f"{folder / 'cell.json'} lacks {', '.join(lacking)}; "
            "rerun the cell with `s2robot sweep`"
        )
    rows = read_jsonl(folder / "episodes.jsonl")
    for number, row in enumerate(rows, start=1):
        if not {"index", "stage", *METRICS} <= row.keys():
            raise CorruptFileError(
                f"{folder / 'episodes.jsonl'} line {number} is not an episode; "
                "delete the file and rerun the cell"
            )
    summary = folder / "summary.json"
    return RunResult(folder, info, tuple(rows), read_json(summary) if summary.exists() else {})


def _check_duplicates(members: Sequence[RunResult]) -> None:
    seen: dict[int, RunResult] = {}
    for run in members:
        twin = seen.setdefault(run.seed, run)
        if twin is not run:
            raise S2RobotError(
                f"{twin.path} and {run.path} are the same arm and seed; "
                "keep one of them in the folder of cells"
            )


def _make_group(key: tuple[str, str, str, str], members: list[list[RunResult]]) -> ComparisonGroup:
    labels = [_label(runs[0].info) for runs in members]
    variants = []
    for label, runs in zip(labels, members, strict=True):
        if labels.count(label) > 1:  # two encoders under one name: tell them apart
            label = f"{label} [{runs[0].variant_key[:6]}]"
        variants.append(VariantResults(label, tuple(sorted(runs, key=lambda run: run.seed))))
    variants.sort(
        key=lambda variant: (variant.is_baseline, variant.gflops, variant.parameters, variant.label)
    )
    return ComparisonGroup(key[0], key[1], tuple(variants))


def _label(info: Mapping[str, Any]) -> str:
    return BASELINE_TITLES.get(info["encoder"]["backbone"]) or str(info["label"])


def _lookup(tree: Any, path: Sequence[str]) -> float | None:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return float(tree)
