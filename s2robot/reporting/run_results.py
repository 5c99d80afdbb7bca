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
from s2robot.evaluation.baselines import CONTROL_TITLES, is_control
from s2robot.stats.intervals import Interval, wilson
from s2robot.utils.io import digest_of, read_json, read_jsonl

METRICS = ("success_once", "success_at_end")
_REQUIRED = ("name", "level", "label", "encoder", "policy_kind", "seed", "conditions")


@dataclass(frozen=True)
class Cell:
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
    def arm_key(self) -> str:
        return digest_of([self.group_key, self.info["encoder"]])


@dataclass(frozen=True)
class Arm:
    """One encoder configuration: its cells in the order of their training seeds."""

    label: str
    cells: tuple[Cell, ...]

    @property
    def info(self) -> Mapping[str, Any]:
        return self.cells[0].info

    @property
    def backbone(self) -> str:
        return str(self.info["encoder"]["backbone"])

    @property
    def is_control(self) -> bool:
        return is_control(self.backbone)

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
    def running(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if not cell.finished)

    def count(self, metric: str) -> tuple[int, int]:
        """Successes and episodes of all seeds, unfinished cells included."""
        outcomes = [bool(row[metric]) for cell in self.cells for row in cell.rows]
        return sum(outcomes), len(outcomes)

    def pooled(self, metric: str) -> Interval:
        """Success rate over all seeds' episodes."""
        return wilson(*self.count(metric))

    def per_seed(self, metric: str) -> list[tuple[int, Interval]]:
        """Success rate of each training seed that has episodes."""
        return [
            (cell.seed, wilson(sum(bool(row[metric]) for row in cell.rows), len(cell.rows)))
            for cell in self.cells
            if cell.rows
        ]

    def outcomes(self, seeds: Sequence[int], metric: str) -> np.ndarray:
        """Successes of these seeds' finished cells: (S, C) bool, conditions in order."""
        by_seed = {cell.seed: cell for cell in self.cells}
        ordered = [sorted(by_seed[seed].rows, key=lambda row: row["index"]) for seed in seeds]
        return np.array([[bool(row[metric]) for row in rows] for rows in ordered])

    def finished_seeds(self) -> set[int]:
        return {cell.seed for cell in self.cells if cell.finished}

    def stages(self) -> dict[str, int]:
        """Number of episodes that ended at each stage."""
        return dict(Counter(str(row["stage"]) for cell in self.cells for row in cell.rows))

    def latency_ms(self, *path: str) -> float | None:
        """Return the median over the cells of one latency.

        `path` leads to it in a summary, such as `("single_frame", "total", "p50")`.
        """
        found = [_lookup(cell.summary.get("latency_ms"), path) for cell in self.cells]
        numbers = [number for number in found if number is not None]
        return statistics.median(numbers) if numbers else None

    def _field(self, name: str) -> Any:
        return self.info.get(name) or self.info["encoder"].get(name)


@dataclass(frozen=True)
class Group:
    """Arms that share level, policy kind, demonstrations and conditions, cheapest first."""

    level: str
    policy_kind: str
    arms: tuple[Arm, ...]

    @property
    def encoders(self) -> tuple[Arm, ...]:
        return tuple(arm for arm in self.arms if not arm.is_control)

    @property
    def controls(self) -> tuple[Arm, ...]:
        return tuple(arm for arm in self.arms if arm.is_control)

    @property
    def seeds(self) -> list[int]:
        return sorted({cell.seed for arm in self.arms for cell in arm.cells})

    @property
    def planned(self) -> int:
        """Initial conditions of each cell."""
        return self.arms[0].cells[0].planned

    def missing(self) -> list[str]:
        """Return, in words, what a whole grid of encoders and seeds would also hold.

        A control may have fewer seeds.
        """
        lines = []
        for arm in self.arms:
            have = {cell.seed: cell for cell in arm.cells}
            for seed in have if arm.is_control else self.seeds:
                if seed not in have:
                    lines.append(f"{arm.label}, seed {seed}: no cell")
                elif not have[seed].finished:
                    done = len(have[seed].rows)
                    lines.append(f"{arm.label}, seed {seed}: {done} of {self.planned} episodes")
        return lines


def load_cells(folder: str | Path) -> list[Cell]:
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
    return [_load_cell(path.parent) for path in paths]


def group_cells(cells: Sequence[Cell]) -> list[Group]:
    """Gather cells into groups of arms, by level and policy kind."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm_key, []).append(cell)
    groups: dict[tuple[str, str, str, str], list[list[Cell]]] = {}
    for members in arms.values():
        _refuse_twins(members)
        groups.setdefault(members[0].group_key, []).append(members)
    return [_make_group(key, groups[key]) for key in sorted(groups)]


def _load_cell(folder: Path) -> Cell:
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
    return Cell(folder, info, tuple(rows), read_json(summary) if summary.exists() else {})


def _refuse_twins(members: Sequence[Cell]) -> None:
    seen: dict[int, Cell] = {}
    for cell in members:
        twin = seen.setdefault(cell.seed, cell)
        if twin is not cell:
            raise S2RobotError(
                f"{twin.path} and {cell.path} are the same arm and seed; "
                "keep one of them in the folder of cells"
            )


def _make_group(key: tuple[str, str, str, str], members: list[list[Cell]]) -> Group:
    labels = [_label(cells[0].info) for cells in members]
    arms = []
    for label, cells in zip(labels, members, strict=True):
        if labels.count(label) > 1:  # two encoders under one name: tell them apart
            label = f"{label} [{cells[0].arm_key[:6]}]"
        arms.append(Arm(label, tuple(sorted(cells, key=lambda cell: cell.seed))))
    arms.sort(key=lambda arm: (arm.is_control, arm.gflops, arm.parameters, arm.label))
    return Group(key[0], key[1], tuple(arms))


def _label(info: Mapping[str, Any]) -> str:
    return CONTROL_TITLES.get(info["encoder"]["backbone"]) or str(info["label"])


def _lookup(tree: Any, path: Sequence[str]) -> float | None:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return float(tree)
