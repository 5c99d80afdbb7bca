"""The runs of a sweep, gathered into variants and comparison groups.

A *run* is one trained policy and its episodes. A *variant* is the runs whose settings are equal, so
that they differ in the training seed and the initial states only. A *comparison group* is the
variants whose settings differ in the encoder only; nothing of other groups is compared or pooled.
Rows of two runs are paired by the hash of their initial state.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.evaluation.baselines import BASELINE_TITLES, is_baseline
from s2robot.evaluation.identity import comparable
from s2robot.reporting.setting_differences import baseline_key, group_key
from s2robot.stats.clustered import Outcomes, clustered_rate
from s2robot.stats.intervals import Interval, wilson
from s2robot.utils.deprecation import moved_names
from s2robot.utils.io import digest_of

KEY_LENGTH = 6
"""Digits of a variant's key in texts."""
__getattr__ = moved_names(__name__, {"load_runs": "s2robot.reporting.run_files"})


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
    strips: tuple[Path, ...] = ()
    """Pictures of failed episodes, inside the folder of the run."""
    videos: tuple[Path, ...] = ()
    """Videos of episodes, inside the folder of the run."""

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
    def settings(self) -> Mapping[str, Any]:
        """Everything that can change a row or a policy but training seed and initial states."""
        return self.info["settings"]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Choice of the hyperparameter search, without its trials."""
        found = self.info.get("head") or {}
        return {key: value for key, value in found.items() if key != "trials"}

    @functools.cached_property
    def variant_key(self) -> str:
        """Digest of the settings, the exact runtimes as one."""
        return digest_of(comparable(self.settings))

    def count(self, metric: str) -> tuple[int, int]:
        """Return successes and episodes."""
        return sum(row[metric] for row in self.rows), len(self.rows)

    def start_of(self, row: Mapping[str, Any]) -> str:
        """Return a name of a row's initial state without its appearance.

        It is the same on levels that differ in their appearance alone, if the whole sets of initial
        states start alike.
        """
        return f"{self.info['conditions'].get('starts', self.path)}:{row['index']}"


def state_of(run: RunResult, row: Mapping[str, Any]) -> str:
    """Return the hash of a row's initial state, by which rows of several runs are paired.

    Args:
        run: of the row; unused.
        row: an episode.
    """
    return row["condition"]


@dataclass(frozen=True)
class VariantResults:
    """The runs of equal settings, in the order of their training seeds."""

    label: str
    runs: tuple[RunResult, ...]

    @property
    def info(self) -> Mapping[str, Any]:
        """Description of the first run."""
        return self.runs[0].info

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of all runs."""
        return self.runs[0].settings

    @property
    def key(self) -> str:
        """Digest of the settings."""
        return self.runs[0].variant_key

    @property
    def encoder(self) -> Mapping[str, Any]:
        """Settings of the encoder, or the name of the baseline."""
        return self.settings["encoder"]

    @property
    def backbone(self) -> str:
        """Name of the backbone, or of the baseline."""
        return str(self.encoder["backbone"])

    @property
    def family(self) -> str:
        """Family of the backbone, within which "larger" has a meaning; empty if unknown."""
        return str(self.info.get("family") or "")

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
        return tuple(self.encoder.get("scales") or ())

    @property
    def scales_text(self) -> str:
        """Scales as text, such as "(1, 2)"."""
        return "(" + ", ".join(f"{scale:g}" for scale in self.scales) + ")"

    @property
    def input_mode(self) -> str:
        """Source of the pixels of scales above 1; "native" for scale 1 alone."""
        return "native" if self.scales in ((), (1,)) else str(self.encoder.get("input_mode"))

    @property
    def readout(self) -> str:
        """Readout of the encoder; empty for a baseline."""
        return str(self.encoder.get("readout") or "")

    @property
    def parameters(self) -> int:
        """Number of parameters of the encoder; 0 if unknown."""
        return int(self.known_cost("parameters") or 0)

    @property
    def gflops(self) -> float:
        """Cost of encoding one frame [GFLOP]; 0 if unknown."""
        return float(self.known_cost("gflops_per_frame") or 0)

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding of one frame; 0 if unknown."""
        return int(self.known_cost("embedding_dim") or 0)

    def known_cost(self, name: str) -> float | None:
        """Return "parameters", "gflops_per_frame" or "embedding_dim"; None if it is unknown."""
        known = next((run.info[name] for run in self.runs if run.info.get(name)), None)
        return 0 if known is None and self.is_baseline else known

    @property
    def running(self) -> tuple[RunResult, ...]:
        """Runs that are not finished."""
        return tuple(run for run in self.runs if not run.finished)

    @property
    def finished(self) -> tuple[RunResult, ...]:
        """Runs that are finished, which comparisons use."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds that have episodes."""
        return tuple(run.seed for run in self.runs if run.rows)

    def count(self, metric: str) -> tuple[int, int]:
        """Return successes and episodes of all seeds, unfinished runs included."""
        counts = [run.count(metric) for run in self.runs]
        return sum(count[0] for count in counts), sum(count[1] for count in counts)

    def rate(self, metric: str) -> Interval:
        """Return the success rate: the mean of the seeds' rates, unfinished runs included.

        The interval is for further training seeds and initial states. With one seed, it is of this
        policy only (Wilson): further initial states, no further seeds.

        Args:
            metric: one of ``METRICS``.
        """
        if len(self.seeds) == 1:
            return wilson(*self.count(metric))
        return clustered_rate(outcomes(self.runs, metric))

    def per_seed(self, metric: str) -> list[tuple[int, Interval]]:
        """Return the success rate of each training seed that has episodes, as a single policy."""
        return [(run.seed, wilson(*run.count(metric))) for run in self.runs if run.rows]

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


