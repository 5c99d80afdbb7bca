"""The report's numbers as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.synthetic_runs import SMALL, change_run, outcomes, write_run

from s2robot.reporting.html_report import write_report
from s2robot.reporting.page.rows import variant_row
from s2robot.reporting.report import make_report
from s2robot.utils.io import read_json


def test_counts_and_comparison_are_those_of_the_episodes(tmp_path):
    first = [np.arange(20) < count for count in (8, 10, 9)]
    second = [np.arange(20) < count for count in (12, 15)]
    for seed, found in enumerate(first):
        write_run(tmp_path / "cells", found, scales=(1,), seed=seed)
    for seed, found in enumerate(second):
        write_run(tmp_path / "cells", found, scales=(1, 2), seed=seed)
    record = read_json(write_report(tmp_path / "cells", tmp_path / "out").json)
    assert record["format"] == 2
    (group,) = record["groups"]
    counts = {tuple(arm["encoder"]["scales"]): arm["success_once"] for arm in group["arms"]}
    assert counts[1,]["per_seed"] == {"0": [8, 20], "1": [10, 20], "2": [9, 20]}
    assert (counts[1, 2]["successes"], counts[1, 2]["episodes"]) == (27, 40)
    assert (counts[1, 2]["rate"], counts[1, 2]["seeds"]) == (0.675, [0, 1])
    assert counts[1, 2]["interval_95"][0] < 0.4  # two seeds; Wilson over episodes: 0.52
    (pair,) = group["comparisons"]
    assert (pair["question"], pair["differs"]) == ("scales", ["scales (1, 2) against (1)"])
    assert pair["difference"] == pytest.approx(0.225)
    assert (pair["seeds"], pair["conditions"]) == ([[0, 1, 2], [0, 1]], 20)
    assert (pair["verdict"], pair["shown"]) == ("not shown", False)
    assert pair["variance_components"].keys() == {"seed_sd", "interaction_sd", "residual_sd"}
    assert [(test["seed"], test["only_second"]) for test in pair["single_policies"]] == [
        (0, 4),
        (1, 5),
    ]
    assert not any("wilson" in key or "mcnemar" in key for key in _keys(record))
    assert "trials" not in group["arms"][0]["heads"]["0"]


def _keys(tree: object) -> list[str]:
    if isinstance(tree, dict):
        return [*map(str, tree), *(key for item in tree.values() for key in _keys(item))]
    return [key for item in tree for key in _keys(item)] if isinstance(tree, list) else []


def test_one_seed_gives_json_without_infinite_numbers(tmp_path):
    for scales in ((1,), (1, 2)):
        write_run(tmp_path / "cells", outcomes(0.5, 0), SMALL, scales)
    folder = write_run(tmp_path / "cells", outcomes(0.5, 0), SMALL, (1, 3))
    change_run(folder, gflops_per_frame=float("nan"), label="a\ud800")
    path = write_report(tmp_path / "cells", tmp_path / "out").json
    record = json.loads(path.read_bytes().decode(), parse_constant=pytest.fail)
    pair = record["groups"][0]["comparisons"][0]
    assert (pair["standard_error"], pair["variance_components"]) == (None, None)
    assert (pair["p_value"], pair["interval_95"]) == (1.0, [-1.0, 1.0])
    assert {problem["left_out"] for problem in record["problems"]} == {False}
    assert any("gflops_per_frame" in problem["text"] for problem in record["problems"])


def test_unknown_costs_are_not_zero(tmp_path):
    """Policies that are not ours have no known size, cost and width; a baseline has none at all."""
    unknown = dict.fromkeys(("parameters", "gflops_per_frame", "embedding_dim"))
    change_run(write_run(tmp_path / "cells", outcomes(0.5, 0)), **unknown)
    change_run(write_run(tmp_path / "cells", outcomes(0.5, 0), "blind", ()), **unknown)
    written = write_report(tmp_path / "cells", tmp_path / "out")
    record = read_json(written.json)
    assert not any("cell.json" in problem["text"] for problem in record["problems"])
    costs = [{arm[name] for name in unknown} for arm in record["groups"][0]["arms"]]
    assert costs == [{None}, {0}]
    (group,) = make_report(tmp_path / "cells").groups
    rows = [variant_row(variant, "success_once") for variant in group.variants]
    names = ("parameters", "gflops", "embedding_dim")
    assert [{row[name] for name in names} for row in rows] == [{"–"}, {"0"}]
    assert [
        {row[f"{name}_s"] for name in ("parameters", "gflops", "embedding")} for row in rows
    ] == [
        {""},
        {0},
    ]
