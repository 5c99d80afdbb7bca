"""Shards of an evaluation: one run's initial states over several jobs, merged when all are there.

A shard is a number of whole batches, so that every batch is that of an evaluation in one piece,
and merged rows are equal to it byte for byte. Each lies in ``shards/FIRST-END`` of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from s2robot.errors import MismatchError
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.identity import differences, exact_runtime
from s2robot.evaluation.initial_states import InitialStates, condition_of
from s2robot.experiments.jobs import EvalJob
from s2robot.utils.io import jsonl_length, locked, read_json, write_json

FOLDER = "shards"
_PLAN = "plan.json"
_NAME = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Part:
    """Initial states of one shard, as numbers in the run."""

    start: int
    stop: int


def parts(job: EvalJob) -> list[Part]:
    """Return all shards of an evaluation: whole batches, as equal as can be.

    Args:
        job: settings of the evaluation, with a ``shard``.

    Raises:
        ValueError: there are fewer batches than shards.

    Examples:
        >>> job = EvalJob(Path("policy.safetensors"), n=50, shard="1/3")  # four batches of 16
        >>> [(part.start, part.stop) for part in parts(job)]
        [(0, 16), (16, 32), (32, 50)]
    """
    if job.shard_numbers is None:
        return [Part(0, job.n)]
    size, of = job.rollout.num_envs, job.shard_numbers[1]
    batches = -(-job.n // size)
    if batches < of:
        raise ValueError(
            f"shard is {job.shard}, but {job.n} initial states are {batches} batches of "
            f"rollout.num_envs={size}, and a shard has whole batches: allowed are up to {batches} "
            "shards; take fewer shards, a smaller rollout.num_envs, or more initial states"
        )
    edges = [min(job.n, size * (number * batches // of)) for number in range(of + 1)]
    return [Part(*edge) for edge in zip(edges, edges[1:], strict=False)]


def begin_shard(job: EvalJob, out: Path) -> EvalJob:
    """Return the settings of a shard's own evaluation, after its run was divided as it says.

    Args:
        job: settings of the evaluation, with a ``shard``.
        out: folder of the run.

    Raises:
        MismatchError: the run was divided into other shards.
    """
    mine = parts(job)[(job.shard_numbers or (1, 1))[0] - 1]
    runtime = job.runtime
    with locked(out / FOLDER / "plan"):
        _check_plan(job, out)
        if runtime == "auto":
            runtime = _runtime_of_others(out) or runtime
    return dataclasses.replace(
        job,
        shard=None,
        first=job.first + mine.start,
        n=mine.stop - mine.start,
        out=_folder(out, mine),
        runtime=runtime,
        rollout=dataclasses.replace(job.rollout, videos=0),  # they are of the merged run
    )


def _folder(out: Path, part: Part) -> Path:
    return out / FOLDER / f"{part.start:06d}-{part.stop:06d}"


def _check_plan(job: EvalJob, out: Path) -> None:
    """Write how the run is divided, or compare it with what another shard wrote."""
    path = out / FOLDER / _PLAN
    wanted = {"first": job.first, "n": job.n, "split": job.split}
    wanted |= {"shards": [[part.start, part.stop] for part in parts(job)]}
    if not path.exists():
        write_json(path, wanted)
    elif (seen := read_json(path)) != wanted:
        lines = [f"  {n}: there {one}, now {other}" for n, one, other in differences(seen, wanted)]
        raise MismatchError(
            f"{out} is divided into other shards, which would overlap with these or leave gaps:\n"
            + "\n".join(lines)
            + f"\nFinish those, or delete {out / FOLDER}"
        )


def _runtime_of_others(out: Path) -> str | None:
    """Return the runtime of the rows of another shard, which all shards share."""
    for path in sorted((out / FOLDER).glob("*/run.json")):
        with contextlib.suppress(OSError):
            return exact_runtime(read_json(path))
    return None


def missing_parts(job: EvalJob, out: Path) -> list[Part]:
    """Return the shards of a run that are not finished.

    Args:
        job: settings of the evaluation, with a ``shard``.
        out: folder of the run.
    """
    if jsonl_length(out / "episodes.jsonl") >= job.n:
        return []
    rows = {part: jsonl_length(_folder(out, part) / "episodes.jsonl") for part in parts(job)}
    return [part for part, found in rows.items() if found < part.stop - part.start]


def merge(job: EvalJob, out: Path, states: InitialStates) -> None:
    """Add the rows of all shards to the run; rows that are there already are kept.

    Args:
        job: settings of the evaluation, with a ``shard``.
        out: folder of the run.
        states: initial states of the whole run.

    Raises:
        MismatchError: shards are of different runs, or lack rows; the message names them. Nothing
            was changed.
    """
    with locked(out / "evaluate"):
        if jsonl_length(out / "episodes.jsonl") >= job.n:
            return
        folders = [_part_folder(out, part, job.rollout.num_envs) for part in parts(job)]
        _check_alike(folders)
        rows = [_checked_rows(*each, states) for each in zip(folders, parts(job), strict=True)]
        run = RunFolder(out, job.rollout.num_envs)
        identity = {k: v for k, v in folders[0].record().items() if k != "conditions"}
        run.claim(identity, states)
        for folder, part, own in zip(folders, parts(job), rows, strict=True):
            _add(run, folder, part.start, own)


def _part_folder(out: Path, part: Part, num_envs: int) -> RunFolder:
    return RunFolder(_folder(out, part), num_envs)


def _check_alike(folders: Sequence[RunFolder]) -> None:
    first, *others = [(folder, folder.record()) for folder in folders]
    own = {k: v for k, v in first[1].items() if k != "conditions"}
    for folder, record in others:
        found = differences(own, {k: v for k, v in record.items() if k != "conditions"})
        lines = [f"  {name}: {one} and {other}" for name, one, other in found]
        if lines:
            raise MismatchError(
                f"shards {first[0].path} and {folder.path.name} are of different runs:\n"
                + "\n".join(lines)
                + "\nDelete the one that is wrong and repeat its command"
            )


def _checked_rows(folder: RunFolder, part: Part, states: InitialStates) -> list[dict[str, object]]:
    rows = folder.rows()
    wanted = [condition_of(state) for state in states.states[part.start : part.stop]]
    if [row["condition"] for row in rows] != wanted:
        raise MismatchError(
            f"shard {folder.path} has {len(rows)} rows that are not those of the {len(wanted)} "
            "initial states of its name; delete it and repeat its command"
        )
    return rows


def _add(run: RunFolder, folder: RunFolder, start: int, rows: Sequence[dict[str, object]]) -> None:
    times = {row["start"]: row for row in folder.timing()}
    for begin in range(0, len(rows), run.num_envs):
        batch = list(rows[begin : begin + run.num_envs])
        if jsonl_length(run.path / "episodes.jsonl") >= start + begin + len(batch):
            continue  # of an earlier evaluation, or of a merge that was killed
        actions = np.stack([folder.actions_of(begin + number) for number in range(len(batch))])
        durations = {k: v for k, v in times.get(begin, _NO_TIMES).items() if k != "start"}
        run.add_batch(start + begin, batch, actions, durations)


_NO_TIMES: dict[str, list[float]] = {"encode": [], "policy": [], "env": [], "render": []}


def forget_shards(out: Path) -> None:
    """Delete the shards of a run that has all their rows."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def in_words(found: Sequence[Part], first: int) -> Iterator[str]:
    """Yield the initial states of shards, such as ``16 to 31``."""
    for part in found:
        yield f"{first + part.start} to {first + part.stop - 1}"


def is_shard(folder: Path) -> bool:
    """Return whether a folder of episodes is a shard's.

    Args:
        folder: with a ``run.json``.
    """
    return folder.parent.name == FOLDER and _NAME.fullmatch(folder.name) is not None
