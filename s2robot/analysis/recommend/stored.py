"""Rows of finished candidates on disk; damaged ones are computed again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.recommend.timing import Latency
from s2robot.errors import CorruptFileError
from s2robot.utils.io import append_jsonl, locked, read_jsonl
from s2robot.utils.records import record_of

_REMEDY = "it is measured again"


@dataclass(frozen=True)
class _LatencyRow:
    latency: Latency


@dataclass(frozen=True)
class _ErrorRow:
    errors: list[list[float]]


class Rows:
    """Measurements by their keys.

    Args:
        path: of the JSON-lines file.

    Raises:
        CorruptFileError: a line is not a JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {row.get("key"): row for row in read_jsonl(path)}

    def latency(self, key: str) -> Latency | None:
        """Return a stored latency; None where there is none that can be read."""
        row = self._read(_LatencyRow, key)
        return None if row is None else row.latency

    def errors(self, key: str, episodes: int) -> np.ndarray | None:
        """Return stored errors ``(S, E)``; None where there are none that can be read.

        Args:
            key: of the row.
            episodes: their number E.
        """
        row = self._read(_ErrorRow, key)
        if row is None or not row.errors or {len(each) for each in row.errors} != {episodes}:
            return None
        return np.array(row.errors)

    def add(self, row: dict[str, Any]) -> None:
        """Store a row."""
        with locked(self.path):
            append_jsonl(self.path, [row])
        self._known[row["key"]] = row

    def _read(self, kind: type[Any], key: str) -> Any:
        try:
            return record_of(kind, self._known[key], self.path, _REMEDY)
        except (CorruptFileError, KeyError):
            return None


def latency_row(key: str, label: str, latency: Latency) -> dict[str, Any]:
    """Return the row of a latency.

    Args:
        key: digest of all that decides it.
        label: of the candidate.
        latency: to be stored.
    """
    return {"key": key, "candidate": label, "latency": asdict(latency)}


def error_row(key: str, label: str, metric: str, errors: np.ndarray) -> dict[str, Any]:
    """Return the row of a candidate's errors.

    Args:
        key: digest of all that decides them.
        label: of the candidate.
        metric: name of the measure.
        errors: ``(S, E)``.
    """
    return {"key": key, "candidate": label, "metric": metric, "errors": errors.tolist()}
