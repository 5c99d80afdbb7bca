from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.damage import mutations
from support.policy_data import make_data

from s2robot.errors import DivergedError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.hyperparameter_search import (
    GRIPPER_WEIGHT,
    HyperparameterChoice,
    SearchConfig,
    _settings,
    _Trial,
    search_hyperparameters,
    search_many,
)
from s2robot.training.many_seeds import DivergedSeedsError
from s2robot.training.trainer import TrainConfig

POLICY = PolicyConfig(hidden=(8, 8), keypoint_features=1)
TRAIN = TrainConfig(batch_size=16)
SEARCH = SearchConfig(trials=4, epochs=2, lrs=(1e-3, 1e-2), keypoints=(2, 3), hidden=(4, 8))


NO_ERRORS = {"motion_error": None, "gripper_error": None}


def search(data: TrajectoryData, config: SearchConfig = SEARCH, **options) -> HyperparameterChoice:
    return search_hyperparameters(data, POLICY, TRAIN, config, device="cpu", **options)


def test_every_variant_has_the_same_budget() -> None:
    choices = [search(make_data(shape)) for shape in ((4, 4, 6), (5,), (0,))]
    assert [len(choice.trials) for choice in choices] == [4, 4, 4]
    assert [set(choice.trials[0]["settings"]) for choice in choices] == [
        {"lr", "softmax_scale", "keypoints"},
        {"lr", "vector_width", "hidden"},
        {"lr", "hidden"},
    ]
    for choice in choices:  # no setting is tried twice
        assert len({trial["score"] for trial in choice.trials}) == 4


@pytest.mark.parametrize("shape", [(4, 4, 6), (5,), (0,)])
def test_a_balanced_order_tries_each_learning_rate_equally_often(shape: tuple[int, ...]) -> None:
    """In a random order three trials can all have the same one; seed 3's have on a grid."""
    config = dataclasses.replace(SEARCH, lrs=(1e-3, 3e-3, 1e-2))
    policy = POLICY
    data = make_data(shape)
    orders = {}
    for order in ("random", "balanced"):
        for seed in range(20):
            whole = dataclasses.replace(config, trials=12, order=order)
            orders[order, seed] = _settings(data, policy, whole, seed)
    rates = [[each["lr"] for each in orders["balanced", seed]] for seed in range(20)]
    for found in rates:
        assert [sorted(found[i : i + 3]) for i in (0, 3, 6)] == [[1e-3, 3e-3, 1e-2]] * 3
    assert len({tuple(found[:3]) for found in rates}) == 6
    random = [{each["lr"] for each in orders["random", seed][:3]} for seed in range(20)]
    assert min(map(len, random)) < 3
    if shape != (0,):  # nothing is tried twice before everything was
        for found in orders.values():
            assert len({str(each) for each in found}) == 12


def test_the_settings_of_earlier_runs_are_as_they_were() -> None:
    earlier = dataclasses.replace(SEARCH, order="random").recipe()
    assert "order" not in earlier
    assert len(earlier) == len(dataclasses.fields(SEARCH)) - 1
    assert SEARCH.recipe()["order"] == "balanced"
    with pytest.raises(ValueError, match="unknown order 'sorted'"):
        dataclasses.replace(SEARCH, order="sorted")


@pytest.mark.parametrize("kind", ["transformer", "act"])
def test_widths_are_not_tried_for_kinds_without_hidden_layers(kind: str) -> None:
    policy = PolicyConfig(
        kind=kind, context=2, transformer_width=8, transformer_layers=1, transformer_heads=2
    )
    choice = search_hyperparameters(make_data((5,)), policy, TRAIN, SEARCH, device="cpu")
    assert {tuple(trial["settings"]) for trial in choice.trials} == {("lr", "vector_width")}
    assert choice.policy_config.hidden == policy.hidden
    assert not policy.has_hidden_layers


def test_the_lowest_score_is_chosen() -> None:
    choice = search(make_data())
    best = min(choice.trials, key=lambda trial: trial["score"])
    assert choice.score == best["score"]
    assert choice.lr == best["settings"]["lr"]
    assert choice.policy_config.keypoints == best["settings"]["keypoints"]
    assert choice.policy_config.hidden == POLICY.hidden
    assert best["score"] == best["motion_error"] + GRIPPER_WEIGHT * best["gripper_error"]
    json.dumps(choice.to_dict())


def test_damaged_trials_are_tried_again(tmp_path: Path) -> None:
    data, path, config = (
        make_data((5,)),
        tmp_path / "trials.jsonl",
        dataclasses.replace(SEARCH, trials=1),
    )
    whole = search(data, config, cache_path=path)
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    for damage, content in mutations(row):
        if not isinstance(content, dict):
            continue
        path.write_text(json.dumps(content) + "\n")
        again = search(data, config, cache_path=path)
        assert dataclasses.replace(again, trials=whole.trials) == whole, damage


def test_hidden_widths_are_set_together() -> None:
    config = dataclasses.replace(SEARCH, trials=1, hidden=(6,))
    assert search(make_data((5,)), config).policy_config.hidden == (6, 6)


def test_seeds_are_averaged() -> None:
    config = dataclasses.replace(SEARCH, trials=1)
    alone = [
        search_hyperparameters(make_data(), POLICY, TRAIN, config, seed=seed) for seed in (7, 7)
    ]
    both = search(make_data(), dataclasses.replace(config, seeds=2), seed=7)
    assert alone[0] == alone[1]
    assert both.trials[0]["settings"] == alone[0].trials[0]["settings"]
    assert both.score != alone[0].score


