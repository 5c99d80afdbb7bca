"""Runs are read, checked and gathered."""

from __future__ import annotations

import json

import pytest
from support.synthetic_runs import LARGE, SMALL, outcomes, write_run

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.reporting.run_results import group_runs, load_runs


def test_seeds_of_one_encoder_make_a_variant_and_pool(tmp_path):
    for seed in (1, 0):
        write_run(tmp_path, [True] * (3 + seed) + [False] * (5 - seed), seed=seed)
    ((variant,),) = [group.variants for group in group_runs(load_runs(tmp_path))]
    assert [run.seed for run in variant.runs] == [0, 1]
    assert variant.count("success_once") == (7, 16)
    assert variant.pooled("success_once").low == pytest.approx(0.231, abs=1e-3)
    assert [rate.estimate for _, rate in variant.per_seed("success_once")] == [3 / 8, 4 / 8]
    assert variant.outcomes([0, 1], "success_once").shape == (2, 8)
    assert variant.stages() == {"drop": 2, "none": 5, "grasp": 9}
    assert variant.latency_ms("single_frame", "total", "p50") == 10


def test_outcomes_are_in_the_order_of_initial_states(tmp_path):
    folder = write_run(tmp_path, [True, False, False, False])
    path = folder / "episodes.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    (group,) = group_runs(load_runs(tmp_path))
    assert group.variants[0].outcomes([0], "success_once").tolist() == [[True, False, False, False]]


def test_levels_are_apart_and_variants_are_ordered_by_cost_with_baselines_last(tmp_path):
    for backbone in ("none", "state", LARGE, SMALL):
        write_run(tmp_path, outcomes(0.5, 0), backbone)
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1, 2))
    write_run(tmp_path, outcomes(0.5, 0), level="easy")
    easy, precise = group_runs(load_runs(tmp_path))
    assert (easy.level, precise.level) == ("easy", "precise")
    names = [f"{variant.backbone} {variant.scales_text}" for variant in precise.encoders]
    assert names == [f"{SMALL} (1)", f"{SMALL} (1, 2)", f"{LARGE} (1)"]
    assert {variant.backbone for variant in precise.baselines} == {"none", "state"}


def test_other_initial_states_or_demonstrations_are_another_group(tmp_path):
    first = write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.5, 0), LARGE)
    record = json.loads((first / "cell.json").read_text())
    record["conditions"]["hash"] = "another"
    (first / "cell.json").write_text(json.dumps(record))
    assert len(group_runs(load_runs(tmp_path))) == 2


def test_equal_labels_of_different_encoders_get_a_suffix(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    other = write_run(tmp_path, outcomes(0.5, 0), readout="mean")
    record = json.loads((other / "cell.json").read_text())
    assert record["label"] == f"{SMALL} (1)"
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


def test_the_same_variant_and_seed_twice_is_refused(tmp_path):
    write_run(tmp_path / "a", outcomes(0.5, 0))
    write_run(tmp_path / "b", outcomes(0.5, 0))
    with pytest.raises(S2RobotError, match="same variant and seed"):
        group_runs(load_runs(tmp_path))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(S2RobotError, match="no runs under.*s2robot sweep"):
        load_runs(tmp_path)


def test_a_torn_last_row_is_dropped(tmp_path):
    folder = write_run(tmp_path, [True, True, False], planned=4)
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"index": 3, "succ')
    (run,) = load_runs(tmp_path)
    assert len(run.rows) == 3
    assert not run.finished


def test_damaged_runs_are_named(tmp_path):
    folder = write_run(tmp_path, [True])
    (folder / "episodes.jsonl").write_text('{"index": 0}\n')
    with pytest.raises(CorruptFileError, match="line 1 is not an episode"):
        load_runs(tmp_path)
    (folder / "cell.json").write_text('{"name": "x"}')
    with pytest.raises(CorruptFileError, match=r"cell\.json lacks level, label"):
        load_runs(tmp_path)
