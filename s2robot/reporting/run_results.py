"""The runs of a sweep as they are on disk, gathered into variants and comparison groups.

A *run* is one trained policy and its episodes: a folder with ``cell.json``, ``episodes.jsonl`` and
``summary.json``. A *variant* is the runs that differ in the training seed only. A *comparison
group* is the variants that share level, policy kind, demonstrations and initial states, so that
their episodes can be paired.
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
    """One trained policy: its description, its episodes so far, and their summary."""

    path: Path
    """Folder of the run."""
    info: Mapping[str, Any]
    """Content of ``cell.json``."""
    rows: tuple[Mapping[str, Any], ...]
    """Finished episodes, one row each."""
    summary: Mapping[str, Any]
    """Content of ``summary.json``; empty if there is none yet."""

    @property
    def seed(self) -> int:
        """Training seed."""
        return int(self.info["seed"])

    @property
    def planned(self) -> int:
        """Number of episodes that a finished run has."""
        return int(self.info["conditions"]["n"])

    @property
    def finished(self) -> bool:
        """True if all planned episodes are there."""
        return len(self.rows) >= self.planned

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Choice of the hyperparameter search, without its trials."""
        found = self.info.get("head") or {}
        return {key: value for key, value in found.items() if key != "trials"}

    @functools.cached_property
    def group_key(self) -> tuple[str, str, str, str]:
        """Level, policy kind, and digests of the demonstrations and of the initial states."""
        conditions, demos = self.info["conditions"], self.info.get("demos") or {}
        return (
            str(self.info["level"]),
            str(self.info["policy_kind"]),
            str(demos.get("digest", "")),
            str(conditions.get("hash", "")),
        )

    @functools.cached_property
    def variant_key(self) -> str:
        """Digest of everything but the training seed."""
        return digest_of([self.group_key, self.info["encoder"]])


