"""Families of encoders that were pre-trained alike."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module

from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.export import family_of
from s2robot.utils.config import from_config


def config_of(*overrides: str) -> PretrainConfig:
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        return from_config(PretrainConfig, compose("pretrain", overrides=list(overrides)))


def test_recipes_of_all_sizes_are_one_family():
    families = {family_of(config_of(f"recipe={size}")) for size in ("vitt", "vits", "vitb", "vitl")}
    assert len(families) == 1
    assert family_of(config_of("name=another", "out=elsewhere", "device=cpu")) in families


@pytest.mark.parametrize("change", ["views=2048", "seed=1", "source=[photos]", "mask_ratio=0.5"])
def test_another_recipe_or_other_data_is_another_family(change):
    assert family_of(config_of(change)) != family_of(config_of())
