"""Result of a recommendation: candidates, the choice among them, and its reasons in words."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from s2robot.analysis.recommend.choice import Choice, Errors, choose, difference
from s2robot.analysis.recommend.probing import MEASURES
from s2robot.analysis.recommend.timing import Latency
from s2robot.stats.intervals import Interval


@dataclass(frozen=True, eq=False)
class Candidate:
    """One encoder with its scales, as it was measured here."""

    encoder: str
    scales: tuple[float, ...]
    gflops: float
    parameters: int
    latency: Latency
    errors: dict[str, Errors]
    """By name of the measure; empty where it was not probed."""

    @property
    def label(self) -> str:
        """Name and scales, such as ``s2r-vitt16-128 (1,2)``."""
        return candidate_label(self.encoder, self.scales)


def candidate_label(encoder: str, scales: tuple[float, ...]) -> str:
    """Return the label of a candidate.

    Args:
        encoder: name.
        scales: scale set.
    """
    return f"{encoder} ({','.join(f'{scale:g}' for scale in scales)})"


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What was measured, and what follows."""

    source: str
    deadline_ms: float
    frame: tuple[int, int]
    """Height and width of the frames that were timed [px]."""
    frames: int
    """Moments that were probed; 0 without actions and positions."""
    episodes: int
    metric: str | None
    """Measure that decides; None where the data has neither actions nor positions."""
    candidates: tuple[Candidate, ...]
    skipped: dict[str, str]
    """Reason by encoder that could not be had."""
    seconds: float
    provenance: dict[str, Any]
    confirmation: dict[str, Any] | None = None
    """Verdict of rollouts on the two best, where they were asked for."""
    cameras: tuple[str, ...] = ()
    """Names of the cameras of recorded data; latency and GFLOPs are of one frame of each."""
    notes: tuple[str, ...] = ()
    """Sentences on what was taken of the data."""
    constant: dict[str, Errors] = field(default_factory=dict)
    """Errors of predicting the mean of the other episodes, without any camera, by measure."""

    def meets(self, candidate: Candidate) -> bool:
        """Return whether a candidate takes no longer than the deadline for 95 % of the frames."""
        return candidate.latency.p95_ms <= self.deadline_ms

    @property
    def result(self) -> Choice | None:
        """The choice by the measure that decides; None where there is none."""
        return self.choice_by(self.metric)

    def choice_by(self, metric: str | None) -> Choice | None:
        """Return the choice by a measure; None where no candidate can be chosen by it.

        Args:
            metric: one of ``METRICS``, or None.
        """
        errors = [c.errors.get(metric or "") for c in self.candidates]
        return choose(errors, [self.meets(c) for c in self.candidates])

    @property
    def choice(self) -> Candidate | None:
        """The candidate with the least error of those in time; ``is_told`` says what follows."""
        found = self.result
        return None if found is None else self.candidates[found.best]

    @property
    def better_than_constant(self) -> bool | None:
        """Whether the candidate with the least error is shown to be better than the mean.

        The interval holds together with those of all other candidates, of which it is the best
        seen. None where there is no such candidate, or no error of the mean.
        """
        chosen, constant = self.choice, self.constant.get(self.metric or "")
        if chosen is None or constant is None or self.metric is None:
            return None
        measured = sum(self.metric in candidate.errors for candidate in self.candidates)
        return difference(constant, chosen.errors[self.metric], 1 - 0.05 / measured).high < 0

    @property
    def is_told(self) -> bool:
        """Whether a candidate is recommended, by its error or by rollouts."""
        held = self.confirmation is not None and self.confirmation["held"] is True
        return self.choice is not None and (held or self.better_than_constant is not False)

    @property
    def ranked(self) -> list[Candidate]:
        """Candidates by their error, those without one last, by their latency."""
        worst = float("inf")

        def place(candidate: Candidate) -> tuple[float, float]:
            errors = candidate.errors.get(self.metric or "")
            return (worst if errors is None else errors.mean, candidate.latency.p95_ms)

        return sorted(self.candidates, key=place)

    @property
    def two_best(self) -> list[Candidate]:
        """The choice and the next best of those that meet the deadline."""
        return [c for c in self.ranked if self.meets(c) and self.metric in c.errors][:2]

    @property
    def not_told_apart(self) -> list[Candidate]:
        """Candidates that meet the deadline and may be as good as the choice."""
        found = self.result
        tied = [] if found is None else found.not_told_apart
        return [self.candidates[i] for i in tied if self.meets(self.candidates[i])]

    @property
    def nearest(self) -> Candidate:
        """The fastest candidate."""
        return min(self.candidates, key=lambda c: c.latency.p95_ms)

    @property
    def deadline_text(self) -> str:
        """The deadline in words."""
        long = self.deadline_ms >= 100
        return f"{self.deadline_ms:.0f} ms" if long else f"{self.deadline_ms:.3g} ms"

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        chosen, within = self.choice, self.deadline_text
        meeting = sum(map(self.meets, self.candidates))
        if not meeting:
            over = self.nearest.latency.p95_ms - self.deadline_ms
            return (
                f"No candidate meets {within}: the nearest is {self.nearest.label} with "
                f"{self.nearest.latency.p95_ms:.1f} ms at p95, {over:.1f} ms too slow"
            )
        if chosen is None:
            return (
                f"No choice: {self.source} has neither actions nor positions, so only latency can "
                f"be told, and none of accuracy follows; {meeting} of {len(self.candidates)} "
                f"candidates meet {within}"
            )
        if not self.is_told:
            return (
                f"No choice follows: the least error is that of {chosen.label}, "
                f"{self.error_text(chosen)}, not shown to be below {self._constant_text()}, which "
                "needs no camera; give more demonstrations"
            )
        return (
            f"Take {chosen.label}: {self.error_text(chosen)}, {self.latency_text(chosen)}; "
            f"{self._against_others(within)}"
        )

    def _constant_text(self) -> str:
        """Return the error without a camera in words."""
        assert self.metric is not None
        measure = MEASURES[self.metric]
        what = "position" if self.metric == "localization" else "action"
        value = self.constant[self.metric].mean
        return f"the {value:.{measure.digits}f} {measure.unit} of the mean {what}"

    def _against_others(self, within: str) -> str:
        """Return how the choice stands beside the others that meet the deadline."""
        if len(self.candidates) == 1:
            return "there was no other candidate"
        if len(self.two_best) < 2:
            return f"no other candidate is within {within}"
        tied = [candidate.label for candidate in self.not_told_apart]
        if tied:
            return f"not told apart from {', '.join(tied)}"
        return f"better than all other candidates within {within}"

    @property
    def reasons(self) -> list[str]:
        """Further sentences: more scales or a larger encoder, the fastest of the best, the rest."""
        if self.choice is None:
            return [*self.notes]
        lines = [self._without_camera(), self._scales_or_size(), self._fastest()]
        lines += [*self._by_others(), self._covered()]
        late = [c.label for c in self.candidates if not self.meets(c)]
        if late:
            lines.append(f"Too slow here: {', '.join(late)}")
        return [line for line in [*lines, *self.notes] if line]

    def scales_or_size(self) -> tuple[Candidate, Candidate, Interval] | None:
        """Return the best candidate with one scale, the best with several, and their difference.

        Both meet the deadline; the difference is that with several minus that with one, with an
        interval that holds together with those of all pairs. None where one of them is missing.
        """
        found = self.result
        able = [c for c in self.ranked if self.meets(c) and self.metric in c.errors]
        one = next((c for c in able if len(c.scales) == 1), None)
        several = next((c for c in able if len(c.scales) > 1), None)
        if found is None or one is None or several is None or self.metric is None:
            return None
        errors = (one.errors[self.metric], several.errors[self.metric])
        return one, several, difference(*errors, found.confidence)

    def _scales_or_size(self) -> str:
        found = self.scales_or_size()
        if found is None:
            return ""
        one, several, change = found
        verdict = "not told apart"
        if change.excludes_zero():
            verdict = "more scales" if change.high < 0 else "one scale of the best encoder"
        return (
            f"More scales or another encoder? With several scales the best is {several.label}, "
            f"with one it is {one.label}: difference {self.interval_text(change)}: {verdict}"
        )

    def _without_camera(self) -> str:
        if self.better_than_constant is None or not self.is_told:  # then the headline says it
            return ""
        if self.better_than_constant is False:
            return (
                f"Its error is not shown to be below {self._constant_text()}, which needs no "
                "camera; rollouts confirm the choice"
            )
        return f"Without a camera one would have {self._constant_text()}"

    def _fastest(self) -> str:
        tied = sorted(self.not_told_apart, key=lambda c: c.latency.p95_ms)
        chosen = self.choice
        if chosen is None or not tied or tied[0].latency.p95_ms >= chosen.latency.p95_ms:
            return ""
        return (
            f"The fastest that is not told apart is {tied[0].label}: {self.error_text(tied[0])}, "
            f"{self.latency_text(tied[0])}"
        )

    def _by_others(self) -> list[str]:
        """Return a sentence for each other error by which the choice is behind."""
        chosen, lines = self.choice, []
        for name in MEASURES:
            found = None if name == self.metric else self.choice_by(name)
            if chosen is None or found is None:
                continue
            behind = found.differences.get(self.candidates.index(chosen))
            if behind is not None and behind.low > 0:
                other, digits = self.candidates[found.best], MEASURES[name].digits
                lines.append(
                    f"By {name} it would be {other.label}, ahead by {behind.estimate:.{digits}f} "
                    f"{MEASURES[name].unit} ({behind.low:.{digits}f} to {behind.high:.{digits}f})"
                )
        return lines

    def _covered(self) -> str:
        trainings = " and the trainings of the head" if self.metric == "action" else ""
        return (
            f"Intervals (95 %, all pairs of candidates together) cover {self.episodes} held-out "
            f"episodes{trainings}; they do not cover other demonstrations, and an offline error is "
            "no success rate"
        )

    def error_text(self, candidate: Candidate) -> str:
        """Return the error of a candidate with its interval, in words."""
        assert self.metric is not None
        measure, found = MEASURES[self.metric], candidate.errors[self.metric].interval()
        digits = measure.digits
        return (
            f"{measure.title} {found.estimate:.{digits}f} {measure.unit} "
            f"({found.low:.{digits}f} to {found.high:.{digits}f})"
        )

    def interval_text(self, change: Interval) -> str:
        """Return a difference of errors with its interval, in words."""
        assert self.metric is not None
        digits = MEASURES[self.metric].digits
        return (
            f"{change.estimate:+.{digits}f} {MEASURES[self.metric].unit} "
            f"({change.low:+.{digits}f} to {change.high:+.{digits}f})"
        )

    def latency_text(self, candidate: Candidate) -> str:
        """Return the latency of a candidate in words."""
        found = candidate.latency
        return f"{found.p95_ms:.1f} ms at p95 ({found.runtime}, {found.device})"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        plain = ("source", "deadline_ms", "frames", "episodes", "metric", "skipped", "seconds")
        found = self.result
        changes = {} if found is None else found.differences
        return {
            "headline": self.headline,
            "reasons": self.reasons,
            "choice": self.choice.label if self.choice is not None and self.is_told else None,
            "better_than_constant": self.better_than_constant,
            "constant": {
                name: {"unit": MEASURES[name].unit, **dataclasses.asdict(own.interval())}
                for name, own in self.constant.items()
            },
            "not_told_apart": [candidate.label for candidate in self.not_told_apart],
            **{name: getattr(self, name) for name in plain},
            "frame": list(self.frame),
            "cameras": list(self.cameras),
            "candidates": [
                self._record(candidate, changes.get(i))
                for i, candidate in enumerate(self.candidates)
            ],
            "confirmation": self.confirmation,
            "provenance": self.provenance,
        }

    def _record(self, candidate: Candidate, change: Interval | None) -> dict[str, Any]:
        errors = {
            name: {
                "unit": MEASURES[name].unit,
                **dataclasses.asdict(found.interval()),
                "by_training_and_episode": found.values.round(4).tolist(),
            }
            for name, found in candidate.errors.items()
        }
        return {
            "label": candidate.label,
            "encoder": candidate.encoder,
            "scales": list(candidate.scales),
            "gflops": candidate.gflops,
            "parameters": candidate.parameters,
            "latency": dataclasses.asdict(candidate.latency),
            "meets_deadline": self.meets(candidate),
            "errors": errors,
            "difference": None if change is None else dataclasses.asdict(change),
        }
