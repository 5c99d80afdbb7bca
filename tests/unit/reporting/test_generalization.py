"""Nominal against perturbed scenes, from made-up runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_runs import LARGE, SMALL, change_run, outcomes, write_run

from s2robot.reporting.generalization import generalization
from s2robot.reporting.html_report import write_report
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import group_runs
from s2robot.utils.io import read_json


def write_twins(
    root: Path, nominal: np.ndarray, perturbed: np.ndarray, *where: Any, **how: Any
) -> None:
    """A policy's runs on ``precise`` and, from the same starts, on ``hard``."""
    for level, share, found in (("precise", 0.0, nominal), ("hard", 1.0, perturbed)):
        folder = write_run(root / level, found, *where, level=level, **how)
        demos = {"digest": "d", "n": 120, "level": "precise"}
        change_run(folder, rare_share=share, demos=demos)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cells")
    for seed in range(3):
        write_twins(root, outcomes(0.8, seed), outcomes(0.3, seed + 50), seed=seed)
        write_twins(root, outcomes(0.9, seed), outcomes(0.8, seed), LARGE, (1, 2), seed=seed)
    write_twins(root, outcomes(0.98, 5), outcomes(0.98, 5), "state")
    write_twins(root, outcomes(0.5, 9)[:20], outcomes(0.5, 9)[:10], SMALL, (1, 3), planned=64)
    return root


def test_counts_and_tests_are_those_of_the_paired_episodes(runs):
    (table,) = generalization(group_runs(load_runs(runs)), "success_once")
    assert (table.nominal, table.perturbed, table.trained_on) == ("precise", "hard", "precise")
    pairs = {pair.first.label: pair for pair in table.pairs}
    assert len(pairs) == 3  # the unfinished one cannot be paired
    small = pairs[f"{SMALL} (1)"]
    first = np.array([outcomes(0.8, seed) for seed in range(3)])
    second = np.array([outcomes(0.3, seed + 50) for seed in range(3)])
    assert small.difference.estimate == pytest.approx(second.mean() - first.mean())
    for seed, test in small.single_policies:
        lost, won = first[seed] & ~second[seed], second[seed] & ~first[seed]
        assert (test.only_first, test.only_second) == (lost.sum(), won.sum())
    assert small.initial_states == 64
    assert small.adjusted_p == pytest.approx(3 * small.difference.p_value)  # smallest of three
    assert small.verdict == "worse"
    assert pairs["ground-truth position"].difference.estimate == 0
    assert pairs["ground-truth position"].verdict == "not shown"  # one seed


@pytest.mark.slow
def test_page_and_json_hold_the_table(runs, tmp_path):
    paths = write_report(runs, tmp_path)
    page = paths.html.read_text(encoding="utf-8")
    assert "“precise” against “hard”" in page
    assert "trained on “precise”" in page
    (table,) = read_json(paths.json)["side_by_side"]
    assert (table["ordinary"], table["rare"]) == ("precise", "hard")
    row = next(row for row in table["arms"] if row["label"] == f"{SMALL} (1)")
    expected = sum(int(outcomes(0.3, seed + 50).sum()) for seed in range(3))
    assert (row["rare"]["successes"], row["rare"]["episodes"]) == (expected, 192)
    assert row["difference"] < -0.3
    assert (row["verdict"], row["shown"]) == ("worse", True)


@pytest.mark.parametrize(
    "change",
    [
        {"rare_share": 0.25},
        {"settings": {"demonstrations": {"digest": "other"}}},
        {"settings": {"policy": {"kind": "gmm"}}},
        {"settings": {"train": {"epochs": 30}}},
        {"settings": {"task": {"level": "hard", "env": {"level": "hard", "yaw_range_rad": 1}}}},
    ],
)
def test_levels_that_differ_in_more_are_not_paired(tmp_path, change):
    write_twins(tmp_path, outcomes(0.8, 0), outcomes(0.3, 1))
    (path,) = (tmp_path / "hard").rglob("cell.json")
    run = json.loads(path.read_text())
    for key, value in change.items():
        run[key] = run[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(run))
    assert generalization(group_runs(load_runs(tmp_path)), "success_once") == []


def test_other_starts_are_not_paired(tmp_path):
    write_twins(tmp_path, outcomes(0.8, 0), outcomes(0.3, 1))
    (folder,) = (path.parent for path in (tmp_path / "hard").rglob("cell.json"))
    record = json.loads((folder / "run.json").read_text())["conditions"] | {"starts": "others"}
    (folder / "run.json").write_text(json.dumps({"conditions": record}))
    assert generalization(group_runs(load_runs(tmp_path)), "success_once") == []