def test_killed_search_resumes_from_its_trials(tmp_path: Path) -> None:
    cache = tmp_path / "trials.jsonl"
    whole = search(make_data(), cache_path=cache)
    lines = cache.read_bytes().splitlines(keepends=True)
    cache.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while writing the third
    assert search(make_data(), cache_path=cache) == whole
    assert cache.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deciding_versions", lambda: {"torch": "0"}),
        ("resolve_device", lambda _: torch.device("cuda")),
    ],
)
def test_trials_of_other_versions_or_another_device_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    cache = tmp_path / "trials.jsonl"
    whole = search(make_data(), cache_path=cache)
    with monkeypatch.context() as patched:
        patched.setattr(f"s2robot.training.hyperparameter_search.{name}", value)
        assert search(make_data(), cache_path=cache) == whole
        lines = cache.read_text().splitlines()
        assert len(lines) == 2 * SEARCH.trials
        assert search(make_data(), cache_path=cache) == whole
    assert search(make_data(), cache_path=cache) == whole
    assert cache.read_text().splitlines() == lines  # those of both are found again


def test_trials_of_earlier_versions_of_the_file_are_tried_again(tmp_path: Path) -> None:
    cache = tmp_path / "trials.jsonl"
    whole = search(make_data(), cache_path=cache)
    rows = [json.loads(line) for line in cache.read_text().splitlines()]
    old = [{k: v for k, v in row.items() if k != "made_with"} for row in rows]
    cache.write_text("".join(json.dumps({**row, "score": None, **NO_ERRORS}) + "\n" for row in old))
    assert search(make_data(), cache_path=cache) == whole


def test_other_data_does_not_reuse_trials(tmp_path: Path) -> None:
    cache = tmp_path / "trials.jsonl"
    first = search(make_data(), cache_path=cache)
    second = search(make_data(seed=1), cache_path=cache)
    assert {trial["key"] for trial in first.trials}.isdisjoint(t["key"] for t in second.trials)


def test_diverged_trials_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(SEARCH, lrs=(1e-3, 1e36))
    train = dataclasses.replace(TRAIN, warmup=0.0, grad_clip=0.0)
    choice = search_hyperparameters(make_data(), POLICY, train, config, device="cpu")
    assert choice.lr == 1e-3
    assert any(trial["score"] is None for trial in choice.trials)
    with pytest.raises(DivergedError, match="all 4 trials"):
        search_hyperparameters(
            make_data(), POLICY, train, dataclasses.replace(config, lrs=(1e36,)), device="cpu"
        )


def test_held_out_episodes_are_needed() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="held-out"):
        search(dataclasses.replace(make_data(), valid_episodes=none))


def test_searches_of_many_seeds_are_those_of_each(tmp_path: Path) -> None:
    seeds = [0, 1, 4]
    paths = {seed: tmp_path / f"{seed}.jsonl" for seed in seeds}
    found = search_many(make_data(), POLICY, TRAIN, SEARCH, seeds, paths, device="cpu")
    for seed in seeds:
        alone = search(make_data(), seed=seed)
        assert found[seed].policy_config == alone.policy_config
        assert found[seed].score == pytest.approx(alone.score, rel=1e-4)
        keys = [[trial["key"] for trial in choice.trials] for choice in (found[seed], alone)]
        assert keys[0] == keys[1]
        assert search(make_data(), seed=seed, cache_path=paths[seed]) == found[seed]


def test_no_two_searches_train_with_the_same_seeds() -> None:
    rows: list[tuple[int, dict]] = []
    config = dataclasses.replace(SEARCH, lrs=(1e-3,), hidden=(4,))  # one setting, repeated
    search_many(
        make_data((0,)), POLICY, TRAIN, config, [0, 1], on_trial=lambda *row: rows.append(row)
    )
    assert [seed for seed, _ in rows] == [0] * 4 + [1] * 4
    assert len({row["score"] for _, row in rows}) == 8


def test_a_search_without_a_finished_trial_is_named_and_the_others_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails_for_some(self: _Trial, data: TrajectoryData, results: Any) -> dict:
        broken = self.runs[0].seed in unlucky
        return healthy(self, data, [] if broken else results)

    healthy = _Trial.record
    plan = [_Trial.plan(POLICY, TRAIN, SEARCH, {"lr": 1e-3}, 1, number) for number in range(4)]
    unlucky = {trial.runs[0].seed for trial in plan}
    monkeypatch.setattr(_Trial, "record", fails_for_some)
    with pytest.raises(DivergedSeedsError, match="all 4 trials of seed 1's") as caught:
        search_many(make_data(), POLICY, TRAIN, SEARCH, [0, 1, 2], device="cpu")
    assert list(caught.value.errors) == [1]
    assert sorted(caught.value.results) == [0, 2]


@pytest.mark.parametrize("value", [2.5, 2.0, True])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((SearchConfig, name) for name in ("trials", "epochs", "seeds")),
        *((TrainConfig, name) for name in ("epochs", "batch_size", "checkpoint_every", "seed")),
    ],
)
def test_counts_and_seeds_are_whole_numbers(kind: type, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; allowed: an integer"):
        kind(**{name: value})
