"""Comparisons of variants from one clustered model: difference, interval, tests, verdict."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.experiments.sequential_results import SequentialTest
from s2robot.reporting import MARGIN
from s2robot.reporting.run_results import (
    ComparisonGroup,
    RunResult,
    VariantResults,
    outcomes,
    state_of,
)
from s2robot.reporting.setting_differences import changes, latency_changes, words
from s2robot.stats.clustered import (
    ClusteredDifference,
    Outcomes,
    VarianceComponents,
    clustered_difference,
    equivalence_p,
    variance_components,
)
from s2robot.stats.paired_tests import McNemar, holm, mcnemar
from s2robot.stats.power import LEAST_SEEDS

ALPHA = 0.05
"""Level of significance."""
SAME_SIZE = 1.1
"""Encoders whose numbers of parameters differ by less than this factor have the same size."""


@dataclass(frozen=True)
class Comparison:
    """Two variants on the initial states that both have.

    Every number and every word, here and in tables, pages and files, is of "second against first":
    second minus first. So a positive difference means that the second is better.
    """

    first: VariantResults
    second: VariantResults
    kind: str
    """The one setting that differs: a key of ``COMPARISON_KINDS``, or the name of another setting;
    "several" for more than one, "nothing" for none."""
    differs: tuple[str, ...]
    """A line for each setting that differs, "second against first"."""
    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    """Training seeds of the first and of the second variant."""
    initial_states: int
    """Number of initial states that both variants have."""
    states_per_seed: int
    """Number of these that a training seed has, in the median; fewer if seeds have their own."""
    unshared: tuple[int, int]
    """Numbers of initial states of the first and of the second variant that the other lacks."""
    difference: ClusteredDifference
    """Difference of the success rates with its 95 % interval and p-value."""
    equivalence_p: float
    """p-value of "the rates are at least ``margin`` apart"."""
    margin: float
    """Difference that is too small to matter."""
    components: VarianceComponents | None
    """Measured standard deviations; None if neither variant has two seeds."""
    single_policies: tuple[tuple[int, McNemar], ...]
    """Exact tests of the two policies of one training seed each, for seeds that both have."""
    adjusted_p: float = 1.0
    """p-value of the difference, Holm-adjusted over all comparisons of the report."""
    adjusted_equivalence_p: float = 1.0
    """p-value of equivalence, Holm-adjusted over all comparisons of the report."""
    family: int = 1
    """Number of those comparisons."""
    sequential: SequentialTest | None = None
    """Test of a sequential sweep, which decides in place of the tests above; they are for a number
    of seeds that was fixed before."""

    @property
    def decidable(self) -> bool:
        """True if both variants have enough training seeds for a verdict."""
        return min(map(len, self.seeds)) >= LEAST_SEEDS

    @property
    def shown(self) -> bool:
        """True if a difference is shown."""
        if self.sequential:
            return self.sequential.verdict in ("better", "worse")
        return self.decidable and self.adjusted_p < ALPHA

    @property
    def close(self) -> bool:
        """True if it is shown that the success rates are less than the margin apart."""
        if self.sequential:
            return self.sequential.adjusted_equivalence_p < self.sequential.alpha
        return self.decidable and self.adjusted_equivalence_p < ALPHA

    @property
    def verdict(self) -> str:
        """One of ``VERDICTS``, on the second variant."""
        if self.sequential:
            return self.sequential.verdict
        if self.shown:
            return "better" if self.difference.estimate > 0 else "worse"
        return "equivalent" if self.close else "not shown"

    @property
    def limits(self) -> tuple[float, float, float]:
        """The difference and its limits, from the test that decides."""
        found = self.sequential
        if found and found.planned:
            return found.difference, found.low, found.high
        return self.difference.estimate, self.difference.low, self.difference.high

    @property
    def confidence(self) -> float:
        """Level of ``limits``."""
        return 1 - (self.sequential.alpha if self.sequential else ALPHA)

    @property
    def p_values(self) -> tuple[float, float, float]:
        """p-value, adjusted one and adjusted one of equivalence, from the test that decides."""
        found = self.sequential
        if found:
            return found.p_value, found.adjusted_p, found.adjusted_equivalence_p
        return self.difference.p_value, self.adjusted_p, self.adjusted_equivalence_p


def compare_groups(
    groups: Sequence[ComparisonGroup], metric: str, margin: float = MARGIN
) -> list[list[Comparison]]:
    """Compare every pair of encoders within each group.

    Args:
        groups: the variants that may be compared with each other; baselines are left out.
        metric: one of ``METRICS``.
        margin: difference of success rates that is too small to matter.

    Returns:
        The comparisons of each group, without those pairs that have no finished run or no initial
        state in common. p-values are Holm-adjusted over all groups.

    Examples:
        >>> from pathlib import Path
        >>> from s2robot.reporting.run_results import RunResult
        >>> def run(scales, successes, seed):
        ...     settings = {"encoder": {"backbone": "vit", "scales": scales}}
        ...     info = {"seed": seed, "settings": settings, "conditions": {"n": 40}}
        ...     rows = [{"condition": str(i), "success_once": i < successes} for i in range(40)]
        ...     return RunResult(Path(), info, tuple(rows), {})
        >>> one = VariantResults("(1)", tuple(run([1], 9 + seed, seed) for seed in range(3)))
        >>> two = VariantResults("(1, 2)", tuple(run([1, 2], 30 + seed, seed) for seed in range(3)))
        >>> [[pair]] = compare_groups([ComparisonGroup("easy", "mlp", (one, two))], "success_once")
        >>> pair.kind, pair.differs, round(pair.difference.estimate, 3), pair.verdict
        ('scales', ('scales (1, 2) against (1)',), 0.525, 'better')
    """
    return adjusted([_compare_variants(group, metric, margin) for group in groups])


def adjusted(families: Iterable[Sequence[Comparison]]) -> list[list[Comparison]]:
    """Return the same comparisons with p-values that are Holm-adjusted over all of them.

    Differences and equivalences are two families.
    """
    listed = [list(pairs) for pairs in families]
    flat = [pair for pairs in listed for pair in pairs]
    of_difference = iter(holm([pair.difference.p_value for pair in flat]))
    of_equivalence = iter(holm([pair.equivalence_p for pair in flat]))
    return [
        [
            dataclasses.replace(
                pair,
                adjusted_p=next(of_difference),
                adjusted_equivalence_p=next(of_equivalence),
                family=len(flat),
            )
            for pair in pairs
        ]
        for pairs in listed
    ]


def _compare_variants(group: ComparisonGroup, metric: str, margin: float) -> list[Comparison]:
    pairs = [_asked(*pair) for pair in itertools.combinations(group.encoders, 2)]
    found = [compare_pair(low, high, metric, margin=margin) for low, high, _ in pairs]
    return [pair for pair in found if pair is not None]


def questions(
    groups: Sequence[ComparisonGroup],
) -> list[tuple[VariantResults, VariantResults, str]]:
    """Return the pairs of encoders that differ in one setting, and that setting.

    Two variants in all are a pair whatever differs between them. The second variant of a pair is
    the one that the question asks about.

    Args:
        groups: variants, which need no episodes yet.
    """
    variants = {variant.key: variant for group in groups for variant in group.variants}
    if len(variants) == 2:
        return [_asked(*variants.values())]
    pairs = [
        _asked(*pair) for group in groups for pair in itertools.combinations(group.encoders, 2)
    ]
    return [pair for pair in pairs if pair[2] not in ("several", "nothing")]


def _asked(
    first: VariantResults, second: VariantResults
) -> tuple[VariantResults, VariantResults, str]:
    """Return two variants in the order of the question that they answer, and its name."""
    kind = classify(first, second)
    low, high = sorted((first, second), key=lambda variant: _rank(variant, kind))
    return low, high, kind


def compare_pair(
    first: VariantResults,
    second: VariantResults,
    metric: str,
    *,
    margin: float = MARGIN,
    kind: str | None = None,
    name: Callable[[RunResult, Mapping[str, Any]], str] = state_of,
) -> Comparison | None:
    """Return the comparison of two variants, not yet adjusted for others.

    Unfinished runs are left out, and so are initial states that only one of the variants has.

    Args:
        first: the variant that is subtracted.
        second: the variant that it is subtracted from.
        metric: one of ``METRICS``.
        margin: difference of success rates that is too small to matter.
        kind: replaces the name of the setting that differs.
        name: run and row to the name by which rows of the variants are paired.

    Returns:
        None if the variants have no finished run or no initial state in common.
    """
    if not first.finished or not second.finished:
        return None
    a, b = (outcomes(variant.finished, metric, name) for variant in (first, second))
    shared = np.intersect1d(a.condition, b.condition)
    if not shared.size:
        return None
    difference = clustered_difference(a, b)
    return Comparison(
        first=first,
        second=second,
        kind=kind or classify(first, second),
        differs=tuple(words(_changes(second, first))),
        seeds=(_seeds_on(a, shared), _seeds_on(b, shared)),
        initial_states=shared.size,
        states_per_seed=_states_per_seed(shared, a, b),
        unshared=(len(a.conditions) - shared.size, len(b.conditions) - shared.size),
        difference=difference,
        equivalence_p=equivalence_p(difference, margin),
        margin=margin,
        components=variance_components(a, b) if max(difference.seeds) > 1 else None,
        single_policies=tuple(_single_policies(a, b)),
    )


def _seeds_on(found: Outcomes, states: np.ndarray) -> tuple[int, ...]:
    """Return the training seeds that have one of the initial states."""
    return tuple(np.unique(found.seed[np.isin(found.condition, states)]).tolist())


def _states_per_seed(states: np.ndarray, *variants: Outcomes) -> int:
    """Return the median number of the given initial states that a training seed has."""
    counts = [
        np.unique(found.seed[np.isin(found.condition, states)], return_counts=True)[1]
        for found in variants
    ]
    return int(np.median(np.concatenate(counts)))


def _single_policies(first: Outcomes, second: Outcomes) -> Iterable[tuple[int, McNemar]]:
    """Yield a test for each training seed of both variants, on the initial states of both."""
    for seed in sorted(set(first.seeds) & set(second.seeds)):
        tables = []
        for found in (first, second):
            own = found.seed == seed
            tables.append(dict(zip(found.condition[own], found.success[own], strict=True)))
        states = sorted(tables[0].keys() & tables[1].keys())
        if states:
            yield seed, mcnemar(*([table[state] for state in states] for table in tables))  # pyright: ignore[reportArgumentType]


def _changes(first: VariantResults, second: VariantResults) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, the latency of real time among them."""
    given = (first.settings, second.settings)
    return changes(*given) | latency_changes(*given)


