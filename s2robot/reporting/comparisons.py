"""Paired comparisons of the variants of a sweep: differences, intervals and tests."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.stats.intervals import Interval
from s2robot.stats.paired_tests import McNemar, holm, mcnemar, paired_difference, pairs_needed

ALPHA = 0.05
"""Level of significance."""
SAME_SIZE = 1.1
"""Encoders whose numbers of parameters differ by less than this factor have the same size."""


@dataclass(frozen=True)
class Comparison:
    """Two variants on the same initial states; the difference is ``second`` minus ``first``."""

    first: VariantResults
    second: VariantResults
    kind: str
    """The one setting that differs: a key of ``COMPARISON_KINDS``; "several" for more than one."""
    seeds: tuple[int, ...]
    """Training seeds that both variants have finished."""
    initial_states: int
    """Number of initial states of each seed."""
    difference: Interval
    """Difference of the success rates with its 95 % interval."""
    per_seed: tuple[McNemar, ...]
    """One test for each of ``seeds``."""
    pooled: McNemar
    """The test over the episodes of all seeds."""
    adjusted_p: float = 1.0
    """p-value of ``pooled``, Holm-adjusted over all comparisons of the report."""
    family: int = 1
    """Number of those comparisons."""

    @property
    def distinguishable(self) -> bool:
        """True if the adjusted test is significant and the interval over seeds excludes zero."""
        return self.adjusted_p < ALPHA and self.difference.excludes_zero()

    @property
    def ordered(self) -> tuple[VariantResults, VariantResults]:
        """The two variants; the one with the higher success rate is second."""
        if self.difference.estimate >= 0:
            return self.first, self.second
        return self.second, self.first

    @property
    def gain(self) -> tuple[float, float, float]:
        """The difference and its limits in favor of the variant with the higher success rate."""
        difference = self.difference
        if difference.estimate >= 0:
            return difference.estimate, difference.low, difference.high
        return -difference.estimate, -difference.high, -difference.low

    @property
    def more_initial_states(self) -> int | None:
        """Number of further initial states that would show the observed difference.

        The number is per variant, for 80 % power at the level of significance of this family. It
        is None if there is no difference.
        """
        pairs = len(self.seeds) * self.initial_states
        discordant = (self.pooled.only_first + self.pooled.only_second) / pairs
        needed = pairs_needed(self.difference.estimate, discordant, alpha=ALPHA / self.family)
        if needed is None:
            return None
        return max(0, math.ceil(needed / len(self.seeds)) - self.initial_states)


def compare_groups(groups: Sequence[ComparisonGroup], metric: str) -> list[list[Comparison]]:
    """Compare every pair of encoders within each group.

    Args:
        groups: the variants that may be compared with each other; baselines are left out.
        metric: one of ``METRICS``.

    Returns:
        The comparisons of each group. p-values are Holm-adjusted over all groups.

    Examples:
        >>> from pathlib import Path
        >>> from s2robot.reporting.run_results import RunResult
        >>> def variant(scales, successes):
        ...     info = {"seed": 0, "encoder": {"backbone": "vit", "scales": scales}}
        ...     info["conditions"] = {"n": 8}
        ...     rows = tuple({"index": i, "success_once": i < successes} for i in range(8))
        ...     return VariantResults(f"vit {scales}", (RunResult(Path(), info, rows, {}),))
        >>> group = ComparisonGroup("easy", "mlp", (variant([1], 2), variant([1, 2], 8)))
        >>> [[pair]] = compare_groups([group], "success_once")
        >>> pair.kind, pair.difference.estimate, pair.pooled.only_second
        ('scales', 0.75, 6)
    """
    return adjusted([_compare_variants(group, metric) for group in groups])


def adjusted(families: Iterable[Sequence[Comparison]]) -> list[list[Comparison]]:
    """Return the same comparisons with p-values that are Holm-adjusted over all of them."""
    listed = [list(pairs) for pairs in families]
    p_values = [pair.pooled.p_value for pairs in listed for pair in pairs]
    corrected = iter(holm(p_values))
    return [
        [
            dataclasses.replace(pair, adjusted_p=next(corrected), family=len(p_values))
            for pair in pairs
        ]
        for pairs in listed
    ]


def _compare_variants(group: ComparisonGroup, metric: str) -> list[Comparison]:
    pairs = []
    for first, second in itertools.combinations(group.encoders, 2):
        seeds = sorted(first.finished_seeds() & second.finished_seeds())
        if seeds:
            kind = classify(first, second)
            low, high = sorted((first, second), key=lambda variant: _rank(variant, kind))
            pairs.append(compare_pair(low, high, kind, seeds, metric))
    return pairs


def compare_pair(
    first: VariantResults, second: VariantResults, kind: str, seeds: Sequence[int], metric: str
) -> Comparison:
    """Return the comparison of two variants, not yet adjusted for others.

    Args:
        first: the variant that is subtracted.
        second: the variant that it is subtracted from.
        kind: the setting in which they differ.
        seeds: training seeds that both have finished.
        metric: one of ``METRICS``.
    """
    a = first.outcomes(seeds, metric)  # (seeds, initial states)
    b = second.outcomes(seeds, metric)
    return Comparison(
        first,
        second,
        kind,
        tuple(seeds),
        a.shape[1],
        paired_difference(a, b),
        tuple(mcnemar(row_a, row_b) for row_a, row_b in zip(a, b, strict=True)),
        mcnemar(a, b),
    )


def classify(first: VariantResults, second: VariantResults) -> str:
    """Return the one setting in which two variants differ: a key of ``COMPARISON_KINDS``.

    Args:
        first: a variant.
        second: another variant; the order does not matter.

    Returns:
        "several" if they differ in more than one setting.
    """
    changes = _changes(first, second)
    if len(changes) == 1 and changes != {"backbone"}:
        return changes.pop()
    if first.is_random != second.is_random:
        return "weights" if changes == {"backbone"} and _same_size(first, second) else "several"
    if _same_size(first, second):
        return "several"
    if changes == {"backbone"}:
        return "size"
    small, large = sorted((first, second), key=lambda variant: variant.parameters)
    traded = changes == {"backbone", "scales"} and len(small.scales) > len(large.scales)
    return "size_or_scales" if traded else "several"


def _rank(variant: VariantResults, kind: str) -> float:
    """Return a number that is higher for the variant that the question asks about."""
    ranks = {
        "scales": len(variant.scales),
        "size": variant.parameters,
        "size_or_scales": variant.parameters,
        "input": variant.input_mode == "native",
        "weights": not variant.is_random,
    }
    return float(ranks.get(kind, 0))


def _changes(first: VariantResults, second: VariantResults) -> set[str]:
    both_multiscale = min(len(first.scales), len(second.scales)) > 1
    differs = {
        "backbone": first.backbone != second.backbone,
        "scales": first.scales != second.scales,
        "input": both_multiscale and first.input_mode != second.input_mode,
        "readout": first.readout != second.readout,
        "view": first.view != second.view,
    }
    return {name for name, different in differs.items() if different}


def _same_size(first: VariantResults, second: VariantResults) -> bool:
    small, large = sorted((first.parameters, second.parameters))
    return large <= SAME_SIZE * small
