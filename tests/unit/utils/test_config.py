"""Settings: every YAML file builds its dataclass, and a wrong one is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from s2robot.cli.hydra_commands import _EVAL_KEYS, _nested
from s2robot.data.collection import CollectConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.variant import VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.pretraining.config import PretrainConfig
from s2robot.training.hyperparameter_search import SearchConfig
from s2robot.utils.config import from_config


def composed(name: str, *overrides: str):
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        return compose(name, overrides=list(overrides))


def cell_job(*overrides: str) -> RunJob:
    plain = _nested(composed("sweep", *overrides))
    rest = {name: plain.pop(name) for name in _EVAL_KEYS}
    return from_config(RunJob, {"train": plain, **rest})


@pytest.mark.parametrize(
    "name, cls",
    [("collect", CollectConfig), ("features", VariantConfig), ("pretrain", PretrainConfig)],
)
def test_yaml_defaults_are_the_dataclass_defaults(name, cls):
    assert from_config(cls, composed(name)) == cls()


def test_train_and_sweep_build_the_same_job():
    assert from_config(TrainJob, _nested(composed("train"))) == cell_job().train


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
        ({"sampling": {"scales": [0.5], "weights": [1.0]}}, "scales must be at least 1"),
    ],
)
def test_wrong_settings_are_named(content, message):
    with pytest.raises(ValueError, match=message):
        from_config(PretrainConfig, content)
