"""Runs are gathered into variants and comparison groups by their settings."""

from __future__ import annotations

import numpy as np
import pytest
from support.synthetic_runs import LARGE, SMALL, change_run, outcomes, write_run

from s2robot.reporting import run_results
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import group_runs, group_variants

ONCE = "success_once"


def test_runs_of_equal_settings_make_a_variant(tmp_path):
    for seed in (1, 0):
        write_run(tmp_path, [True] * (3 + seed) + [False] * (5 - seed), seed=seed)
    ((variant,),) = [group.variants for group in group_runs(load_runs(tmp_path))]
    assert [run.seed for run in variant.runs] == [0, 1]
    assert variant.count(ONCE) == (7, 16)
    assert variant.rate(ONCE).estimate == pytest.approx(7 / 16)
    assert [rate.estimate for _, rate in variant.per_seed(ONCE)] == [3 / 8, 4 / 8]
    assert variant.stages() == {"drop": 2, "none": 5, "grasp": 9}
    assert variant.latency_ms("single_frame", "total", "p50") == 10


def test_a_rate_of_several_seeds_is_for_further_seeds_and_of_one_seed_for_this_policy(tmp_path):
    """Seeds at 20 % and 80 % say little of a third; the Wilson interval over episodes would."""
    for seed, successes in enumerate((13, 51)):
        write_run(tmp_path, np.arange(64) < successes, seed=seed)
    write_run(tmp_path, np.arange(64) < 32, LARGE)
    (group,) = group_runs(load_runs(tmp_path))
    both, one = (variant.rate(ONCE) for variant in group.encoders)
    assert both.high - both.low > 0.9
    assert (one.low, one.high) == pytest.approx((0.381, 0.619), abs=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"train": {"epochs": 30}},
        {"camera": {"size": 128}},
        {"policy": {"hidden": [64]}},
        {"search": {"trials": 8}},
        {"rollout": {"horizon": 40}},
        {"rollout": {"tile_budget": 4}},
        {"inference": {"dtype": "bfloat16"}},
        {"inference": {"runtime": {"name": "int8"}}},
        {"demonstrations": {"digest": "other"}},
        {"versions": {"torch": "2.16"}},
        {"versions": {"torch": "2.15", "mujoco": "3.14.0"}},
        {"task": {"env": {"level": "precise", "control": "joint_delta"}}},
    ],
)
def test_runs_of_other_settings_are_neither_pooled_nor_grouped(tmp_path, settings):
    write_run(tmp_path, outcomes(0.5, 0), seed=0)
    write_run(tmp_path, outcomes(0.5, 1), seed=1, settings=settings)
    write_run(tmp_path, outcomes(0.5, 2), LARGE)
    runs = load_runs(tmp_path)
    assert len(group_variants(runs)) == 3
    groups = group_runs(runs)
    assert sorted(len(group.variants) for group in groups) == [1, 2]


def test_other_initial_states_are_the_same_variant(tmp_path):
    """Seeds may have blocks of initial states of their own."""
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed, first=64 * seed)
    ((variant,),) = [group.variants for group in group_runs(load_runs(tmp_path))]
    assert variant.seeds == (0, 1, 2)
    assert len(run_results.outcomes(variant.runs, ONCE).conditions) == 192


def test_a_baseline_joins_every_group_that_agrees_on_the_rest(tmp_path):
    for settings in ({}, {"inference": {"dtype": "bfloat16"}}, {"camera": {"size": 128}}):
        write_run(tmp_path, outcomes(0.5, 0), settings=settings)
    write_run(tmp_path, outcomes(0.5, 0), settings={"train": {"epochs": 30}})
    write_run(tmp_path, outcomes(0.1, 0), "none")
    groups = group_runs(load_runs(tmp_path))
    found = [(g.settings["train"]["epochs"], [v.label for v in g.baselines]) for g in groups]
    assert sorted(found) == [(30, []), *[(60, ["blind"])] * 3]


def test_a_baseline_of_other_settings_is_a_group_of_its_own(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.1, 0), "none", settings={"train": {"epochs": 30}})
    groups = group_runs(load_runs(tmp_path))
    assert sorted(len(group.encoders) for group in groups) == [0, 1]


def test_levels_are_apart_and_variants_are_ordered_by_cost_with_baselines_last(tmp_path):
    for backbone in ("none", "state", LARGE, SMALL):
        write_run(tmp_path, outcomes(0.5, 0), backbone)
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1, 2))
    write_run(tmp_path, outcomes(0.5, 0), level="easy")
    easy, precise = group_runs(load_runs(tmp_path))
    assert (easy.level, precise.level) == ("easy", "precise")
    names = [f"{variant.backbone} {variant.scales_text}" for variant in precise.encoders]
    assert names == [f"{SMALL} (1)", f"{LARGE} (1)", f"{SMALL} (1, 2)"]
    assert {variant.backbone for variant in precise.baselines} == {"none", "state"}


def test_equal_labels_of_different_encoders_get_a_suffix(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.5, 0), readout="mean")
    (group,) = group_runs(load_runs(tmp_path))
    labels = {variant.label for variant in group.variants}
    assert len(labels) == 2
    assert all(label.startswith(f"{SMALL} (1) [") for label in labels)


def test_missing_and_running_runs_are_listed(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
    write_run(tmp_path, outcomes(0.5, 0, n=16), LARGE, planned=64)
    write_run(tmp_path, outcomes(0.5, 0), "none")  # a baseline may have fewer seeds
    (group,) = group_runs(load_runs(tmp_path))
    expected = [f"{LARGE} (1), seed 0: 16 of 64 episodes", f"{LARGE} (1), seed 1: no run"]
    assert group.missing() == expected


def test_a_number_that_one_run_lacks_is_taken_from_another(tmp_path):
    change_run(write_run(tmp_path, outcomes(0.5, 0)), gflops_per_frame=None, parameters=None)
    write_run(tmp_path, outcomes(0.5, 1), seed=1)
    ((variant,),) = [group.variants for group in group_runs(load_runs(tmp_path))]
    assert (variant.gflops, variant.parameters) == (9.2, 21_700_000)


def test_load_runs_is_found_at_its_old_place(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    with pytest.warns(FutureWarning, match="run_files.load_runs"):
        assert len(run_results.load_runs(tmp_path)) == 1
