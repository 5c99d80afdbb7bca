"""Comparisons of variants: pairing, one clustered model, verdicts, questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_runs import LARGE, OTHER, RANDOM, SMALL, change_run, outcomes, write_run

from s2robot.reporting.comparisons import (
    Comparison,
    adjusted,
    classify,
    compare_groups,
    compare_pair,
    questions,
)
from s2robot.reporting.run_files import load_runs
from s2robot.reporting.run_results import ComparisonGroup, VariantResults, group_runs
from s2robot.stats.clustered import Outcomes, clustered_difference

ONCE = "success_once"


def only_group(root: Path) -> ComparisonGroup:
    (group,) = group_runs(load_runs(root))
    return group


def compare(root: Path) -> list[Comparison]:
    (pairs,) = compare_groups([only_group(root)], ONCE)
    return pairs


def two_scale_sets(root: Path, one: float, two: float, seeds: int = 4, n: int = 64) -> None:
    for seed in range(seeds):
        write_run(root, outcomes(one, seed, n), seed=seed)
        write_run(root, outcomes(two, 10 + seed, n), SMALL, (1, 2), seed=seed)


def test_a_large_difference_is_shown_by_the_clustered_model(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.9)
    (pair,) = compare(tmp_path)
    assert (pair.kind, pair.differs) == ("scales", ("scales (1, 2) against (1)",))
    assert (pair.verdict, pair.shown) == ("better", True)
    first = Outcomes.from_matrix(np.array([outcomes(0.5, seed) for seed in range(4)]))
    second = Outcomes.from_matrix(np.array([outcomes(0.9, 10 + seed) for seed in range(4)]))
    expected = clustered_difference(first, second)
    for name in ("estimate", "low", "high", "p_value", "dof"):
        assert getattr(pair.difference, name) == pytest.approx(getattr(expected, name))
    assert pair.seeds == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert (pair.initial_states, pair.states_per_seed, pair.unshared) == (64, 64, (0, 0))


def test_encoders_that_dtype_auto_gave_other_precisions_are_compared(tmp_path):
    """On a processor with bfloat16 some encoders take it, and others do not agree with float32."""
    for seed in range(4):
        write_run(tmp_path, outcomes(0.5, seed), SMALL, seed=seed, **in_precision("bfloat16"))
        write_run(tmp_path, outcomes(0.9, 10 + seed), LARGE, seed=seed, **in_precision("float32"))
        write_run(
            tmp_path, outcomes(0.5, 20 + seed), SMALL, (1, 2), seed=seed, **in_precision("float32")
        )
    pairs = {(pair.kind, pair.verdict): pair.differs for pair in compare(tmp_path)}
    dtype = "dtype float32 against bfloat16"
    assert pairs["scales", "not shown"] == ("scales (1, 2) against (1)", dtype)
    assert dtype in pairs["size", "better"]


def in_precision(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "settings": {"inference": {"dtype": dtype}}}


def test_the_precision_of_one_encoder_is_a_question(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0), **in_precision("bfloat16"))
    write_run(tmp_path, outcomes(0.5, 1), **in_precision("float32"))
    (pair,) = compare(tmp_path)
    assert pair.kind == "dtype"


def test_rollouts_in_another_precision_than_training_are_a_group_of_their_own(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0), **in_precision("bfloat16"))
    other = {"inference": {"dtype": "float32"}}
    write_run(tmp_path, outcomes(0.5, 1), LARGE, dtype="bfloat16", settings=other)
    assert len(group_runs(load_runs(tmp_path))) == 2


def test_a_loss_is_worse(tmp_path):
    two_scale_sets(tmp_path, 0.9, 0.5)
    (pair,) = compare(tmp_path)
    assert pair.verdict == "worse"
    assert pair.difference.high < 0
    assert pair.limits == (pair.difference.estimate, pair.difference.low, pair.difference.high)


@pytest.mark.parametrize(("one", "two"), [(0.1, 0.95), (0.5, 0.5)])
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_show_nothing(tmp_path, one, two, seeds):
    two_scale_sets(tmp_path, one, two, seeds, n=512)
    (pair,) = compare(tmp_path)
    assert (pair.verdict, pair.shown, pair.decidable) == ("not shown", False, False)


def test_equal_rates_of_many_seeds_and_states_are_equivalent(tmp_path):
    two_scale_sets(tmp_path, 0.97, 0.97, seeds=6, n=400)
    (pair,) = compare(tmp_path)
    assert pair.verdict == "equivalent"
    assert pair.adjusted_equivalence_p < 0.05 < pair.adjusted_p


def test_seeds_that_disagree_are_not_overruled_by_many_episodes(tmp_path):
    """Each policy by itself differs from its partner; seeds of a variant differ as much."""
    for seed, rate in enumerate((0.95, 0.35, 0.95)):
        write_run(tmp_path, outcomes(0.6, seed, 256), seed=seed)
        write_run(tmp_path, outcomes(rate, 10 + seed, 256), SMALL, (1, 2), seed=seed)
    (pair,) = compare(tmp_path)
    assert all(test.p_value < 0.001 for _, test in pair.single_policies)
    assert pair.verdict == "not shown"


def test_the_same_encoder_against_itself_is_not_shown(tmp_path):
    """Twenty times four policies a side, with the SD of seeds that was measured on the demo."""
    rng = np.random.default_rng(3)
    shown = 0
    for repeat in range(20):
        root = tmp_path / str(repeat)
        for seed in range(4):
            for scales in ((1,), (1, 2)):
                rate = rng.normal(0.5, 0.07)
                write_run(root, rng.random(64) < rate, SMALL, scales, seed=seed)
        shown += compare(root)[0].shown
    assert shown <= 2


def test_rows_are_paired_by_their_initial_state_and_not_by_their_order(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.9)
    (expected,) = compare(tmp_path)
    for path in tmp_path.rglob("episodes.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(np.random.default_rng(0).permutation(lines)))
    (pair,) = compare(tmp_path)
    assert pair.difference == expected.difference
    assert pair.single_policies == expected.single_policies


def test_variants_are_compared_on_the_initial_states_that_both_have(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.5, seed, 96), seed=seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed, 64), SMALL, (1, 2), seed=seed, first=32)
    (pair,) = compare(tmp_path)
    assert (pair.initial_states, pair.unshared) == (64, (32, 0))
    first = np.mean([outcomes(0.5, seed, 96)[32:].mean() for seed in range(3)])
    second = np.mean([outcomes(0.9, 10 + seed, 64).mean() for seed in range(3)])
    assert pair.difference.estimate == pytest.approx(second - first)


def test_a_seed_without_a_shared_initial_state_does_not_count(tmp_path):
    for seed in range(4):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed, first=64 * (seed == 3))
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
    (pair,) = compare(tmp_path)
    assert pair.seeds == ((0, 1, 2), (0, 1, 2, 3))
    assert [seed for seed, _ in pair.single_policies] == [0, 1, 2]


def test_seeds_with_blocks_of_their_own_are_compared(tmp_path):
    for seed in range(4):
        write_run(tmp_path, outcomes(0.3, seed), seed=seed, first=64 * seed)
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed, first=64 * seed)
    (pair,) = compare(tmp_path)
    assert (pair.initial_states, pair.states_per_seed, pair.verdict) == (256, 64, "better")


def test_without_a_shared_initial_state_there_is_no_comparison(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1, 2), first=64)
    assert compare(tmp_path) == []


def test_numbers_of_seeds_may_differ_and_unfinished_runs_are_left_out(tmp_path):
    for seed in range(5):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
    for seed in range(3, 6):
        write_run(tmp_path, outcomes(0.9, 10 + seed), SMALL, (1, 2), seed=seed)
    write_run(tmp_path, outcomes(0.9, 19, n=8), SMALL, (1, 2), seed=9, planned=64)
    write_run(tmp_path, outcomes(0.9, 3, n=8), SMALL, (1, 2, 3), planned=64)
    write_run(tmp_path, outcomes(0.1, 4), "none", seed=1)
    (pair,) = compare(tmp_path)
    assert pair.seeds == ((0, 1, 2, 3, 4), (3, 4, 5))
    assert [seed for seed, _ in pair.single_policies] == [3, 4]
    assert pair.verdict == "better"


def test_holm_counts_the_comparisons_of_all_groups_in_two_families(tmp_path):
    for level in ("easy", "precise"):
        for scales in ((1,), (1, 2), (1, 2, 3)):
            for seed in range(3):
                rate = 0.3 * len(scales)
                write_run(tmp_path, outcomes(rate, seed), SMALL, scales, level=level, seed=seed)
    groups = group_runs(load_runs(tmp_path))
    pairs = [pair for of_group in compare_groups(groups, ONCE) for pair in of_group]
    assert [pair.family for pair in pairs] == [6] * 6
    smallest = min(pairs, key=lambda pair: pair.difference.p_value)
    assert smallest.adjusted_p == pytest.approx(6 * smallest.difference.p_value)
    closest = min(pairs, key=lambda pair: pair.equivalence_p)
    assert closest.adjusted_equivalence_p == pytest.approx(min(1, 6 * closest.equivalence_p))


def test_one_seed_of_each_variant_has_no_variance_components(tmp_path):
    two_scale_sets(tmp_path, 0.5, 0.9, seeds=1)
    (pair,) = compare(tmp_path)
    assert pair.components is None
    assert (pair.difference.p_value, pair.difference.dof) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ((SMALL, (1,)), (SMALL, (1, 2)), "scales"),
        ((SMALL, (1,)), (SMALL, (1, 2), "interpolate"), "scales"),
        ((SMALL, (1,)), (LARGE, (1,)), "size"),
        ((SMALL, (1, 2)), (LARGE, (1,)), "size_or_scales"),
        ((SMALL, (1,)), (LARGE, (1, 2)), "several"),
        ((SMALL, (1, 2)), (SMALL, (1, 2), "interpolate"), "input"),
        ((SMALL, (1,)), (SMALL, (1,), "native", "mean"), "readout"),
        ((SMALL, (1,)), (RANDOM, (1,)), "weights"),
        ((LARGE, (1,)), (RANDOM, (1,)), "several"),
        ((OTHER, (1,)), (LARGE, (1,)), "several"),
        ((OTHER, (1, 2)), (LARGE, (1,)), "several"),
        ((SMALL, (1,)), (SMALL, (1, 2), "native", "mean"), "several"),
    ],
)
def test_the_question_is_named_from_what_differs(tmp_path, first, second, kind):
    for backbone, scales, *rest in (first, second):
        options = dict(zip(("input_mode", "readout"), rest, strict=False))
        write_run(tmp_path, outcomes(0.5, 0), backbone, scales, **options)
    variants = only_group(tmp_path).encoders
    assert classify(*variants) == classify(*variants[::-1]) == kind


@pytest.mark.parametrize(
    "other",
    [{"geometry": "full"}, {"taps": [5]}, {"resize_output_to_idx": -1}, {"merge": "sum"}],
)
def test_more_scales_with_another_option_are_not_a_comparison_of_scales(tmp_path, other):
    write_run(tmp_path, outcomes(0.5, 0))
    write_run(tmp_path, outcomes(0.9, 10), SMALL, (1, 2), **other)
    assert [pair.kind for pair in compare(tmp_path)] == ["several"]


@pytest.mark.parametrize(
    ("scales", "copies", "kind"),
    [((1, 2), 2, "equal_width"), ((1, 2), 3, "several"), ((1, 2, 3), 3, "equal_width")],
)
def test_scales_are_compared_with_copies_of_one_scale_at_equal_width(
    tmp_path, scales, copies, kind
):
    write_run(tmp_path, outcomes(0.9, 10), SMALL, scales)
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1,), copies=copies)
    (pair,) = compare(tmp_path)
    assert pair.kind == kind
    if kind == "equal_width":
        assert (pair.first.scales, pair.second.scales) == ((1,), scales)
        assert pair.difference.estimate > 0


def test_a_larger_encoder_is_asked_about_within_one_known_family_only(tmp_path):
    for backbone in (SMALL, LARGE):
        change_run(write_run(tmp_path, outcomes(0.5, 0), backbone), family=None)
    (pair,) = compare(tmp_path)
    assert (pair.kind, pair.differs) == ("several", (f"backbone {LARGE} against {SMALL}",))


def test_any_two_variants_can_be_compared_and_what_differs_is_named(tmp_path):
    for seed in range(3):
        write_run(tmp_path, outcomes(0.2, seed), seed=seed)
        settings = {"train": {"epochs": 30}}
        write_run(tmp_path, outcomes(0.9, 9 + seed), SMALL, (1, 2), seed=seed, settings=settings)
    variants = [variant for group in group_runs(load_runs(tmp_path)) for variant in group.variants]
    first, second = sorted(variants, key=lambda variant: len(variant.scales))
    pair = compare_pair(first, second, ONCE)
    assert pair is not None
    assert pair.kind == "several"
    assert pair.differs == ("scales (1, 2) against (1)", "train.epochs 30 against 60")
    assert adjusted([[pair]])[0][0].verdict == "better"


def test_seeds_of_one_variant_differ_in_nothing(tmp_path):
    for seed in range(6):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
    (variant,) = only_group(tmp_path).variants
    halves = (VariantResults("a", variant.runs[:3]), VariantResults("b", variant.runs[3:]))
    pair = compare_pair(*halves, ONCE)
    assert pair is not None
    assert (pair.kind, pair.differs) == ("nothing", ())


def test_pairs_to_ask_about_differ_in_one_setting(tmp_path):
    for scales in ((1,), (1, 2)):
        write_run(tmp_path, outcomes(0.5, 0), SMALL, scales)
        write_run(tmp_path, outcomes(0.5, 0), OTHER, scales)
    write_run(tmp_path, outcomes(0.5, 0), "none")
    found = questions(group_runs(load_runs(tmp_path)))
    assert {(first.label, second.label, kind) for first, second, kind in found} == {
        (f"{name} (1)", f"{name} (1, 2)", "scales") for name in (SMALL, OTHER)
    }


def test_two_variants_alone_are_a_pair_whatever_differs(tmp_path):
    write_run(tmp_path, outcomes(0.5, 0), "none")
    write_run(tmp_path, outcomes(0.5, 0), SMALL, (1, 2))
    [(first, second, kind)] = questions(group_runs(load_runs(tmp_path)))
    assert {first.is_baseline, second.is_baseline} == {True, False}
    assert kind == "several"
