"""Ordinary and rare appearance side by side, from made-up cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from support.synthetic_cells import LARGE, SMALL, outcomes, write_cell

from s2robot.reporting.generalization import side_by_side
from s2robot.reporting.html_report import write_report
from s2robot.reporting.run_results import group_cells, load_cells
from s2robot.utils.io import read_json


def write_twins(
    root: Path, ordinary: np.ndarray, rare: np.ndarray, *where: Any, **how: Any
) -> None:
    """A policy's cells on ``precise`` and, with the same starts, on ``hard``."""
    for level, share, found in (("precise", 0.0, ordinary), ("hard", 1.0, rare)):
        path = write_cell(root / level, found, *where, level=level, **how) / "cell.json"
        cell = json.loads(path.read_text())
        cell["rare_share"] = share
        cell["conditions"] |= {"hash": level, "starts": "same"}
        cell["demos"]["level"] = "precise"
        path.write_text(json.dumps(cell))


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cells")
    for seed in range(2):
        write_twins(root, outcomes(0.8, seed), outcomes(0.3, seed + 50), seed=seed)
        write_twins(root, outcomes(0.9, seed), outcomes(0.8, seed), LARGE, (1, 2), seed=seed)
    write_twins(root, outcomes(0.98, 5), outcomes(0.98, 5), "state")
    write_twins(root, outcomes(0.5, 9)[:20], outcomes(0.5, 9)[:10], SMALL, (1, 3), planned=64)
    return root


def test_counts_and_tests_are_those_of_the_paired_episodes(cells):
    (table,) = side_by_side(group_cells(load_cells(cells)), "success_once")
    assert (table.ordinary, table.rare, table.trained_on) == ("precise", "hard", "precise")
    pairs = {pair.first.label: pair for pair in table.pairs}
    assert len(pairs) == 3  # the unfinished one cannot be paired
    small = pairs[f"{SMALL} (1)"]
    first = np.array([outcomes(0.8, seed) for seed in range(2)])
    second = np.array([outcomes(0.3, seed + 50) for seed in range(2)])
    assert small.difference.estimate == pytest.approx(second.mean() - first.mean())
    lost, won = int((first & ~second).sum()), int((second & ~first).sum())
    assert (small.pooled.only_first, small.pooled.only_second) == (lost, won)
    p_value = binomtest(lost, lost + won).pvalue
    assert small.pooled.p_value == pytest.approx(p_value)
    assert small.adjusted_p == pytest.approx(3 * p_value)  # the smallest of three
    assert small.distinguishable
    assert pairs["ground-truth position"].difference.estimate == 0


def test_page_and_json_hold_the_table(cells, tmp_path):
    paths = write_report(cells, tmp_path)
    page = paths.html.read_text(encoding="utf-8")
    assert "“precise” and “hard”" in page
    assert "trained on “precise”" in page
    (table,) = read_json(paths.json)["side_by_side"]
    assert (table["ordinary"], table["rare"]) == ("precise", "hard")
    row = next(row for row in table["arms"] if row["label"] == f"{SMALL} (1)")
    expected = sum(int(outcomes(0.3, seed + 50).sum()) for seed in range(2))
    assert (row["rare"]["successes"], row["rare"]["episodes"]) == (expected, 128)
    assert row["difference"] < -0.3
    assert row["shown"]


@pytest.mark.parametrize(
    "change",
    [
        {"rare_share": 0.25},
        {"conditions": {"starts": "other"}},
        {"demos": {"digest": "other"}},
        {"policy_kind": "gmm"},
    ],
)
def test_levels_that_differ_in_more_are_not_paired(tmp_path, change):
    write_twins(tmp_path, outcomes(0.8, 0), outcomes(0.3, 1))
    (path,) = (tmp_path / "hard").rglob("cell.json")
    cell = json.loads(path.read_text())
    for key, value in change.items():
        cell[key] = cell[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(cell))
    assert side_by_side(group_cells(load_cells(tmp_path)), "success_once") == []


def test_cells_of_earlier_versions_are_not_paired(tmp_path):
    write_cell(tmp_path, outcomes(0.8, 0), level="precise")
    write_cell(tmp_path, outcomes(0.3, 1), level="hard")
    assert side_by_side(group_cells(load_cells(tmp_path)), "success_once") == []
