"""Sequential sweep: one training seed after another, until every pair of variants is decided.

In round s each variant of an undecided pair is trained with seed s and rolled out on a block of
initial states that no other seed uses. So the differences of the rounds are independent, for new
seeds and new initial states, as the sequential test requires (`s2robot.stats.sequential_family`).

``sequential.json`` in the folder of runs fixes what is tested before the first run. Evidence is
computed from the runs each time; a killed sweep resumes with the same verdicts.

A seed whose training or rollout fails is named, and its round counts for no pair of its variant.
The test stays valid for seeds that succeed: whether a seed fails is decided before its difference
is known, and independently of other seeds. It says nothing of how often seeds fail. Such a seed is
not tried again, since a difference that is added after later ones were seen would be a second look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from s2robot.errors import CorruptFileError, DiskFullError, MismatchError
from s2robot.evaluation.identity import comparable, differences
from s2robot.stats.sequential_family import SequentialFamily
from s2robot.utils.io import jsonable, locked, read_json, write_json
from s2robot.utils.records import damaged, record_of

FILE = "sequential.json"
NAMED = "sequential"
"""Folder beside that file, with a file for each test that has a name."""
FORMAT = 1
UNTESTED_ROUNDS = 3
"""Rounds of variants that no pair tests, such as baselines."""
MOST_FAILURES = 3
"""Failed seeds in a row after which a variant is given up until the next call."""

_REMEDY = (
    "restore it from a copy, or give another folder with runs_dir=: the seeds that were seen and "
    "their order must not be lost"
)


def sequential_file(runs_dir: Path, name: str = "") -> Path:
    """Return the file of a sequential test in a folder of runs.

    Args:
        runs_dir: folder of runs.
        name: of the test; empty where the folder has only one.
    """
    return runs_dir / NAMED / f"{name}.json" if name else runs_dir / FILE


@dataclass(frozen=True)
class PlannedVariant:
    """A variant of a sequential sweep, as it is before its first run."""

    label: str
    settings: Mapping[str, Any]
    """Everything that can change a policy or a row but training seed and initial states."""


@dataclass(frozen=True)
class PlannedPair:
    """Two variants that are tested; the difference is second minus first."""

    first: int
    """Number of the variant that is subtracted."""
    second: int
    """Number of the variant that it is subtracted from."""
    question: str
    """The setting in which they differ."""


@dataclass(frozen=True)
class SequentialPlan:
    """What is tested, and how; it cannot change once a seed was seen."""

    variants: tuple[PlannedVariant, ...]
    pairs: tuple[PlannedPair, ...]
    initial_states: int
    """Number of initial states of each seed."""
    split: str = "test"
    metric: str = "success_once"
    alpha: float = 0.05
    margin: float = 0.05

    @property
    def tested(self) -> set[int]:
        """Numbers of the variants that a pair tests."""
        return {number for pair in self.pairs for number in (pair.first, pair.second)}


class SeedRunner(Protocol):
    """What trains and evaluates; results that exist are reused."""

    def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
        """Return the success rate of a training seed on its own block of initial states.

        Args:
            variant: number of the variant.
            seed: is trained where that was not done.
            together: seeds that may be trained at once with it.
        """
        ...

    def key(self, variant: int) -> str | None:
        """Return the digest of the settings in a variant's finished runs; None if it has none."""
        ...


@dataclass(frozen=True)
class Round:
    """One training seed of all variants that still needed it."""

    seed: int
    ran: tuple[int, ...]
    """Numbers of the variants that were trained and rolled out."""
    failed: Mapping[int, str]
    """Numbers of the variants whose seed failed, and why."""
    updated: tuple[int, ...]
    """Numbers of the pairs that got a difference."""


@dataclass(frozen=True)
class _VariantRecord:
    rates: dict[str, float]


@dataclass(frozen=True)
class _FailureRecord:
    variant: int
    seed: int
    error: str


@dataclass(frozen=True)
class _Record:
    """Those entries of ``sequential.json`` that a later call reads."""

    plan: dict[str, Any]
    variants: list[_VariantRecord]
    failed: list[_FailureRecord]


