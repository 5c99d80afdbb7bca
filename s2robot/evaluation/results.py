"""Summary of an evaluation: success rates, failure stages, latencies."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s2robot.evaluation.rollout import STAGES
from s2robot.stats.intervals import Interval, wilson
from s2robot.utils.records import record_of


@dataclass(frozen=True)
class Summary:
    """Content of ``summary.json``."""

    episodes: int
    success_once: Interval
    """Rate of episodes with the cube lifted at any step."""
    success_at_end: Interval
    """Rate of episodes with the cube lifted at the last step."""
    stages: Mapping[str, int]
    """Episodes by failure stage (``rollout.STAGES``)."""
    latency_ms: Mapping[str, Any]
    """p50 and p95: of a batched step's parts, per frame of a batch, and of a single frame."""
    videos: tuple[str, ...] = ()
    """Paths of the videos, relative to the folder of the run."""
    strips: tuple[str, ...] = ()
    """Paths of the strips of failed episodes, relative to the folder of the run."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Machine, versions and commit of the latencies; the runtime of the encoder."""

    @classmethod
    def from_dict(cls, content: Any, where: str | Path, remedy: str) -> Summary:
        """Return the summary of a ``summary.json``'s content.

        Args:
            content: of the file.
            where: path of the file, for messages.
            remedy: what happens, or can be done, where it is damaged.

        Raises:
            CorruptFileError: an entry is missing or of another type.
        """
        found = record_of(_Stored, content, where, remedy)
        entries = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
        paths = {key: tuple(entries[key]) for key in ("videos", "strips")}
        return cls(**{**entries, **paths})

    def __str__(self) -> str:
        rates = []
        for name, rate in (("once", self.success_once), ("at the end", self.success_at_end)):
            count = f"{round(rate.estimate * self.episodes)}/{self.episodes}"
            limits = f"[{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
            rates.append(f"{count} = {100 * rate.estimate:.1f} % {limits} {name}")
        failures = [f"{stage} {n}" for stage, n in self.stages.items() if stage != "none" and n]
        return f"success {', '.join(rates)}; failures: {', '.join(failures) or 'none'}"


@dataclass(frozen=True)
class _Stored:
    """Types of the entries of ``summary.json``."""

    episodes: int
    success_once: Interval
    success_at_end: Interval
    stages: dict[str, int]
    latency_ms: dict[str, Any]
    videos: list[str] = field(default_factory=list)
    strips: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)


def summarize(
    rows: Sequence[Mapping[str, Any]], latency_ms: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Summary:
    """Return the summary of some episodes, without videos.

    Args:
        rows: of ``episodes.jsonl``.
        latency_ms: as ``Summary.latency_ms``.
        provenance: as ``Summary.provenance``.

    Examples:
        >>> rows = [
        ...     {"success_once": True, "success_at_end": True, "stage": "none"},
        ...     {"success_once": False, "success_at_end": False, "stage": "grasp"},
        ... ]
        >>> print(summarize(rows, {}, {}))
        success 1/2 = 50.0 % [9, 91] once, 1/2 = 50.0 % [9, 91] at the end; failures: grasp 1
    """
    counts = Counter(row["stage"] for row in rows)
    once, at_end = (
        wilson(sum(row[metric] for row in rows), len(rows))
        for metric in ("success_once", "success_at_end")
    )
    stages = {stage: counts[stage] for stage in STAGES}
    return Summary(len(rows), once, at_end, stages, latency_ms, provenance=provenance)
