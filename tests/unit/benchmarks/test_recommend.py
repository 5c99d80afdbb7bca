"""Rank agreement of an offline error with closed-loop success."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT
from support.synthetic_runs import LARGE, SMALL, write_run

_PLACE = importlib.util.spec_from_file_location("recommend", ROOT / "benchmarks/recommend.py")
assert _PLACE is not None
assert _PLACE.loader is not None
benchmark = importlib.util.module_from_spec(_PLACE)
_PLACE.loader.exec_module(benchmark)
agreement, success_by_variant = benchmark.agreement, benchmark.success_by_variant

RATES = {("a", (1.0,)): [0.2, 0.3], ("b", (1.0,)): [0.5, 0.5], ("c", (1.0,)): [0.9, 0.8]}


def test_the_least_error_with_the_most_successes_agrees_fully() -> None:
    found = agreement(dict(zip(RATES, [3.0, 2.0, 1.0], strict=True)), RATES)
    assert found is not None
    assert found["spearman"] == {"estimate": 1.0, "interval_95": [1.0, 1.0]}
    assert (found["choice"], found["best"]) == ("c (1)", "c (1)")
    assert found["points_behind"]["estimate"] == 0


def test_a_wrong_choice_tells_how_many_points_it_is_behind() -> None:
    found = agreement(dict(zip(RATES, [1.0, 2.0, 3.0], strict=True)), RATES)
    assert found is not None
    assert found["kendall"]["estimate"] == -1.0
    assert found["points_behind"]["estimate"] == pytest.approx(60)
    low, high = found["points_behind"]["interval_95"]
    assert low < 60 < high


def test_two_variants_have_no_rank_agreement() -> None:
    assert agreement({("a", (1.0,)): 1.0, ("b", (1.0,)): 2.0}, RATES) is None


def test_success_is_read_by_encoder_and_scales_for_each_seed(tmp_path: Path) -> None:
    for seed, successes in enumerate((4, 6)):
        write_run(tmp_path, np.arange(8) < successes, SMALL, (1, 2), seed=seed)
    write_run(tmp_path, np.arange(8) < 2, LARGE)
    write_run(tmp_path, np.arange(8) < 8, "none")
    write_run(tmp_path, np.arange(8) < 8, SMALL, (1, 2), input_mode="interpolate")
    assert success_by_variant(tmp_path, "precise") == {
        (SMALL, (1.0, 2.0)): [0.5, 0.75],
        (LARGE, (1.0,)): [0.25],
    }