@dataclass(frozen=True)
class VariantResults:
    """One encoder configuration: its runs in the order of their training seeds."""

    label: str
    runs: tuple[RunResult, ...]

    @property
    def info(self) -> Mapping[str, Any]:
        """Description of the first run; all but the seed is the same in the others."""
        return self.runs[0].info

    @property
    def backbone(self) -> str:
        """Name of the backbone, or of the baseline."""
        return str(self.info["encoder"]["backbone"])

    @property
    def is_baseline(self) -> bool:
        """True for a policy that sees no pixels."""
        return is_baseline(self.backbone)

    @property
    def is_random(self) -> bool:
        """True if the encoder's weights are untrained."""
        return self.backbone.startswith("random/")

    @property
    def scales(self) -> tuple[float, ...]:
        """Scales of the encoder; empty for a baseline."""
        return tuple(self._field("scales") or ())

    @property
    def scales_text(self) -> str:
        """Scales as text, such as "(1, 2)"."""
        return "(" + ", ".join(f"{scale:g}" for scale in self.scales) + ")"

    @property
    def input_mode(self) -> str:
        """Source of the pixels of scales above 1; "native" for scale 1 alone."""
        return "native" if self.scales in ((), (1,)) else str(self._field("input_mode") or "native")

    @property
    def readout(self) -> str:
        """Readout of the encoder; empty for a baseline."""
        return str(self._field("readout") or "")

    @property
    def view(self) -> dict[str, Any]:
        """Further settings of the encoder: geometry, layers, grid, tilings, merge."""
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
        """Number of parameters of the encoder."""
        return int(self.info.get("parameters") or 0)

    @property
    def gflops(self) -> float:
        """Cost of encoding one frame [GFLOP]."""
        return float(self.info.get("gflops_per_frame") or 0.0)

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding of one frame."""
        return int(self.info.get("embedding_dim") or 0)

    @property
    def running(self) -> tuple[RunResult, ...]:
        """Runs that are not finished."""
        return tuple(run for run in self.runs if not run.finished)

    def count(self, metric: str) -> tuple[int, int]:
        """Return successes and episodes of all seeds, unfinished runs included."""
        outcomes = [bool(row[metric]) for run in self.runs for row in run.rows]
        return sum(outcomes), len(outcomes)

    def pooled(self, metric: str) -> Interval:
        """Return the success rate over the episodes of all seeds."""
        return wilson(*self.count(metric))

    def per_seed(self, metric: str) -> list[tuple[int, Interval]]:
        """Return the success rate of each training seed that has episodes."""
        return [
            (run.seed, wilson(sum(bool(row[metric]) for row in run.rows), len(run.rows)))
            for run in self.runs
            if run.rows
        ]

    def outcomes(self, seeds: Sequence[int], metric: str) -> np.ndarray:
        """Return the outcomes of finished runs.

        Args:
            seeds: training seeds of the runs.
            metric: one of ``METRICS``.

        Returns:
            ``(seeds, initial states)`` bool, in the order of the initial states.
        """
        by_seed = {run.seed: run for run in self.runs}
        ordered = [sorted(by_seed[seed].rows, key=lambda row: row["index"]) for seed in seeds]
        return np.array([[bool(row[metric]) for row in rows] for rows in ordered])

    def finished_seeds(self) -> set[int]:
        """Return the training seeds of finished runs."""
        return {run.seed for run in self.runs if run.finished}

    def stages(self) -> dict[str, int]:
        """Return the number of episodes that ended at each failure stage."""
        return dict(Counter(str(row["stage"]) for run in self.runs for row in run.rows))

    def latency_ms(self, *path: str) -> float | None:
        """Return the median over the runs of one latency [ms]; None if no run has it.

        Args:
            path: keys in the summary, such as ``("single_frame", "total", "p50")``.
        """
        found = [_lookup(run.summary.get("latency_ms"), path) for run in self.runs]
        numbers = [number for number in found if number is not None]
        return statistics.median(numbers) if numbers else None

    def _field(self, name: str) -> Any:
        return self.info.get(name) or self.info["encoder"].get(name)


@dataclass(frozen=True)
class ComparisonGroup:
    """Variants that share level, policy kind, demonstrations and initial states, cheapest first."""

    level: str
    policy_kind: str
    variants: tuple[VariantResults, ...]

    @property
    def encoders(self) -> tuple[VariantResults, ...]:
        """Variants that see pixels."""
        return tuple(variant for variant in self.variants if not variant.is_baseline)

    @property
    def baselines(self) -> tuple[VariantResults, ...]:
        """Variants that see no pixels."""
        return tuple(variant for variant in self.variants if variant.is_baseline)

    @property
    def seeds(self) -> list[int]:
        """Training seeds of any variant."""
        return sorted({run.seed for variant in self.variants for run in variant.runs})

    @property
    def planned(self) -> int:
        """Number of initial states of each run."""
        return self.variants[0].runs[0].planned

    def missing(self) -> list[str]:
        """Return a line for each run that is missing or not finished.

        Every encoder should have all seeds; a baseline may have fewer.
        """
        lines = []
        for variant in self.variants:
            have = {run.seed: run for run in variant.runs}
            for seed in have if variant.is_baseline else self.seeds:
                if seed not in have:
                    lines.append(f"{variant.label}, seed {seed}: no run")
                elif not have[seed].finished:
                    done = len(have[seed].rows)
                    lines.append(f"{variant.label}, seed {seed}: {done} of {self.planned} episodes")
        return lines


def load_runs(folder: str | Path) -> list[RunResult]:
    """Return every run under ``folder``, at any depth.

    Raises:
        S2RobotError: there is none.
        CorruptFileError: a run lacks a field or has damaged rows.
    """
    paths = sorted(Path(folder).rglob("cell.json"))
    if not paths:
        raise S2RobotError(
            f"no runs under {folder} (folders with a cell.json); "
            "make some with `s2robot sweep` and give the report its folder of runs"
        )
    return [_load_run(path.parent) for path in paths]


def group_runs(runs: Sequence[RunResult]) -> list[ComparisonGroup]:
    """Return the comparison groups of ``runs``, ordered by level and policy kind.

    Raises:
        S2RobotError: two runs have the same variant and seed.
    """
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
            "repeat the run with `s2robot sweep`"
        )
    rows = read_jsonl(folder / "episodes.jsonl")
    for number, row in enumerate(rows, start=1):
        if not {"index", "stage", *METRICS} <= row.keys():
            raise CorruptFileError(
                f"{folder / 'episodes.jsonl'} line {number} is not an episode; "
                "delete the file and repeat the run"
            )
    summary = folder / "summary.json"
    return RunResult(folder, info, tuple(rows), read_json(summary) if summary.exists() else {})


def _check_duplicates(members: Sequence[RunResult]) -> None:
    seen: dict[int, RunResult] = {}
    for run in members:
        twin = seen.setdefault(run.seed, run)
        if twin is not run:
            raise S2RobotError(
                f"{twin.path} and {run.path} are the same variant and seed; "
                "keep one of them in the folder of runs"
            )


def _make_group(key: tuple[str, str, str, str], members: list[list[RunResult]]) -> ComparisonGroup:
    labels = [_label(runs[0].info) for runs in members]
    variants = []
    for label, runs in zip(labels, members, strict=True):
        if labels.count(label) > 1:  # two encoders with one name get a suffix
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
