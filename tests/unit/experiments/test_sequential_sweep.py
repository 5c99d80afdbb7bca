"""The loop of a sequential sweep, with a runner that makes success rates up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.damage import attempt, damaged_json

from s2robot.errors import CorruptFileError, DiskFullError, DivergedError, MismatchError
from s2robot.experiments.sequential_results import read_sequential
from s2robot.experiments.sequential_sweep import (
    PlannedPair,
    PlannedVariant,
    Round,
    SequentialPlan,
    SequentialSweep,
)

STATES = 32
SEED_SD = 0.07


class FakeRunner:
    """Success rates around a true one by variant, with the seeds' variance of the demo."""

    def __init__(self, truth: Sequence[float], diverging: Sequence[tuple[int, int]] = ()) -> None:
        self.truth, self.diverging = truth, set(diverging)
        self.together: dict[tuple[int, int], tuple[int, ...]] = {}

    def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
        self.together[variant, seed] = tuple(together)
        if (variant, seed) in self.diverging:
            raise DivergedError(f"the loss of seed {seed} became nan")
        rng = np.random.default_rng([variant, seed])
        rate = np.clip(rng.normal(self.truth[variant], SEED_SD), 0, 1)
        return rng.binomial(STATES, rate) / STATES

    def key(self, variant: int) -> str | None:
        return f"key{variant}" if (variant, 0) in self.together else None


def make_plan(variants: int, pairs: Sequence[tuple[int, int]], **changes: object) -> SequentialPlan:
    plan = SequentialPlan(
        tuple(PlannedVariant(f"v{i}", {"encoder": {"scales": [i]}}) for i in range(variants)),
        tuple(PlannedPair(first, second, "scales") for first, second in pairs),
        STATES,
    )
    return dataclasses.replace(plan, **changes)  # pyright: ignore[reportArgumentType]


def play(
    plan: SequentialPlan, runner: FakeRunner, folder: Path, **sizes: Any
) -> tuple[SequentialSweep, list[Round]]:
    sweep = SequentialSweep(plan, runner, folder, **sizes)
    sweep.claim()
    return sweep, list(sweep.rounds())


def test_equal_variants_stay_undecided_until_the_seeds_are_used_up(tmp_path):
    sweep, rounds = play(make_plan(2, [(0, 1)]), FakeRunner([0.5, 0.5]), tmp_path, max_seeds=12)
    assert [each.seed for each in rounds] == list(range(12))
    assert sweep.family.pairs[0].verdict == "not shown"
    record = json.loads((tmp_path / "sequential.json").read_text())
    assert record["pairs"][0]["verdict"] == "not shown"
    assert len(record["pairs"][0]["differences"]) == 12
    spent = {"spent": 24 * STATES, "fixed_design": 24 * STATES, "fixed_design_seeds": 12}
    assert record["episodes"] == spent


@pytest.mark.parametrize(("name", "exact"), [("eager", True), ("int8", False)])
def test_it_goes_on_with_another_exact_runtime_alone(tmp_path, name, exact):
    """Where "auto" measures another one as faster, the rows agree to rounding."""

    def plan(runtime: str) -> SequentialPlan:
        settings = {"inference": {"runtime": {"name": runtime, "exact": runtime != "int8"}}}
        variants = tuple(PlannedVariant(f"v{i}", settings) for i in range(2))
        return dataclasses.replace(make_plan(2, [(0, 1)]), variants=variants)

    play(plan("openvino"), FakeRunner([0.5, 0.5]), tmp_path, max_seeds=2)
    if exact:
        _, rounds = play(plan(name), FakeRunner([0.5, 0.5]), tmp_path, max_seeds=3)
        assert len(rounds) == 3
    else:
        with pytest.raises(MismatchError, match="runtime.name: there eager, now int8"):
            play(plan(name), FakeRunner([0.5, 0.5]), tmp_path, max_seeds=3)


