"""Rows of a probe study on disk: whether one can be used, or has to be computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s2robot.analysis.probes.tasks import get_task
from s2robot.errors import CorruptFileError
from s2robot.utils.records import record_of

_LIMITS = {"estimate", "low", "high"}


@dataclass(frozen=True)
class _StoredRow:
    """Types of the entries of a row that are read again."""

    key: str
    task: str
    encoder: str
    scales: list[float]
    gflops: float | None
    measures: dict[str, dict[str, float | None]]
    test_frames: int
    test_episodes: int
    sums: list[list[float]]


def is_whole(row: Mapping[str, Any]) -> bool:
    """Return whether a stored row has all its entries; another one is computed again.

    Args:
        row: of ``rows.jsonl``.
    """
    try:
        found = record_of(_StoredRow, row, "a row", "it is computed again")
        wanted = get_task(found.task).measures[0].name
    except (CorruptFileError, ValueError):
        return False
    layers = row.get("taps")
    return (
        wanted in found.measures
        and all(_LIMITS <= measure.keys() for measure in found.measures.values())
        and len(found.sums) == found.test_episodes
        and len({len(sums) for sums in found.sums}) == 1
        and isinstance(layers, list)
        and all(isinstance(layer, int) for layer in layers)
    )
