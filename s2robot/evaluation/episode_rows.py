"""Episode rows on disk, and the other files of an evaluation, written so that it can resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.errors import MismatchError
from s2robot.evaluation.results import Summary
from s2robot.utils.io import append_jsonl, atomic_path, read_json, read_jsonl, write_json

_FILES = ("run.json", "episodes.jsonl", "timing.jsonl", "summary.json", "eval_info.json")
_FOLDERS = ("actions", "videos", "strips")


@dataclass(frozen=True)
class RunFolder:
    """The files of one policy's episodes on one set of initial states."""

    path: Path
    num_envs: int
    """Episodes of a batch; batches are written whole."""

    def clear(self) -> None:
        """Delete the files of an earlier run, and nothing else in the folder."""
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Write what identifies the run, or compare it with what an earlier run wrote.

        Raises:
            MismatchError: the folder holds another run; the message names what differs.
        """
        wanted = json.loads(json.dumps(identity))
        path = self.path / "run.json"
        if path.exists():
            _check_same(path, read_json(path), wanted)
        else:
            write_json(path, wanted)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each finished episode."""
        return read_jsonl(self.path / "episodes.jsonl")

    def timing(self) -> list[dict[str, Any]]:
        """Return the durations of each batch's steps [ms]."""
        return read_jsonl(self.path / "timing.jsonl")

    def finished(self, episodes: int) -> int:
        """Return the number of episodes in whole batches, of `episodes` in all.

        Rows of an interrupted batch are deleted.
        """
        rows = self.rows()
        if len(rows) >= episodes:
            return len(rows)
        whole = len(rows) - len(rows) % self.num_envs
        if whole < len(rows):
            with atomic_path(self.path / "episodes.jsonl") as temporary:
                append_jsonl(temporary, rows[:whole])
        return whole

    def add_batch(
        self,
        start: int,
        rows: Sequence[dict[str, Any]],
        actions: np.ndarray,
        times_ms: Mapping[str, Sequence[float]],
    ) -> None:
        """Write a batch of episodes; the rows come last, since they mark it as finished.

        Args:
            start: index of the first episode.
            rows: one per episode.
            actions: (episodes, T, A) float32.
            times_ms: durations of each step's parts [ms].
        """
        with atomic_path(self._actions_path(start)) as temporary, temporary.open("wb") as file:
            np.save(file, actions, allow_pickle=False)
        append_jsonl(self.path / "timing.jsonl", [{"start": start, **times_ms}])
        append_jsonl(self.path / "episodes.jsonl", rows)

    def actions_of(self, index: int) -> np.ndarray:
        """Return the actions (T, A) of an episode."""
        start = index - index % self.num_envs
        return np.load(self._actions_path(start), allow_pickle=False)[index - start]

    def _actions_path(self, start: int) -> Path:
        return self.path / "actions" / f"from_{start:05d}.npy"

    def forget_summary(self) -> None:
        """Delete the summaries, which new episodes make out of date."""
        for name in ("summary.json", "eval_info.json"):
            (self.path / name).unlink(missing_ok=True)

    def measurements(self) -> dict[str, Any] | None:
        """Return the latencies and their provenance from the summary; None if there is none."""
        path = self.path / "summary.json"
        if not path.exists():
            return None
        earlier = read_json(path)
        return {key: earlier[key] for key in ("latency_ms", "provenance")}

    def write(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        write_json(self.path / "summary.json", dataclasses.asdict(summary))


def _check_same(path: Path, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [key for key in {**seen, **wanted} if seen.get(key) != wanted.get(key)]
    if differing:
        lines = [
            f"  {key}: there {json.dumps(seen.get(key))}, now {json.dumps(wanted.get(key))}"
            for key in differing
        ]
        raise MismatchError(
            f"{path.parent} holds episodes of another run; {', '.join(differing)} differ:\n"
            + "\n".join(lines)
            + "\nGive another output folder, or fresh=true (--fresh) to delete them and start over"
        )