def outcomes(
    runs: Iterable[RunResult],
    metric: str,
    name: Callable[[RunResult, Mapping[str, Any]], str] = state_of,
) -> Outcomes:
    """Return the outcomes of some runs of one variant.

    Args:
        runs: with one episode or more in all.
        metric: one of ``METRICS``.
        name: run and row to the name by which rows of two variants are paired.
    """
    rows = [(run.seed, name(run, row), row[metric]) for run in runs for row in run.rows]
    seeds, states, successes = zip(*rows, strict=True)
    return Outcomes(np.array(successes), np.array(seeds), np.array(states))


@dataclass(frozen=True)
class ComparisonGroup:
    """Variants whose settings differ in the encoder only, cheapest first, and their baselines."""

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
    def settings(self) -> Mapping[str, Any]:
        """Settings of the first variant; the others' differ in the encoder only."""
        return self.variants[0].settings

    @property
    def runs(self) -> list[RunResult]:
        """Runs of all variants."""
        return [run for variant in self.variants for run in variant.runs]

    @property
    def seeds(self) -> list[int]:
        """Training seeds of any variant."""
        return sorted({run.seed for run in self.runs})

    def missing(self, stopped: Collection[str | None] = ()) -> list[str]:
        """Return a line for each run that is missing or not finished.

        Every encoder should have all seeds; a baseline may have fewer.

        Args:
            stopped: keys of variants that may have fewer as well.
        """
        lines = []
        for variant in self.variants:
            have = {run.seed: run for run in variant.runs}
            fewer = variant.is_baseline or variant.key in stopped
            for seed in have if fewer else self.seeds:
                if seed not in have:
                    lines.append(f"{variant.label}, seed {seed}: no run")
                elif not have[seed].finished:
                    done, planned = len(have[seed].rows), have[seed].planned
                    lines.append(f"{variant.label}, seed {seed}: {done} of {planned} episodes")
        return lines


def group_variants(runs: Sequence[RunResult]) -> list[list[RunResult]]:
    """Return the runs of each variant, in the order of their training seeds."""
    variants: dict[str, list[RunResult]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        variants.setdefault(run.variant_key, []).append(run)
    return list(variants.values())


def group_runs(runs: Sequence[RunResult]) -> list[ComparisonGroup]:
    """Return the comparison groups of ``runs``, ordered by level and policy kind.

    A baseline, which has no camera and no encoder, joins every group that agrees with it on the
    other settings.

    Args:
        runs: each variant has each training seed once.
    """
    groups: dict[str, list[list[RunResult]]] = {}
    joins: dict[str, list[str]] = {}  # keys of the groups that a baseline joins
    baselines = []
    for members in group_variants(runs):
        settings = members[0].settings
        if is_baseline(str(settings["encoder"]["backbone"])):
            baselines.append(members)
            continue
        key = group_key(settings)
        if key not in groups:
            joins.setdefault(baseline_key(settings), []).append(key)
        groups.setdefault(key, []).append(members)
    for members in baselines:
        own = baseline_key(members[0].settings)
        for key in joins.get(own, [own]):
            groups.setdefault(key, []).append(members)
    found = [_make_group(members) for members in groups.values()]
    return sorted(found, key=lambda group: (group.level, group.policy_kind, group.variants[0].key))


def _make_group(members: list[list[RunResult]]) -> ComparisonGroup:
    labels = [label_of(runs[0]) for runs in members]
    variants = []
    for label, runs in zip(labels, members, strict=True):
        if labels.count(label) > 1:  # two encoders with one name get a suffix
            label = f"{label} [{runs[0].variant_key[:KEY_LENGTH]}]"
        variants.append(VariantResults(label, tuple(runs)))
    variants.sort(
        key=lambda variant: (variant.is_baseline, variant.gflops, variant.parameters, variant.label)
    )
    info = variants[0].info
    return ComparisonGroup(str(info["level"]), str(info["policy_kind"]), tuple(variants))


def label_of(run: RunResult) -> str:
    """Return the title of a baseline, or a run's own label, and the latency in real time."""
    title = BASELINE_TITLES.get(run.settings["encoder"]["backbone"]) or str(run.info["label"])
    return title + realtime_text(run.settings)


def realtime_text(settings: Mapping[str, Any]) -> str:
    """Return what a label says of real time; empty where the simulation waits.

    Args:
        settings: of a run.

    Examples:
        >>> realtime_text({"rollout": {"realtime": True, "latency_ms": 120.0}})
        ', 120 ms late'
        >>> realtime_text({"rollout": {"realtime": True, "latency_ms": None}})
        ', in real time (measured)'
        >>> realtime_text({})
        ''
    """
    rollout = settings.get("rollout")
    if not isinstance(rollout, Mapping) or not rollout.get("realtime"):
        return ""
    latency_ms = rollout.get("latency_ms")
    known = isinstance(latency_ms, (int, float))
    return f", {latency_ms:g} ms late" if known else ", in real time (measured)"


def _lookup(tree: Any, path: Sequence[str]) -> float | None:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    known = isinstance(tree, (int, float)) and math.isfinite(tree)
    return float(tree) if known else None
