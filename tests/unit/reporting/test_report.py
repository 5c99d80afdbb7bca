"""The content of a report: groups, comparisons, and what was left out or noticed."""

from __future__ import annotations

import pytest
from support.synthetic_runs import LARGE, SMALL, outcomes, write_run

from s2robot.errors import S2RobotError
from s2robot.reporting.report import make_report


def test_mixed_settings_are_named_and_not_compared(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), seed=seed)
        settings = {"train": {"epochs": 30}, "camera": {"size": 128}}
        write_run(tmp_path, outcomes(0.9, seed), SMALL, (1, 2), seed=seed, settings=settings)
    report = make_report(tmp_path)
    assert [len(pairs) for pairs in report.comparisons] == [0, 0]
    (problem,) = report.problems
    assert problem.where == "level precise"
    assert not problem.left_out
    assert "train.epochs" in problem.text
    assert "camera.size" in problem.text
    assert problem.text.endswith("not compared with each other")


def test_groups_of_other_levels_are_no_problem(tmp_path):
    for level in ("easy", "precise"):
        for seed in range(3):
            write_run(tmp_path, outcomes(0.5, seed), seed=seed, level=level)
    assert make_report(tmp_path).problems == ()


def test_variants_without_a_shared_initial_state_are_named(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
        write_run(tmp_path, outcomes(0.5, seed), LARGE, seed=seed, first=64)
    report = make_report(tmp_path)
    (problem,) = report.problems
    assert problem.left_out
    assert problem.where == f"{SMALL} (1) and {LARGE} (1) (level precise)"
    assert "no initial state in common: not comparable" in problem.text


def test_too_few_seeds_are_named(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed), LARGE, seed=seed)
    (problem,) = make_report(tmp_path).problems
    assert problem.text == (
        f"a verdict takes 3 finished training seeds of a variant; {SMALL} (1) has 1"
    )


def test_families_are_groups_and_tables_with_comparisons(tmp_path):
    for epochs in (30, 60):
        for scales in ((1,), (1, 2)):
            settings = {"train": {"epochs": epochs}}
            write_run(tmp_path, outcomes(0.5, 0), SMALL, scales, settings=settings)
    write_run(tmp_path, outcomes(0.5, 0), level="easy")
    names = [name for name, _ in make_report(tmp_path).families]
    assert sorted(names) == ["precise, mlp, train.epochs 30", "precise, mlp, train.epochs 60"]


def test_without_an_episode_there_is_no_report(tmp_path):
    write_run(tmp_path, [], planned=64)
    with pytest.raises(S2RobotError, match="has an episode yet"):
        make_report(tmp_path)


def test_a_file_of_the_sequential_runner_does_not_disturb(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    (tmp_path / "sequential.json").write_text("{}")
    assert len(make_report(tmp_path).groups) == 1
