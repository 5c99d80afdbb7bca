"""What runs of a folder do, from files alone: it works from any machine that sees the folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2robot.errors import CorruptFileError
from s2robot.experiments.heartbeats import Sign, signs
from s2robot.experiments.run_progress import FOLDER, SweepProgress, count_episodes
from s2robot.experiments.sequential_sweep import FILE as SEQUENTIAL
from s2robot.experiments.sequential_sweep import NAMED
from s2robot.utils.io import read_json
from s2robot.utils.progress import duration

RUNNING, LOST, WAITING, FAILED, DONE = "running", "lost", "waiting", "failed", "done"
STATES = (RUNNING, LOST, WAITING, FAILED, DONE)


@dataclass(frozen=True)
class RunStatus:
    """What one run does."""

    name: str
    state: str
    """One of ``STATES``; a lost run has a process that died before its end."""
    episodes: int
    """Number of episodes that are there."""
    wanted: int
    """Number of episodes that are planned; 0 where it is not known."""
    detail: str
    """Machine and time left, success, or the reason of a failure."""


@dataclass(frozen=True)
class FolderStatus:
    """What the runs of a folder do."""

    runs: list[RunStatus]
    lines: list[str]
    """Progress of each sweep, and evidence of a sequential one."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs by state."""
        found = [run.state for run in self.runs]
        return {state: found.count(state) for state in STATES if state in found}

    @property
    def over(self) -> bool:
        """Whether no process works on a run."""
        return RUNNING not in self.counts


def folder_status(runs_dir: Path) -> FolderStatus:
    """Return what the runs of a folder do: those of the latest sweep, and of others that go on.

    Args:
        runs_dir: folder of all runs.
    """
    found = signs(runs_dir / FOLDER)
    by_digest = {sign.digest: (sign, lives) for sign, lives in sorted(found, key=lambda s: s[1])}
    live = {sign.digest for sign, lives in found if lives}
    sweeps = SweepProgress.all_in(runs_dir)
    shown = [s for n, s in enumerate(sweeps) if n == 0 or not live.isdisjoint(s.planned)]
    runs: dict[str, RunStatus] = {}
    for sweep in shown:
        for digest in sweep.planned:
            runs.setdefault(digest, _planned(sweep, digest, by_digest.get(digest)))
    for digest, (sign, lives) in by_digest.items():
        if digest not in runs and (lives or not any(digest in each.planned for each in sweeps)):
            runs[digest] = _of_sign(sign, lives, 0)
    lines = [line for sweep in shown for line in (sweep.text(), sweep.encoding()) if line]
    tests = [runs_dir / SEQUENTIAL, *sorted((runs_dir / NAMED).glob("*.json"))]
    lines += [line for path in tests for line in _evidence(path)]
    return FolderStatus(list(runs.values()), lines)


def _planned(sweep: SweepProgress, digest: str, seen: tuple[Sign, bool] | None) -> RunStatus:
    run = sweep.planned[digest]
    name = run.name or digest
    if seen is not None and (seen[1] or digest not in sweep.done):
        return _of_sign(*seen, run.episodes)
    if digest in sweep.done:
        folder = Path(sweep.done[digest].folder)
        return RunStatus(name, DONE, count_episodes(folder), run.episodes, _success(folder))
    if digest in sweep.failed:
        return RunStatus(name, FAILED, 0, run.episodes, _reason(sweep.runs_dir, digest))
    return RunStatus(name, WAITING, 0, run.episodes, "")


def _of_sign(sign: Sign, lives: bool, wanted: int) -> RunStatus:
    episodes = count_episodes(Path(sign.folder)) if sign.folder else 0
    where = f"{sign.host}, " + (f"job {sign.job}" if sign.job else f"process {sign.pid}")
    if not lives:
        detail = f"no sign of life from {where}, since {sign.stage}; repeat the command"
        return RunStatus(sign.name, LOST, episodes, wanted, detail)
    parts = [f"{sign.stage} on {where}", f"for {duration(time.time() - sign.since)}"]
    new, spent = episodes - sign.episodes_before, time.time() - sign.stage_since
    if new > 0 and wanted > episodes:
        parts.append(f"{duration(spent / new * (wanted - episodes))} left")
    return RunStatus(sign.name, RUNNING, episodes, wanted, ", ".join(parts))


def _success(folder: Path) -> str:
    with contextlib.suppress(OSError, CorruptFileError, KeyError, TypeError, ValueError):
        rate = read_json(folder / "summary.json")["success_once"]["estimate"]
        return f"success {100 * rate:.1f} %"
    return ""


def _reason(runs_dir: Path, digest: str) -> str:
    with contextlib.suppress(OSError, CorruptFileError, TypeError, KeyError):
        return str(read_json(runs_dir / "failed" / digest / "error.json")["error"])
    return "its record cannot be read"


def _evidence(path: Path) -> list[str]:
    """Return a line for each pair of a sequential sweep, and one for its rounds."""
    try:
        record: Mapping[str, Any] = read_json(path)
        labels = [variant["label"] for variant in record["variants"]]
        rounds = max((len(variant["rates"]) for variant in record["variants"]), default=0)
        most = record["episodes"]["fixed_design_seeds"]
        lines = [f"{path.stem} sweep: {rounds} of at most {most} seeds"]
        for pair in record["pairs"]:
            name = f"{labels[pair['second']]} against {labels[pair['first']]}"
            points = pair["difference"]
            shown = "no seed yet" if points is None else f"{100 * points:+.1f} points"
            lines.append(
                f"  {name}: {shown}, {len(pair['seeds'])} seeds, p {pair['adjusted_p']:.3g} "
                f"(any time, Holm): {pair['verdict']}"
            )
    except (OSError, CorruptFileError, KeyError, IndexError, TypeError, ValueError):
        return []
    return lines