def classify(first: VariantResults, second: VariantResults) -> str:
    """Return the one setting in which two variants differ.

    "size" and "size_or_scales" are asked within one family of backbones only.

    Args:
        first: a variant.
        second: another variant; the order does not matter.

    Returns:
        A key of ``COMPARISON_KINDS`` or the name of another setting; "several" for more than one
        setting, and for another backbone, which stands for several; "nothing" for none. Precision
        is a setting where nothing else differs: dtype "auto" chooses it for each encoder.
    """
    changed = set(changes(first.settings, second.settings) or _changes(first, second))
    if len(changed) > 1:
        changed.discard("dtype")
    if min(len(first.scales), len(second.scales)) <= 1:
        changed.discard("input_mode")  # one scale has no larger one to read pixels for
    if len(changed) <= 1 and changed != {"backbone"}:
        name = changed.pop() if changed else "nothing"
        return "input" if name == "input_mode" else name
    if changed == {"scales", "copies"} and _width(first) == _width(second):
        return "equal_width"
    if first.is_random != second.is_random:
        return "weights" if changed == {"backbone"} and _same_size(first, second) else "several"
    if _same_size(first, second) or not first.family or first.family != second.family:
        return "several"
    if changed == {"backbone"}:
        return "size"
    small, large = sorted((first, second), key=lambda variant: variant.parameters)
    traded = changed == {"backbone", "scales"} and len(small.scales) > len(large.scales)
    return "size_or_scales" if traded else "several"


def _rank(variant: VariantResults, kind: str) -> float:
    """Return a number that is higher for the variant that the question asks about."""
    ranks = {
        "scales": len(variant.scales),
        "equal_width": len(variant.scales),
        "size": variant.parameters,
        "size_or_scales": variant.parameters,
        "input": variant.input_mode == "native",
        "weights": not variant.is_random,
    }
    return float(ranks.get(kind, 0))


def _width(variant: VariantResults) -> int:
    """Return how many times the backbone's channels an embedding of joined scales has."""
    encoder = variant.settings.get("encoder", {})
    return len(variant.scales) * int(encoder.get("copies", 1))


def _same_size(first: VariantResults, second: VariantResults) -> bool:
    small, large = sorted((first.parameters, second.parameters))
    return large <= SAME_SIZE * small
