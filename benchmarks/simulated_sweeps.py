"""Simulated sweeps with clustered seeds, heads and initial states, and tests of many at once.

An outcome is a success where the sum of normal effects of initial state, variant x initial state,
seed, head and episode exceeds a threshold; so a variant's true rate is known exactly, and a seed's
true rate has the given standard deviation at a rate of 50 % and a smaller one near 0 and 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from s2robot.stats.difference_model import DifferenceModel, difference_model
from s2robot.stats.paired_tests import holm, paired_difference

ALPHA = 0.05
CONDITION_CORRELATION = 0.3
"""Of the outcomes of two policies of one variant in one initial state."""
CHUNK = 2_000_000
"""Most entries of a table at once."""


@dataclass(frozen=True)
class Design:
    """A sweep: sizes, and standard deviations at a rate of 50 %; defaults as measured."""

    seeds: int = 3
    conditions: int = 64
    layout: str = "crossed"
    seed_sd: float = 0.07
    head_sd: float = 0.08
    interaction_sd: float = 0.1


def draw(
    rng: np.random.Generator, design: Design, rates: tuple[float, ...], sweeps: int
) -> Iterator[list[np.ndarray]]:
    """Yield outcomes of each variant, (some of the sweeps, seeds, conditions) booleans."""
    shared = 1 if design.layout == "crossed" else design.seeds
    columns = design.conditions * shared
    most = max(1, CHUNK // (columns * design.seeds))
    interaction = latent(design.interaction_sd)
    condition = max(0.0, latent(math.sqrt(CONDITION_CORRELATION / 4)) - interaction)
    seed, head = latent(design.seed_sd), latent(design.head_sd)
    episode = 1 - interaction - condition - seed - head
    for start in range(0, sweeps, most):
        size = min(most, sweeps - start)

        def effect(variance: float, *shape: int, size: int = size) -> np.ndarray:
            return math.sqrt(variance) * rng.standard_normal((size, *shape), dtype=np.float32)

        common = effect(condition, shared, design.conditions)
        yield [
            common
            + effect(interaction, shared, design.conditions)
            + effect(seed, design.seeds, 1)
            + effect(head, design.seeds, 1)
            + effect(episode, design.seeds, design.conditions)
            > -special.ndtri(rate)
            for rate in rates
        ]


def latent(sd: float) -> float:
    """Variance of a normal effect that gives true rates the standard deviation sd at 50 %."""
    return math.sin(2 * math.pi * sd**2)


def table(outcomes: np.ndarray, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes as the clustered model takes them: values (sweeps, S, C), present (S, C)."""
    sweeps, seeds, conditions = outcomes.shape
    if layout == "crossed":
        return outcomes.astype(float), np.ones((seeds, conditions), bool)
    own = np.eye(seeds, dtype=bool)[:, :, None]
    values = (outcomes[:, :, None, :] & own).reshape(sweeps, seeds, -1)
    return values.astype(float), np.repeat(np.eye(seeds, dtype=bool), conditions, axis=1)


def clustered(first: np.ndarray, second: np.ndarray, layout: str) -> DifferenceModel:
    """The model of `second` minus `first` in each of the sweeps."""
    return difference_model(*table(first, layout), *table(second, layout))


def t_covers(model: DifferenceModel, difference: float, seeds: int) -> tuple[np.ndarray, ...]:
    """Whether symmetric t limits cover: with the model's degrees of freedom, and with Welch's.

    `seeds` is the smaller number of the two variants.
    """
    welch = np.maximum(model.dof, model.dof**2 / (seeds - 1))
    distance = np.abs(model.estimate - difference)
    return tuple(
        distance <= special.stdtrit(dof, 1 - ALPHA / 2) * model.standard_error
        for dof in (model.dof, welch)
    )


def pooled_mcnemar(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Exact p-values over the episodes of all seeds, (sweeps,)."""
    only_first, only_second = ((a & ~b).sum((1, 2)) for a, b in ((first, second), (second, first)))
    discordant = only_first + only_second
    return np.minimum(1, 2 * special.bdtr(np.minimum(only_first, only_second), discordant, 0.5))


def old_shown(outcomes: list[np.ndarray]) -> np.ndarray:
    """Which pairs the old procedure calls different: (sweeps, pairs)."""
    pairs = list(itertools.combinations(outcomes, 2))
    p_values = np.stack([pooled_mcnemar(*pair) for pair in pairs], axis=1)
    shown = np.array([holm(row) for row in p_values]) < ALPHA
    for sweep, pair in np.argwhere(shown):
        first, second = (variant[sweep] for variant in pairs[pair])
        shown[sweep, pair] = paired_difference(first, second).excludes_zero()
    return shown


def wilson_covers(outcomes: np.ndarray, rate: float) -> np.ndarray:
    """Whether the interval of the pooled rate covers the true one (the score test's inverse)."""
    episodes = outcomes[0].size
    distance = np.abs(outcomes.mean((1, 2)) - rate)
    return distance <= special.ndtri(1 - ALPHA / 2) * math.sqrt(rate * (1 - rate) / episodes)
