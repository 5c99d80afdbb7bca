"""Seeds and initial states that a difference needs, from measured variance components."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.stats.clustered import VarianceComponents
from s2robot.stats.power import LEAST_SEEDS, Layout, seeds_needed, smallest_difference
from s2robot.stats.sequential import e_values

SEEDS = (3, 4, 6, 8, 12, 16, 24, 32)
STATES = (32, 64, 128, 256)
ENDLESS = 1_000_000
"""Number of initial states that stands for any number of them."""
SIMULATIONS = 1000
SIMULATION_SEED = 20_240_319


@dataclass(frozen=True)
class Measured:
    """Variance components and where they come from."""

    components: VarianceComponents
    source: str
    """Words for the user."""
    layout: Layout = "crossed"
    """Whether all seeds run on the same initial states, or each on its own."""
    seconds_per_episode: float | None = None
    """Of a rollout; None if nothing was timed."""


ASSUMED = Measured(
    VarianceComponents(seed_sd=0.084, interaction_sd=0.186, residual_sd=0.386),
    "assumed, as measured on precise with the encoder that ships and 6 seeds",
)
"""Where there are no runs to measure: (1) against (1, 2), ``benchmarks/results/controls.json``."""


@dataclass(frozen=True)
class Question:
    """A difference that is to be shown."""

    difference: float
    """Of two success rates, in (0, 1)."""
    wanted: float = 0.8
    """Power: the probability that it is shown."""
    alpha: float = 0.05
    """Level of significance."""
    comparisons: int = 1
    """Number of pairs that are tested together."""


@dataclass(frozen=True)
class Combination:
    """A number of seeds and of initial states of each variant."""

    seeds: int
    states: int

    @property
    def episodes(self) -> int:
        """Episodes of one variant."""
        return self.seeds * self.states


@dataclass(frozen=True)
class SequentialForecast:
    """Seeds that `s2robot decide` needs, simulated."""

    states: int
    """Number of initial states of each seed."""
    mean_seeds: float
    """Mean number of seeds until it is shown, or until the last seed."""
    most_seeds: int
    """Last seed of the simulation."""
    shown: float
    """Share of simulations in which the difference was shown by then."""
    likely_seeds: int | None
    """Number of seeds by which it is shown with the wanted power; None if the last are too few."""


def smallest_differences(question: Question, measured: Measured) -> list[list[float | None]]:
    """Return the smallest differences shown with the wanted power, ``SEEDS`` by ``STATES``.

    Args:
        question: its own difference is not used.
        measured: variance components.
    """
    options = _options(question, measured)
    return [[smallest_difference(seeds, states, **options) for states in STATES] for seeds in SEEDS]


def cheapest(question: Question, measured: Measured) -> Combination | None:
    """Return the combination with the fewest episodes, with one of ``STATES`` initial states.

    Args:
        question: what is to be shown.
        measured: variance components.

    Returns:
        None if no number of seeds is enough.
    """
    options = _options(question, measured)
    found = [(seeds_needed(question.difference, states, **options), states) for states in STATES]
    enough = [Combination(seeds, states) for seeds, states in found if seeds is not None]
    return min(enough, key=lambda each: (each.episodes, each.seeds), default=None)


def least_seeds(question: Question, measured: Measured) -> int | None:
    """Return the seeds without which no number of initial states shows the wanted difference.

    Args:
        question: what is to be shown.
        measured: variance components.
    """
    return seeds_needed(question.difference, ENDLESS, **_options(question, measured))


def _options(question: Question, measured: Measured) -> dict[str, Any]:
    return {
        "components": measured.components,
        "wanted": question.wanted,
        "alpha": question.alpha,
        "comparisons": question.comparisons,
        "layout": measured.layout,
    }


def forecast(
    question: Question, measured: Measured, states: int, most_seeds: int = 32
) -> SequentialForecast:
    """Simulate `s2robot decide` for the wanted difference, each time with the same draws.

    Each seed's difference is drawn from a normal distribution with the variance that two variants'
    seeds have, each on the same initial states of its own.

    Args:
        question: what is to be shown; every pair needs the level divided by their number.
        measured: variance components.
        states: number of initial states of each seed.
        most_seeds: last seed.
    """
    parts = measured.components
    one_episode = parts.interaction_sd**2 + parts.residual_sd**2
    spread = math.sqrt(2 * (parts.seed_sd**2 + one_episode / states))
    rng = np.random.default_rng(SIMULATION_SEED)
    drawn = rng.normal(question.difference, spread, (SIMULATIONS, most_seeds)).clip(-1, 1)
    evidence = np.array([e_values(row, states) for row in drawn])
    evidence[:, : LEAST_SEEDS - 1] = 0
    enough = evidence > question.comparisons / question.alpha
    shown = enough.any(axis=1)
    seeds = np.where(shown, enough.argmax(axis=1) + 1, most_seeds)
    share = np.array([(shown & (seeds <= count)).mean() for count in range(1, most_seeds + 1)])
    likely = int((share < question.wanted).sum()) + 1
    return SequentialForecast(
        states,
        float(seeds.mean()),
        most_seeds,
        float(share[-1]),
        likely if likely <= most_seeds else None,
    )