class SequentialSweep:
    """A sequential sweep in a folder of runs.

    Args:
        plan: what is tested.
        runner: trains and evaluates.
        runs_dir: folder of the runs.
        max_seeds: rounds after which undecided pairs stay so; a later call may have more.
        at_once: number of seeds that are trained together.
        name: of the test, where the folder holds several.
    """

    def __init__(
        self,
        plan: SequentialPlan,
        runner: SeedRunner,
        runs_dir: Path,
        max_seeds: int = 32,
        at_once: int = 4,
        name: str = "",
    ) -> None:
        self.plan, self.runner, self.path = plan, runner, sequential_file(runs_dir, name)
        self.max_seeds, self.at_once = max_seeds, at_once
        self.rates: dict[tuple[int, int], float] = {}
        """Success rate by numbers of variant and seed."""
        self.failures: dict[tuple[int, int], str] = {}
        """Reason by numbers of variant and seed."""
        self.family = SequentialFamily(
            len(plan.pairs), plan.initial_states, plan.alpha, plan.margin
        )
        self._in_a_row = [0] * len(plan.variants)

    def claim(self) -> None:
        """Take the folder for this plan, or continue an earlier call with the same one.

        Raises:
            MismatchError: the folder holds another sequential sweep; the message names what
                differs. Nothing was changed.
            CorruptFileError: ``sequential.json`` is damaged.
            ValueError: there are more seeds than ``max_seeds`` already.
        """
        wanted = jsonable(dataclasses.asdict(self.plan))
        with locked(self.path):
            if not self.path.exists():
                write_json(self.path, self.record())
                return
        seen = read_json(self.path, _REMEDY)
        if not isinstance(seen, dict):
            raise damaged(self.path, "it holds no named entries", _REMEDY)
        if seen.get("format") != FORMAT:
            raise MismatchError(
                f"{self.path} is of format {seen.get('format')}; this version of s2robot reads "
                f"format {FORMAT}. Give another folder with runs_dir="
            )
        record = record_of(_Record, seen, self.path, _REMEDY)
        try:
            _check_same(self.path, record.plan, wanted)
            rounds = 1 + max((int(s) for each in record.variants for s in each.rates), default=-1)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise damaged(self.path, error, _REMEDY) from None
        if rounds > self.max_seeds:
            raise ValueError(
                f"max_seeds is {self.max_seeds}, but {self.path} has {rounds} seeds already, and "
                f"none that was seen may be left out; allowed: {rounds} or more"
            )
        for row in record.failed:
            self.failures[row.variant, row.seed] = row.error

    def rounds(self) -> Iterator[Round]:
        """Run rounds until every pair is decided or the seeds are used up; yield each one."""
        for seed in range(self.max_seeds):
            wanted = self._wanted(seed)
            if not wanted:
                return
            failed = {}
            for variant in wanted:
                reason = self._run(variant, seed)
                if reason is not None:
                    failed[variant] = reason
            updated = self._update(seed)
            write_json(self.path, self.record())
            ran = tuple(variant for variant in wanted if variant not in failed)
            yield Round(seed, ran, failed, updated)

    def given_up(self) -> list[int]:
        """Return the numbers of the variants that failed too often in this call."""
        return [variant for variant, count in enumerate(self._in_a_row) if count >= MOST_FAILURES]

    def most_runs_left(self, seed: int) -> int:
        """Return the number of runs after a round, if no further pair is decided.

        Args:
            seed: of the round.
        """
        return sum(len(self._wanted(later)) for later in range(seed + 1, self.max_seeds))

    def _wanted(self, seed: int) -> list[int]:
        pairs = [self.plan.pairs[number] for number in self.family.undecided]
        given_up = set(self.given_up())
        live = [pair for pair in pairs if given_up.isdisjoint((pair.first, pair.second))]
        wanted = {number for pair in live for number in (pair.first, pair.second)}
        if seed < UNTESTED_ROUNDS:
            wanted |= set(range(len(self.plan.variants))) - self.plan.tested - given_up
        return sorted(wanted)

    def _run(self, variant: int, seed: int) -> str | None:
        """Train and evaluate one seed; return why it failed."""
        if (variant, seed) in self.failures:  # of an earlier call
            return self.failures[variant, seed]
        most = self.max_seeds if variant in self.plan.tested else UNTESTED_ROUNDS
        ahead = range(seed, min(seed + self.at_once, most))
        together = [each for each in ahead if (variant, each) not in self.failures]
        try:
            self.rates[variant, seed] = self.runner.rate(variant, seed, together)
        except (MismatchError, CorruptFileError, DiskFullError):
            raise  # a fault of files or of the disk, after whose repair the seed can run
        except Exception as error:
            self.failures[variant, seed] = _reason(error)
        failure = self.failures.get((variant, seed))
        self._in_a_row[variant] = 0 if failure is None else self._in_a_row[variant] + 1
        return failure

    def _update(self, seed: int) -> tuple[int, ...]:
        found = {}
        for number in self.family.undecided:
            pair = self.plan.pairs[number]
            first, second = (self.rates.get((each, seed)) for each in (pair.first, pair.second))
            if first is not None and second is not None:
                found[number] = second - first
        self.family.add(seed, found)
        return tuple(found)

    def record(self) -> dict[str, Any]:
        """Return the content of ``sequential.json``."""
        episodes = self.plan.initial_states
        untested = len(self.plan.variants) - len(self.plan.tested)
        fixed = len(self.plan.tested) * self.max_seeds + untested * UNTESTED_ROUNDS
        return {
            "format": FORMAT,
            "plan": jsonable(dataclasses.asdict(self.plan)),
            "variants": [self._variant_record(number) for number in range(len(self.plan.variants))],
            "pairs": [self._pair_record(number) for number in range(len(self.plan.pairs))],
            "failed": [
                {"variant": variant, "seed": seed, "error": error}
                for (variant, seed), error in sorted(self.failures.items())
            ],
            "episodes": {
                "spent": len(self.rates) * episodes,
                "fixed_design": fixed * episodes,
                "fixed_design_seeds": self.max_seeds,
            },
        }

    def _variant_record(self, number: int) -> dict[str, Any]:
        rates = {seed: rate for (variant, seed), rate in self.rates.items() if variant == number}
        return {
            "label": self.plan.variants[number].label,
            "key": self.runner.key(number),
            "rates": {str(seed): rates[seed] for seed in sorted(rates)},
        }

    def _pair_record(self, number: int) -> dict[str, Any]:
        evidence = dataclasses.asdict(self.family.pairs[number])
        interval = self.family.interval(number)
        seen = bool(evidence["seeds"])
        return {
            **dataclasses.asdict(self.plan.pairs[number]),
            **jsonable(evidence),
            "difference": interval.estimate if seen else None,
            "interval": [interval.low, interval.high],
        }


