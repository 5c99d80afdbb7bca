"""The run and the episode that a user names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.errors import S2RobotError, unknown
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.experiments.run_folders import how_to_evaluate
from s2robot.experiments.settings import POLICY
from s2robot.policies.checkpoint import PolicyHeader, read_header
from s2robot.utils.io import paths_below

RECORD = "run.json"
_A_RUN = (
    f"a run is the folder of an evaluation's episodes, with {RECORD}, as `s2robot sweep`, "
    "`s2robot decide` and `s2robot eval` write it"
)
SHORTEST_HASH = 4
"""Digits of an initial state's hash that name it."""


@dataclass(frozen=True)
class StoredEpisode:
    """An episode on disk."""

    folder: RunFolder
    record: Mapping[str, Any]
    """Content of ``run.json``."""
    row: Mapping[str, Any]
    """Its line of ``episodes.jsonl``."""
    number: int
    """Place of its row in the run."""

    @property
    def batch_start(self) -> int:
        """Place of the first row of the batch in which it was made."""
        return self.number - self.number % self.folder.num_envs


def find_run(text: str, runs: Path) -> Path:
    """Return the folder of a run: a path, a name below the folder of runs, or a name's beginning.

    Args:
        text: path or name.
        runs: folder of the runs, for names.

    Raises:
        S2RobotError: the path is a file outside a run, the folder holds no episodes, or the name
            fits several runs.
        ValueError: there is no such run; the message lists those there are.
    """
    for path in (Path(text), runs / text):
        folder = path.parent if path.is_file() else path
        if (folder / RECORD).is_file():
            return folder
        if path.is_file():
            raise S2RobotError(
                f"{path} is a file, not a run: {_A_RUN}. Give one, as in {runs / 'NAME'}"
            )
        if path.is_dir():
            raise _without_episodes(folder)
    names = sorted(str(path.parent.relative_to(runs)) for path in paths_below(runs, RECORD))
    fitting = [name for name in names if name.startswith(text)]
    if len(fitting) == 1:
        return runs / fitting[0]
    if fitting:
        raise S2RobotError(f"{text!r} fits {len(fitting)} runs; give one:\n  " + _listed(fitting))
    if not names:
        raise S2RobotError(
            f"no run {text!r}: it is no folder, and {runs} holds no runs. Give the folder of a "
            "run, or --runs with the folder of the runs (runs/cells where runs_dir is not given)"
        )
    raise unknown(f"run (a folder, or a name in {runs})", text, names)


def _without_episodes(folder: Path) -> S2RobotError:
    """Return the error for a folder that is not that of a run, with the runs below it."""
    below = sorted(str(path.parent) for path in paths_below(folder, RECORD))
    if below:
        return S2RobotError(
            f"{folder} is not the folder of one run; give one of these:\n  {_listed(below)}"
        )
    if (folder / POLICY).is_file():
        return S2RobotError(
            f"{folder} holds no {RECORD}, so no episodes: evaluate its policy first, with "
            f"{how_to_evaluate(folder)}"
        )
    return S2RobotError(f"{folder} holds no {RECORD}, so it is no run: {_A_RUN}")


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return "\n  ".join([*names[:most], *more])


def find_episode(folder: Path, text: str) -> StoredEpisode:
    """Return an episode of a run by the index of its row, or the hash of its initial state.

    Args:
        folder: of the run.
        text: index, or the beginning of the hash.

    Raises:
        CorruptFileError: ``run.json`` or a row is damaged.
        S2RobotError: the run has no episode yet.
        ValueError: it has no such episode, or the hash fits several; the message says which it has.
    """
    batch = RunFolder(folder, 1).record()["rollout"]["num_envs"]
    run = RunFolder(folder, batch)
    rows = run.rows()
    if not rows:
        raise S2RobotError(f"{folder} has no episode yet; let the sweep continue")
    wanted = text.lower()
    found = [i for i, row in enumerate(rows) if wanted == str(row["index"])]
    if not found and len(wanted) >= SHORTEST_HASH:
        found = [i for i, row in enumerate(rows) if row["condition"].startswith(wanted)]
    if len(found) != 1:
        what = "has no episode" if not found else f"has {len(found)} episodes whose hash begins"
        first, last = rows[0]["index"], rows[-1]["index"]
        raise ValueError(
            f"{folder.name} {what} {text!r}; it has {len(rows)}: give an index from {first} to "
            f"{last}, or the hash of an initial state, such as {rows[0]['condition']}"
        )
    return StoredEpisode(run, run.record(), rows[found[0]], found[0])


def find_policy(episode: StoredEpisode, given: Path | None) -> tuple[Path, PolicyHeader]:
    """Return the policy file that made an episode, and its header.

    Args:
        episode: of the run.
        given: the file; None looks in the run's folder and in the folder above.

    Raises:
        S2RobotError: it is missing, or another policy made the episode.
        CorruptFileError: the file is damaged.
    """
    folder, wanted = episode.folder.path, str(episode.record["policy"])
    places = [given] if given else [folder / POLICY, folder.parent / POLICY]
    seen = []
    for path in places:
        if path.is_file():
            header = read_header(path)
            if header.sha256 == wanted:
                return path, header
            seen.append(f"{path} is another one, {header.sha256[:12]}")
        else:
            seen.append(f"{path} does not exist")
    raise S2RobotError(
        f"the policy {wanted[:12]} that made this episode was not found: {'; '.join(seen)}. Give "
        "its file with --checkpoint, or play the stored actions, which need no policy: --stored"
    )