def test_a_large_difference_is_decided_in_the_fewest_seeds(tmp_path):
    sweep, rounds = play(make_plan(2, [(0, 1)]), FakeRunner([0.0, 1.0]), tmp_path)
    assert len(rounds) == 3
    assert sweep.family.pairs[0].verdict == "better"
    record = json.loads((tmp_path / "sequential.json").read_text())
    assert record["episodes"]["spent"] == 6 * STATES
    assert record["pairs"][0]["interval"][0] > 0.5
    assert [variant["key"] for variant in record["variants"]] == ["key0", "key1"]


def test_a_variant_whose_pairs_are_decided_gets_no_more_seeds(tmp_path):
    runner = FakeRunner([0.4, 0.45, 1.0])
    plan = make_plan(3, [(0, 1), (0, 2), (1, 2)])
    sweep, rounds = play(plan, runner, tmp_path, max_seeds=12)
    assert [pair.verdict for pair in sweep.family.pairs] == ["not shown", "better", "better"]
    dropped = len(sweep.family.pairs[1].seeds)
    assert dropped < 12
    assert {seed for variant, seed in runner.together if variant == 2} == set(
        range(max(dropped, len(sweep.family.pairs[2].seeds)))
    )
    assert rounds[-1].ran == (0, 1)


def test_variants_without_a_pair_run_three_rounds(tmp_path):
    runner = FakeRunner([0.5, 0.5, 0.9])
    play(make_plan(3, [(0, 1)]), runner, tmp_path, max_seeds=6)
    assert [seed for variant, seed in runner.together if variant == 2] == [0, 1, 2]
    assert runner.together[2, 0] == (0, 1, 2)


def test_seeds_are_trained_together(tmp_path):
    runner = FakeRunner([0.5, 0.5])
    play(make_plan(2, [(0, 1)]), runner, tmp_path, max_seeds=6, at_once=4)
    assert runner.together[0, 0] == (0, 1, 2, 3)
    assert runner.together[0, 4] == (4, 5)


def test_a_sweep_that_was_killed_resumes_to_the_same_file(tmp_path):
    plan = make_plan(2, [(0, 1)])
    play(plan, FakeRunner([0.5, 0.6]), tmp_path / "whole", max_seeds=8)
    sweep = SequentialSweep(plan, FakeRunner([0.5, 0.6]), tmp_path / "killed", max_seeds=8)
    sweep.claim()
    rounds = sweep.rounds()
    for _ in range(3):
        next(rounds)
    play(plan, FakeRunner([0.5, 0.6]), tmp_path / "killed", max_seeds=8)
    files = [tmp_path / name / "sequential.json" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_every_damage_of_the_file_is_an_error_or_changes_no_verdict(tmp_path):
    plan, file = make_plan(2, [(0, 1)]), tmp_path / "sequential.json"
    play(plan, FakeRunner([0.5, 0.6]), tmp_path, max_seeds=3)
    whole = file.read_bytes()
    for damage in damaged_json(file):
        left = file.read_bytes()
        sweep = SequentialSweep(plan, FakeRunner([0.5, 0.6]), tmp_path, max_seeds=3)
        _, message = attempt(sweep.claim, CorruptFileError, MismatchError, ValueError)
        assert file.read_bytes() == left, damage
        if message:
            assert str(file) in message, damage
        elif not sweep.failures:
            list(sweep.rounds())
            assert file.read_bytes() == whole, damage
        read_sequential(tmp_path)


def test_a_later_call_may_have_more_seeds(tmp_path):
    plan = make_plan(2, [(0, 1)])
    play(plan, FakeRunner([0.5, 0.5]), tmp_path, max_seeds=4)
    sweep, rounds = play(plan, FakeRunner([0.5, 0.5]), tmp_path, max_seeds=6)
    assert len(sweep.family.pairs[0].seeds) == len(rounds) == 6


def test_fewer_seeds_than_were_seen_are_refused(tmp_path):
    plan = make_plan(2, [(0, 1)])
    play(plan, FakeRunner([0.5, 0.5]), tmp_path, max_seeds=5)
    with pytest.raises(ValueError, match="max_seeds is 4.* has 5 seeds already"):
        play(plan, FakeRunner([0.5, 0.5]), tmp_path, max_seeds=4)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"alpha": 0.1}, "alpha: there 0.05, now 0.1"),
        ({"margin": 0.1}, "margin: there 0.05, now 0.1"),
        ({"initial_states": 64}, "initial_states: there 32, now 64"),
        ({"metric": "success_at_end"}, "metric"),
        (
            {"pairs": (PlannedPair(0, 1, "size"),)},
            r"v1 against v0 \(scales\), now v1 against v0 \(size\)",
        ),
        (
            {"variants": make_plan(3, []).variants},
            "variants: there v0, v1, now v0, v1, v2",
        ),
        (
            {"variants": (PlannedVariant("v0", {"encoder": {"scales": [7]}}),) * 2},
            r"v0: encoder.scales: there \[0\], now \[7\]",
        ),
    ],
)
def test_another_plan_in_the_same_folder_is_refused_with_what_differs(tmp_path, change, named):
    plan = make_plan(2, [(0, 1)])
    play(plan, FakeRunner([0.5, 0.5]), tmp_path, max_seeds=3)
    before = (tmp_path / "sequential.json").read_bytes()
    other = SequentialSweep(dataclasses.replace(plan, **change), FakeRunner([0.5] * 3), tmp_path)
    with pytest.raises(MismatchError, match=named) as refused:
        other.claim()
    assert "runs_dir=" in str(refused.value)
    assert (tmp_path / "sequential.json").read_bytes() == before


