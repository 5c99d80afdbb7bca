"""Reading of ``sequential.json``, and which verdict belongs to which two variants."""

from __future__ import annotations

import json

import pytest
from support.sequential import write_sequential

from s2robot.experiments.sequential_results import read_sequential

VARIANTS = ({"rate": 0.1}, {"rate": 0.95, "scales": (1, 2)}, {"rate": 0.5, "scales": (1, 2, 3)})


@pytest.fixture
def results(tmp_path):
    write_sequential(tmp_path, VARIANTS, [(0, 1)])
    [found], unusable = read_sequential(tmp_path / "cells")
    assert unusable == []
    return found


def keys(results):
    return [variant["key"] for variant in results.variants]


def test_a_test_is_found_beside_the_folder_of_runs_and_below_it(tmp_path, results):
    assert read_sequential(tmp_path)[0][0].path == results.path
    assert read_sequential(tmp_path / "nowhere" / "cells") == ([], [])


def test_the_test_of_a_pair_is_that_of_its_seeds(results):
    first, second, _ = keys(results)
    test = results.find(first, second, "success_once")
    assert test.verdict == "better"
    assert test.planned
    assert test.seeds == 3
    assert 0.7 < test.difference < 1
    assert 0 < test.low < test.difference < test.high
    assert test.p_value == pytest.approx(1 / test.e_value)


def test_the_other_order_gives_the_other_verdict(results):
    first, second, _ = keys(results)
    test, turned = (
        results.find(*pair, "success_once") for pair in ((first, second), (second, first))
    )
    assert turned.verdict == "worse"
    assert (turned.low, turned.difference) == (-test.high, -test.difference)


def test_a_pair_that_was_not_planned_has_no_verdict(results):
    first, _, third = keys(results)
    test = results.find(first, third, "success_once")
    assert (test.planned, test.verdict, test.adjusted_p) == (False, "not shown", 1.0)


def test_another_metric_has_no_verdict(results):
    first, second, _ = keys(results)
    assert not results.find(first, second, "success_at_end").planned


def test_variants_that_no_pair_tested_are_not_concerned(results):
    assert results.find(keys(results)[2], "another", "success_once") is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 9}', '{"format": 1, "plan": {}, "variants": []}']
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "sequential.json").write_text(content)
    found, [(path, reason)] = read_sequential(tmp_path / "cells")
    assert found == []
    assert path.name == "sequential.json"
    assert reason


def test_a_pair_without_a_seed_yet_is_not_planned_so_far(tmp_path):
    sweep = write_sequential(tmp_path, VARIANTS, [(0, 1)], max_seeds=0)
    [found], _ = read_sequential(tmp_path / "cells")
    assert json.loads(sweep.path.read_text())["pairs"][0]["difference"] is None
    [(_, _, test)] = found.pairs
    assert not test.planned
