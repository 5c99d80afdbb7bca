"""Settings: every YAML file builds its dataclass, and a wrong one is refused by name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from s2robot.cli.settings.jobs import run_job, train_command
from s2robot.data.collection import CollectConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.variant import VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.pretraining.config import PretrainConfig
from s2robot.training.hyperparameter_search import SearchConfig
from s2robot.utils.config import converted, from_config


def composed(name: str, *overrides: str):
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        return compose(name, overrides=list(overrides))


def cell_job(*overrides: str) -> RunJob:
    return run_job(composed("sweep", *overrides))


@pytest.mark.parametrize(
    "name, cls",
    [("collect", CollectConfig), ("features", VariantConfig), ("pretrain", PretrainConfig)],
)
def test_yaml_defaults_are_the_dataclass_defaults(name, cls):
    assert from_config(cls, composed(name)) == cls()


def test_train_and_sweep_build_the_same_job():
    trained = train_command(composed("train"))
    of_job = {each.name: getattr(trained, each.name) for each in dataclasses.fields(TrainJob)}
    assert TrainJob(**of_job) == cell_job().train
    assert trained.seeds == 1


def test_eval_builds_its_job():
    job = from_config(EvalJob, composed("eval", "checkpoint=p.safetensors"))
    assert job == EvalJob(checkpoint=Path("p.safetensors"))


@pytest.mark.parametrize("kind", ["mlp", "gmm", "rnn_gmm", "transformer"])
def test_policy_groups(kind):
    assert cell_job(f"policy={kind}").train.policy == PolicyConfig(kind=kind)
    assert cell_job(f"policy={kind}", "policy.keypoints=16").train.policy.keypoints == 16


def test_budgets():
    standard, quick, none = (cell_job(f"budget={b}").train for b in ("standard", "quick", "none"))
    assert standard == cell_job().train
    assert standard.search == SearchConfig()
    assert quick.search is not None
    assert quick.search.trials < SearchConfig().trials
    assert quick.train.epochs < standard.train.epochs
    assert none.search is None
    assert none.train == standard.train


def test_lists_become_tuples_of_floats():
    assert cell_job("scales=[1,2,3]").train.variant.scales == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"lrr": 1}, "lrr"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"sampling": {"scales": [0.5], "weights": [1.0]}}, "sampling.scales must be at least 1"),
        ({"sampling": 3}, "sampling is 3; allowed: settings below it"),
        ({"sampling": {"jiter": 0.1}}, "did you mean 'sampling.jitter'"),
        ({"views": float("nan")}, "views is nan; allowed: a whole number"),
        ({"views": 0.5}, "views is 0.5; allowed: a whole number"),
        ({"lr": "fast"}, "lr is 'fast'; allowed: a finite number"),
        ({"lr": float("inf")}, "lr is inf; allowed: a finite number"),
        ({"lr": True}, "lr is True; allowed: a finite number"),
        ({"seed": None}, "seed is null; allowed: a whole number"),
        ({"skip_unreadable": "no"}, "skip_unreadable is 'no'; allowed: true or false"),
        ({"source": {"a": 1}}, "source is {'a': 1}; allowed: a list of texts"),
        ({"name": 3}, "name is 3; allowed: a text"),
        ({"out": ""}, "out is ''; allowed: a path"),
        ({"out": "???"}, "out is missing; give it as out=VALUE"),
    ],
)
def test_wrong_settings_are_named(content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_config(PretrainConfig, content)


@pytest.mark.parametrize("value", [2, 2.0, [2], (2,), "2", "[2]", "(2)"])
def test_a_single_value_stands_for_a_list(value):
    assert from_config(VariantConfig, {"scales": value}).scales == (2.0,)


def test_a_whole_number_may_be_written_as_a_fraction():
    assert from_config(PretrainConfig, {"views": 1e6}).views == 1_000_000
    assert from_config(PretrainConfig, {"lr": 1}).lr == 1.0


def test_a_nested_dataclass_may_be_built_already():
    variant = VariantConfig(level="easy")
    assert from_config(TrainJob, {"variant": variant}).variant is variant


def test_a_missing_mandatory_setting_is_named():
    with pytest.raises(ValueError, match="checkpoint is missing; give it as checkpoint=VALUE"):
        from_config(EvalJob, {})


def test_pairs_and_unions_are_read():
    kind = int | tuple[int, int] | None
    assert converted(kind, None, "size") is None
    assert converted(kind, 3, "size") == 3
    assert converted(kind, [3, 4], "size") == (3, 4)
    with pytest.raises(ValueError, match="a whole number, or a pair, such as"):
        converted(kind, [3, 4, 5], "size")
    with pytest.raises(ValueError, match="a list of pairs, such as"):
        converted(tuple[tuple[int, int], ...], [1, 2], "tilings")