def test_a_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "sequential.json").write_text('{"format": 9}')
    with pytest.raises(MismatchError, match="format 9"):
        SequentialSweep(make_plan(2, [(0, 1)]), FakeRunner([0.5, 0.5]), tmp_path).claim()


def test_a_seed_that_diverges_is_named_and_the_others_go_on(tmp_path):
    runner = FakeRunner([0.0, 1.0, 0.5], diverging=[(1, 1)])
    sweep, rounds = play(make_plan(3, [(0, 1)]), runner, tmp_path)
    assert "seed 1 became nan" in rounds[1].failed[1]
    assert rounds[1].ran == (0, 2)
    assert rounds[1].updated == ()
    assert sweep.family.pairs[0].seeds == (0, 2, 3)
    assert sweep.family.pairs[0].verdict == "better"
    record = json.loads((tmp_path / "sequential.json").read_text())
    assert [(row["variant"], row["seed"]) for row in record["failed"]] == [(1, 1)]


def test_a_failed_seed_is_not_tried_again(tmp_path):
    plan = make_plan(2, [(0, 1)])
    play(plan, FakeRunner([0.5, 0.5], diverging=[(1, 1)]), tmp_path, max_seeds=4)
    runner = FakeRunner([0.5, 0.5])
    sweep, _ = play(plan, runner, tmp_path, max_seeds=4)
    assert sweep.family.pairs[0].seeds == (0, 2, 3)
    assert (1, 1) not in runner.together


def test_a_rollout_that_fails_costs_one_round(tmp_path):
    class Failing(FakeRunner):
        def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
            if (variant, seed) == (0, 0):
                raise RuntimeError("an environment died")
            return super().rate(variant, seed, together)

    sweep, rounds = play(make_plan(2, [(0, 1)]), Failing([0.0, 1.0]), tmp_path)
    assert rounds[0].failed == {0: "RuntimeError: an environment died"}
    assert sweep.family.pairs[0].seeds == (1, 2, 3)


def test_a_variant_that_always_fails_is_given_up(tmp_path):
    runner = FakeRunner([0.5, 0.5, 0.5], diverging=[(2, seed) for seed in range(32)])
    sweep, rounds = play(make_plan(3, [(0, 1), (0, 2)]), runner, tmp_path, max_seeds=6)
    assert sweep.given_up() == [2]
    assert [2 in each.failed for each in rounds] == [True] * 3 + [False] * 3
    assert len(sweep.family.pairs[0].seeds) == 6


def test_a_full_disk_ends_the_sweep_without_a_failed_seed(tmp_path):
    class Full(FakeRunner):
        def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
            raise DiskFullError("the disk is full")

    with pytest.raises(DiskFullError):
        play(make_plan(2, [(0, 1)]), Full([0.5, 0.5]), tmp_path)
    assert json.loads((tmp_path / "sequential.json").read_text())["failed"] == []
