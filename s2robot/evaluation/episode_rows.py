"""Episode rows on disk, and the other files of an evaluation, written so that it can resume.

A folder belongs to one run: ``claim`` compares identities before anything is written. Rows are
never changed; a longer set of initial states adds rows to those of a shorter one.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.errors import CorruptFileError, MismatchError
from s2robot.evaluation.identity import RECORD_FORMAT, differences
from s2robot.evaluation.initial_states import InitialStates, condition_of
from s2robot.evaluation.results import Summary, summarize
from s2robot.evaluation.rollout import STAGES
from s2robot.utils.io import (
    append_jsonl,
    atomic_path,
    jsonable,
    jsonl_length,
    read_json,
    read_jsonl,
    write_json,
)
from s2robot.utils.records import check_rows, damaged, read_array, record_of

_FILES = (
    "cell.json",
    "summary.json",
    "eval_info.json",
    "timing.jsonl",
    "episodes.jsonl",
    "run.json",  # last: without it, nothing tells whose the episodes are
)
_SECTIONS = ("task", "camera", "rollout", "inference", "versions")
"""Entries of ``run.json`` that ``cell.json`` repeats; some are null."""
_FOLDERS = ("actions", "videos", "strips", "replays")
_ADVICE = (
    "Nothing was changed. Give another folder (out= of eval, runs_dir= of sweep), or delete the "
    "episodes and start over with fresh=true of eval"
)

_REMEDY = (
    "start over with fresh=true of eval, give another folder, or delete this one and repeat the "
    "command"
)


@dataclass(frozen=True)
class _Conditions:
    """Initial states in ``run.json``."""

    hash: str
    n: int
    split: str
    first: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.first < 0:
            raise ValueError(f"conditions have n {self.n} and first {self.first}")


@dataclass(frozen=True)
class _Record:
    """Those entries of ``run.json`` that are read one by one."""

    conditions: _Conditions


@dataclass(frozen=True)
class _Row:
    """Line of ``episodes.jsonl``; see ``rollout.episode_row``."""

    index: int
    condition: str
    success_once: bool
    success_at_end: bool
    stage: str
    steps: int
    steps_to_success: int | None
    steps_lifted: int
    min_distance_m: float | None
    max_height_m: float | None

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage is {self.stage!r}; allowed: {', '.join(STAGES)}")
        lifted = 0 <= self.steps_lifted <= self.steps
        if not lifted or self.success_once != (self.steps_lifted > 0):
            raise ValueError(f"success_once contradicts steps_lifted, {self.steps_lifted}")
        if self.success_at_end and not self.success_once:
            raise ValueError("success_at_end contradicts success_once")


@dataclass(frozen=True)
class _Durations:
    """Line of ``timing.jsonl`` [ms]."""

    start: int
    encode: list[float]
    policy: list[float]
    env: list[float]
    render: list[float]


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

    def claim(self, identity: Mapping[str, Any], initial_states: InitialStates) -> None:
        """Write what identifies the run, or compare it with what an earlier run wrote.

        A longer set of initial states that begins with those of the earlier run extends it; a
        shorter one, with which the earlier run began, leaves the record as it is.

        Args:
            identity: everything else that can change a row, JSON-able.
            initial_states: of the episodes.

        Raises:
            MismatchError: the folder holds another run; the message names what differs. Nothing
                was changed.
            CorruptFileError: ``run.json`` or a row is damaged, or only the rows are there.
        """
        wanted = jsonable({**identity, "conditions": initial_states.record()})
        path = self.path / "run.json"
        seen = read_json(path, _REMEDY) if path.exists() else None
        if seen is not None:
            self._check_same(seen, wanted, initial_states)
        elif self.rows():
            raise damaged(path, "it is missing, so nothing tells whose the episodes are", _REMEDY)
        if seen is None or seen["conditions"]["n"] < len(initial_states):
            write_json(path, wanted)

    def _check_same(
        self, seen: Mapping[str, Any], wanted: Mapping[str, Any], initial_states: InitialStates
    ) -> None:
        path = self.path / "run.json"
        if not isinstance(seen, dict):
            raise damaged(path, "it holds no named entries", _REMEDY)
        if seen.get("format") != RECORD_FORMAT:
            raise MismatchError(
                f"{self.path} holds episodes in format {seen.get('format')} of another version of "
                f"s2robot, and this one writes format {RECORD_FORMAT}, which also names runtime, "
                f"device and versions. {_ADVICE}"
            )
        there = _checked_record(seen, path).conditions.n
        if there <= len(initial_states):
            common = initial_states.beginning(there).record()
        else:  # the hash of a beginning is not there: its rows are compared one by one
            common = {**seen["conditions"], **_block(wanted["conditions"])}
        differing = list(differences(seen, {**wanted, "conditions": common}))
        for row, state in zip(self.rows(), initial_states.states, strict=False):
            if row.get("condition") != condition_of(state):
                name = f"initial state {row['index']}"
                differing.append((name, row.get("condition"), condition_of(state)))
                break
        if differing:
            lines = [
                f"  {name}: there {json.dumps(one)}, now {json.dumps(other)}"
                for name, one, other in differing
            ]
            names = ", ".join(name for name, _, _ in differing)
            raise MismatchError(
                f"{self.path} holds episodes of another run; {names} differ:\n"
                + "\n".join(lines)
                + f"\n{_ADVICE}"
            )

    def record(self) -> dict[str, Any]:
        """Return what identifies the run."""
        path = self.path / "run.json"
        content = read_json(path, _REMEDY)
        _checked_record(content, path)
        return content

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each finished episode.

        Raises:
            CorruptFileError: a row is damaged, missing or doubled.
        """
        path = self.path / "episodes.jsonl"
        rows = read_jsonl(path)
        check_rows(_Row, rows, path, _REMEDY)
        for place, row in enumerate(rows):
            if row["index"] != rows[0]["index"] + place:
                why = f"episode {row['index']} is in line {place + 1}; one is missing or doubled"
                raise damaged(path, why, _REMEDY)
        return rows

    def timing(self) -> list[dict[str, Any]]:
        """Return the durations of each batch's steps [ms]; none, with a warning, if damaged."""
        path = self.path / "timing.jsonl"
        try:
            rows = read_jsonl(path)
            check_rows(_Durations, rows, path, "its durations are left out")
        except CorruptFileError as error:
            warnings.warn(str(error), stacklevel=2)
            return []
        return list({row["start"]: row for row in rows}.values())  # a kill can leave one twice

    def missing_batches(self, episodes: int) -> range:
        """Return the number of the first episode of each batch that lacks rows.

        Args:
            episodes: number of all episodes.
        """
        finished = len(self.rows())
        start = episodes if finished >= episodes else finished - finished % self.num_envs
        return range(start, episodes, self.num_envs)

    def add_batch(
        self,
        start: int,
        rows: Sequence[dict[str, Any]],
        actions: np.ndarray,
        times_ms: Mapping[str, Sequence[float]],
    ) -> None:
        """Write a batch of episodes; the rows come last, since they mark it as finished.

        Episodes of the batch that have a row already keep it, and their actions.

        Args:
            start: number of the first episode.
            rows: one per episode.
            actions: (episodes, T, A) float32.
            times_ms: durations of each step's parts [ms].
        """
        kept = jsonl_length(self.path / "episodes.jsonl") - start
        if kept:
            actions = np.concatenate([self._actions(start)[:kept], actions[kept:]])
        with atomic_path(self._actions_path(start)) as temporary, temporary.open("wb") as file:
            np.save(file, actions, allow_pickle=False)
        append_jsonl(self.path / "timing.jsonl", [{"start": start, **times_ms}])
        append_jsonl(self.path / "episodes.jsonl", rows[kept:])

    def actions_of(self, number: int) -> np.ndarray:
        """Return the actions (T, A) of an episode by its number in this run."""
        start = number - number % self.num_envs
        return self._actions(start)[number - start]

    def _actions(self, start: int) -> np.ndarray:
        path = self._actions_path(start)
        if not path.exists():
            raise damaged(path, "it is missing", _REMEDY)
        return read_array(path, _REMEDY, np.float32, (None, None, None))

    def _actions_path(self, start: int) -> Path:
        return self.path / "actions" / f"from_{start:05d}.npy"

    def forget_summary(self) -> None:
        """Delete the summaries, which new episodes make out of date."""
        for name in ("summary.json", "eval_info.json"):
            (self.path / name).unlink(missing_ok=True)

    def summary(self) -> Summary | None:
        """Return the summary of all rows; None if there is none that fits to them."""
        path = self.path / "summary.json"
        if not path.exists():
            return None
        remedy = "it is made again"
        try:
            found = Summary.from_dict(read_json(path, remedy), path, remedy)
            again = summarize(self.rows(), found.latency_ms, found.provenance)
            if dataclasses.replace(found, videos=(), strips=()) != again:
                raise damaged(path, "it is not that of the episodes", remedy)
        except CorruptFileError as error:
            warnings.warn(str(error), stacklevel=2)
            return None
        return found

    def write(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        write_json(self.path / "summary.json", dataclasses.asdict(summary))


def _checked_record(content: Any, path: Path) -> _Record:
    found = record_of(_Record, content, path, _REMEDY)
    missing = [name for name in _SECTIONS if name not in content]
    if missing:
        raise damaged(path, f"it lacks {', '.join(missing)}", _REMEDY)
    return found


def _block(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that two sets share where one is the beginning of the other."""
    return {key: conditions[key] for key in ("split", "first")}