def _check_same(path: Path, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise a MismatchError with what differs between two plans.

    Exact runtimes count as one, so that a test goes on where "auto" measures another one as faster.
    """
    lines = [
        f"  {name}: there {one}, now {other}"
        for name, one, other in differences(_in_words(seen), _in_words(wanted))
    ]
    settings = [
        {each["label"]: comparable(each["settings"]) for each in plan["variants"]}
        for plan in (seen, wanted)
    ]
    for label in settings[0].keys() & settings[1].keys():
        found = differences(settings[0][label], settings[1][label])
        lines += [f"  {label}: {name}: there {one}, now {other}" for name, one, other in found]
    if lines:
        raise MismatchError(
            f"{path} fixes another sequential test:\n"
            + "\n".join(lines)
            + "\nVariants, pairs, initial states and levels are fixed before the first seed: a "
            "change after seeds were seen, such as a further variant, would change the correction "
            "for several pairs and make the verdicts invalid. Nothing was changed. Repeat the "
            "command as it was, or give another folder with runs_dir="
        )


def _in_words(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan with names of variants and pairs in place of their records."""
    labels = [variant["label"] for variant in plan["variants"]]
    pairs = [
        f"{labels[pair['second']]} against {labels[pair['first']]} ({pair['question']})"
        for pair in plan["pairs"]
    ]
    return {**plan, "variants": ", ".join(labels), "pairs": ", ".join(pairs)}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
