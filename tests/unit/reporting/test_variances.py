"""Variances of success that are measured from runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.synthetic_runs import write_run

from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import group_runs
from s2robot.reporting.variances import measured_components
from s2robot.stats.sample_sizes import Measured


def write_seeds(folder, scales, seeds, spread, *, nested=False, states=400):
    rng = np.random.default_rng([len(scales), seeds])
    for seed in range(seeds):
        rate = 0.5 + spread * (-1) ** seed
        first = seed * states if nested else 0
        run = write_run(folder, rng.random(states) < rate, scales=scales, seed=seed, first=first)
        timing = {"start": 0, "encode": [300.0 * states], "env": [200.0 * states]}
        (run / "timing.jsonl").write_text(json.dumps(timing) + "\n")


def measure(folder) -> Measured:
    found = measured_components(group_runs(load_runs(folder)), "success_once")
    assert found is not None
    return found


def test_variances_and_durations_are_measured_from_runs(tmp_path):
    write_seeds(tmp_path, (1,), 4, 0.1)
    write_seeds(tmp_path, (1, 2), 6, 0.1)
    found = measure(tmp_path)
    assert found.components.seed_sd == pytest.approx(0.11, abs=0.03)
    assert "2 variants with 4, 6 training seeds" in found.source
    assert found.layout == "crossed"
    assert found.seconds_per_episode == pytest.approx(0.5)


def test_seeds_on_initial_states_of_their_own_are_noticed(tmp_path):
    write_seeds(tmp_path, (1,), 4, 0.1, nested=True)
    assert measure(tmp_path).layout == "nested"


def test_one_variant_is_enough_and_one_seed_is_not(tmp_path):
    write_seeds(tmp_path / "one", (1,), 3, 0.1)
    assert "1 variant with 3 training seeds" in measure(tmp_path / "one").source
    write_seeds(tmp_path / "two", (1,), 1, 0.1)
    assert measured_components(group_runs(load_runs(tmp_path / "two")), "success_once") is None
