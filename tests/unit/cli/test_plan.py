"""The command that says how many seeds and initial states a difference needs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.synthetic_runs import write_run

from s2robot.cli.main import main


def test_it_names_a_combination_its_cost_and_what_is_assumed(capsys):
    argv = ["plan", "--difference", "20", "--seconds-per-episode", "3600"]
    assert main(argv) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "assumed, as measured on precise" in shown
    assert "smallest difference [points] that is shown with 80 % power, 1 comparison" in shown
    assert "to show 20 points:" in shown
    assert "initial states are the cheapest" in shown
    assert "hours of rollouts" in shown
    assert "no number of initial states is enough" in shown


def test_the_simulation_shows_its_progress_but_not_beside_json(capsys):
    main(["plan", "--difference", "20"])
    assert "simulating s2robot decide: " in capsys.readouterr().err
    main(["plan", "--difference", "20", "--json"])
    assert capsys.readouterr().err == ""


def test_json_holds_the_same_numbers(capsys):
    assert main(["plan", "--difference", "20", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["question"]["difference"] == 0.2
    assert record["variance"]["components"]["seed_sd"] == 0.084
    sizes = record["smallest_differences"]
    assert len(sizes["rows"]) == len(sizes["seeds"])
    best = record["cheapest"]
    assert best["episodes_per_variant"] == best["seeds"] * best["states"]
    assert best["hours"] is None
    assert [each["states"] for each in record["decide"]] == sizes["states"]


def test_runs_replace_the_assumed_variances(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for seed in range(3):
        write_run(tmp_path, rng.random(32) < 0.5, seed=seed)
    assert main(["plan", "--difference", "20", "--runs", str(tmp_path)]) == 0
    assert "measured on precise, mlp: 1 variant with 3 training seeds" in capsys.readouterr().out


def test_runs_with_one_seed_are_refused(tmp_path, capsys):
    write_run(tmp_path, [True] * 8)
    assert main(["plan", "--difference", "20", "--runs", str(tmp_path)]) == 2
    assert "two finished training seeds" in " ".join(capsys.readouterr().err.split())


def test_a_difference_that_cannot_be_shown_is_said_to_be_so(capsys):
    assert main(["plan", "--difference", "0.1"]) == 0
    shown = capsys.readouterr().out
    assert "no number of seeds" in shown


@pytest.mark.parametrize("value", ["0", "-5", "100", "nan", "inf", "ten"])
def test_differences_out_of_range_are_refused(value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", f"--difference={value}"])
    assert stop.value.code == 2
    assert "percentage points above 0 and below 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flag, value",
    [
        ("--power", "0"),
        ("--power", "1"),
        ("--alpha", "nan"),
        ("--comparisons", "0"),
        ("--seconds-per-episode", "-1"),
        ("--seconds-per-episode", "inf"),
    ],
)
def test_other_numbers_out_of_range_are_refused(flag, value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", "--difference", "10", f"{flag}={value}"])
    assert stop.value.code == 2
    assert f"{flag}: " in capsys.readouterr().err
