"""Recipes of pre-training: checks, learning rate, processes."""

from __future__ import annotations

import dataclasses

import pytest
from hydra import compose, initialize_config_module

from s2robot.pretraining.config import PretrainConfig, learning_rate
from s2robot.utils.config import from_config
from s2robot.utils.distributed import count_processes


def test_learning_rate_rises_and_falls_by_a_cosine():
    config = PretrainConfig(views=1000, batch_size=1, warmup=0.1, lr=1.0)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"compile": "maybe"}, "unknown compile"),
        ({"source": ()}, "source is empty"),
        ({"frame_size": 64}, "below the model's img_size 128"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"segments_weight": 1.0, "source": ("photos",)}, "only 'rendered' frames have"),
    ],
)
def test_wrong_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**settings)


def test_as_many_processes_as_share_the_batch_evenly():
    assert count_processes(3, "cpu", 12) == 3
    assert count_processes(0, "cpu", 1) == 1
    with pytest.raises(ValueError, match="batch_size 10 is not a multiple of processes 3"):
        count_processes(3, "cpu", 10)


@pytest.mark.parametrize("recipe, width", [("vitt", 192), ("vits", 384), ("vitb", 768)])
def test_the_ladder_differs_in_size_and_learning_rate_only(recipe, width):
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        config = from_config(PretrainConfig, compose("pretrain", overrides=[f"recipe={recipe}"]))
    assert config.model.embed_dim == width
    same = dataclasses.replace(
        config, name="", lr=1.0, model=dataclasses.replace(config.model, embed_dim=192, num_heads=3)
    )
    assert same == PretrainConfig(name="", lr=1.0)
