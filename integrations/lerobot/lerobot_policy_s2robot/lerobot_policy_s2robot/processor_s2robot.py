"""LeRobot's processors for the policy: measurements and actions are normalized here."""

from __future__ import annotations

import copy
from typing import Any

import torch
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.factory import make_default_pre_post_processors

from lerobot_policy_s2robot.configuration_s2robot import S2robotConfig
from s2robot.policies.pooling import SMALLEST_MEASURED_STD

_QUANTILES = (("q01", "q99"), ("q10", "q90"))
_NARROW = 1e-3
"""Quantiles closer than this share of the range from minimum to maximum are no range."""


def make_s2robot_pre_post_processors(
    config: S2robotConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """Return LeRobot's default processors with s2robot's rules of normalization.

    Measurements have zero mean and unit variance, actions lie in -1 to 1. A measurement that hardly
    varies (std below 5e-4) is centered and not scaled, and so is an action that does not vary. With
    quantiles in ``normalization_mapping``, minimum and maximum stand in where the quantiles have no
    range, as those of a goal, which LeRobot averages over episodes.

    A policy of `s2robot train` normalizes itself; its processors leave numbers as they are.

    Args:
        config: settings of the policy.
        dataset_stats: of the training data; None leaves numbers as they are.
    """
    stats = (
        None if config.is_converted or dataset_stats is None else _steadied(config, dataset_stats)
    )
    return make_default_pre_post_processors(config, stats)


def _steadied(
    config: S2robotConfig, stats: dict[str, dict[str, Any]]
) -> dict[str, dict[str, torch.Tensor]]:
    """Return statistics of the policy's inputs and outputs without ranges that are only noise."""
    keys = [*(config.input_features or {}), *(config.output_features or {})]
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key in (key for key in keys if key in stats):
        own = {name: torch.as_tensor(copy.copy(value)) for name, value in stats[key].items()}
        if {"std", "mean"} <= own.keys():
            steady = own["std"] <= SMALLEST_MEASURED_STD
            own["std"] = torch.where(steady, torch.ones_like(own["std"]), own["std"])
        if {"min", "max"} <= own.keys():
            fixed = own["min"] == own["max"]
            own["min"] = torch.where(fixed, own["min"] - 1, own["min"])
            own["max"] = torch.where(fixed, own["max"] + 1, own["max"])
            for low, high in (pair for pair in _QUANTILES if set(pair) <= own.keys()):
                narrow = own[high] - own[low] <= _NARROW * (own["max"] - own["min"])
                own[low] = torch.where(narrow, own["min"], own[low]).to(own["min"].dtype)
                own[high] = torch.where(narrow, own["max"], own[high]).to(own["max"].dtype)
        found[key] = own
    return found
