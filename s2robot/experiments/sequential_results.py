"""Verdicts of sequential sweeps (``sequential.json``), which replace those of a fixed sample.

A sequential sweep chose its number of seeds by looking at the results, so that the p-values of a
report, which are for a number that was fixed before, do not hold for its runs.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.experiments.sequential_sweep import FILE, FORMAT, NAMED
from s2robot.stats.sequential_family import UNDECIDED
from s2robot.utils.io import paths_below

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class SequentialTest:
    """What a sequential sweep found on two variants; second minus first."""

    family: int
    """Number of pairs that were planned."""
    alpha: float
    """Level of significance of the family."""
    margin: float
    """Difference of success rates that is too small to matter."""
    seeds: int = 0
    """Number of training seeds until the verdict, or so far; 0 for a pair that was not planned."""
    difference: float = 0.0
    low: float = -1.0
    """Lower limit at the level 1 - ``alpha``, which holds at all looks at once."""
    high: float = 1.0
    """Upper limit."""
    e_value: float = 1.0
    """Largest evidence against equal rates so far."""
    p_value: float = 1.0
    """Anytime-valid p-value of "both variants have the same success rate"."""
    adjusted_p: float = 1.0
    """``p_value``, Holm-adjusted over the family."""
    equivalence_p: float = 1.0
    """Anytime-valid p-value of "the rates are at least ``margin`` apart"."""
    adjusted_equivalence_p: float = 1.0
    """``equivalence_p``, Holm-adjusted over the family."""
    verdict: str = UNDECIDED
    """On the second variant."""

    @property
    def planned(self) -> bool:
        """True if the pair was planned and has a seed."""
        return self.seeds > 0

    def record(self) -> dict[str, Any]:
        """Return JSON-able values for ``report.json``."""
        return {
            "planned": self.planned,
            "pairs": self.family,
            "alpha": self.alpha,
            "margin": self.margin,
            "seeds": self.seeds,
            "difference": round(self.difference, 4),
            "anytime_interval": [round(self.low, 4), round(self.high, 4)],
            "e_value": self.e_value,
            "anytime_p": self.p_value,
            "holm_adjusted_anytime_p": self.adjusted_p,
            "anytime_equivalence_p": self.equivalence_p,
            "holm_adjusted_anytime_equivalence_p": self.adjusted_equivalence_p,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class SequentialResults:
    """Content of one ``sequential.json``."""

    path: Path
    content: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """Metric that was tested."""
        return str(self.content["plan"]["metric"])

    @property
    def variants(self) -> Sequence[Mapping[str, Any]]:
        """Variants with their labels, keys and success rates by seed."""
        return self.content["variants"]

    @property
    def pairs(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any], SequentialTest]]:
        """First variant, second variant and test of each pair."""
        variants = self.variants
        return [
            (variants[pair["first"]], variants[pair["second"]], self._test(pair))
            for pair in self.content["pairs"]
        ]

    def find(self, first: str, second: str, metric: str) -> SequentialTest | None:
        """Return the test of two variants.

        Args:
            first: key of the variant that is subtracted.
            second: key of the other variant.
            metric: of the comparison.

        Returns:
            None if neither was tested. If they were not tested against each other, or on another
            metric, a test without a verdict: their number of seeds depended on other results.
        """
        tested: set[str | None] = set()
        for one, other, test in self.pairs:
            keys = (one["key"], other["key"])
            if metric == self.metric and keys in ((first, second), (second, first)):
                return test if keys == (first, second) else _turned(test)
            tested.update(keys)
        return self._unplanned() if tested & {first, second} else None

    def _unplanned(self) -> SequentialTest:
        plan = self.content["plan"]
        return SequentialTest(len(plan["pairs"]), plan["alpha"], plan["margin"])

    def _test(self, pair: Mapping[str, Any]) -> SequentialTest:
        if not pair["seeds"]:
            return self._unplanned()
        plan = self.content["plan"]
        names = ("p_value", "adjusted_p", "equivalence_p", "adjusted_equivalence_p", "verdict")
        return SequentialTest(
            family=len(plan["pairs"]),
            alpha=plan["alpha"],
            margin=plan["margin"],
            seeds=len(pair["seeds"]),
            difference=pair["difference"],
            low=pair["interval"][0],
            high=pair["interval"][1],
            e_value=max(pair["e_values"]),
            **{name: pair[name] for name in names},
        )


def read_sequential(folder: str | Path) -> tuple[list[SequentialResults], list[tuple[Path, str]]]:
    """Return the sequential sweeps whose runs lie in a folder, and the files that are unusable.

    Args:
        folder: of runs, such as ``runs/decide/cells``; the files lie beside it or below it.

    Returns:
        The results, and path and reason of each file that cannot be used.
    """
    above = Path(folder).resolve().parent
    beside = [path for path in (above / FILE, *(above / NAMED).glob("*.json")) if path.is_file()]
    everything = paths_below(folder)
    below = [path for path in everything if path.name == FILE or path.match(f"{NAMED}/*.json")]
    found, unusable = [], []
    for path in [*sorted(beside), *below]:
        try:
            results = SequentialResults(path, json.loads(path.read_bytes()))
            if results.content.get("format") != FORMAT:
                raise ValueError(f"format {results.content.get('format')}, not {FORMAT}")
            _ = results.pairs, results.metric
        except _UNREADABLE as error:
            unusable.append((path, f"{type(error).__name__}: {error}"))
        else:
            found.append(results)
    return found, unusable


def _turned(test: SequentialTest) -> SequentialTest:
    """Return the test of the first variant minus the second one."""
    turned = {"better": "worse", "worse": "better"}
    return dataclasses.replace(
        test,
        difference=-test.difference,
        low=-test.high,
        high=-test.low,
        verdict=turned.get(test.verdict, test.verdict),
    )
