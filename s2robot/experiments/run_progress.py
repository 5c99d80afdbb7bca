"""Progress of a sweep: runs finished of all, and the time left, measured on finished runs.

``runs_dir/progress`` holds the list of each sweep's runs and, for each finished run, how long it
took. So a resumed sweep knows from its start what is done and how long a run takes, and processes
of other launchers, which share nothing but the disk, count all runs. Several sweeps may share the
folder, also at once: each has a list of its own.

The runs of a variant roll out one by one, but its seeds are trained by the first of them. So the
time left is that of the rollouts of all runs left, and of one training for each variant that has
none yet.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from rich.progress import ProgressColumn, Task
from rich.text import Text

from s2robot.errors import CorruptFileError
from s2robot.evaluation.baselines import is_baseline, stored_name
from s2robot.experiments.heartbeats import sign_of_life, signs
from s2robot.utils.console import MESSAGES
from s2robot.utils.io import digest_of, jsonl_length, paths_below, read_json, write_json
from s2robot.utils.progress import duration, live_progress

FOLDER = "progress"
PLANS = "sweeps"
"""Folder of the lists of runs, one for each sweep."""


@dataclass
class RunTimes:
    """What a run did, and how long that took."""

    training_s: float = 0.0
    trained: bool = False
    """False where the policy was there."""
    rollout_s: float = 0.0
    episodes: int = 0
    """Number of new episodes."""
    folder: str = ""
    """Folder of the run."""
    encoded: dict[str, int] = field(default_factory=dict)
    """Number of frames that were encoded for its training, by scale."""
    reused: dict[str, int] = field(default_factory=dict)
    """Number of frames whose features were there, by scale."""
    on_stage: Callable[[str, str, int], None] | None = None
    """Is told what the run does now, its policy's folder, and the number of episodes there."""

    def enter(self, stage: str, folder: Path, episodes: int = 0) -> None:
        """Tell what the run does now.

        Args:
            stage: what it does.
            folder: of its policy.
            episodes: number of episodes that are there.
        """
        if self.on_stage is not None:
            self.on_stage(stage, str(folder), episodes)

    def record(self) -> dict[str, Any]:
        """Return the JSON-able content of the file of a finished run."""
        return {key: value for key, value in vars(self).items() if key != "on_stage"}


def count_episodes(folder: Path) -> int:
    """Return the number of episodes in a policy's folder, of all levels and shards."""
    return sum(jsonl_length(path) for path in paths_below(folder, "episodes.jsonl"))


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep."""

    digest: str
    """Digest of its settings."""
    variant: str
    """Digest of its settings but for the seed."""
    baseline: bool
    """True for a policy without pixels, which takes much less time."""
    episodes: int
    """Number of episodes."""
    name: str = ""
    """What sets it apart from the sweep's other runs."""


def run_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each run of a sweep: its encoder, and the settings that not all share.

    Args:
        configs: settings of the runs.

    Examples:
        >>> run_names([{"encoder": "r3m", "seed": seed, "n": 8} for seed in (0, 1)])
        ['encoder=r3m seed=0', 'encoder=r3m seed=1']
    """
    flat = [dict(_flat(config)) for config in configs]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    differing = [key for key in keys if len({str(each.get(key)) for each in flat}) > 1]
    named = list(dict.fromkeys(["encoder", *differing, "seed"]))
    named = [key for key in named if key != "train_together"]
    return [" ".join(f"{key}={_word(each.get(key))}" for key in named) for each in flat]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _word(value: Any) -> str:
    return str(value).replace(" ", "")


def planned_run(config: Mapping[str, Any], name: str = "") -> PlannedRun:
    """Return a run of a sweep from its settings, as ``configs/sweep.yaml`` has them.

    Args:
        config: settings; seeds that are trained together change nothing.
        name: of the run.
    """
    own = {name: value for name, value in config.items() if name != "train_together"}
    return PlannedRun(
        digest_of(own)[:16],
        digest_of({name: value for name, value in own.items() if name != "seed"})[:16],
        is_baseline(stored_name(str(own["encoder"]))),
        -(-int(own["n"]) // _shards(own)) * max(1, len(own["eval_levels"])),
        name,
    )


def _shards(config: Mapping[str, Any]) -> int:
    shard = str(config.get("shard") or "1/1")
    return max(1, int(shard.rpartition("/")[2])) if shard[-1].isdigit() else 1


class SweepProgress:
    """Runs of a sweep that are finished, failed and left.

    Args:
        runs_dir: folder of all runs.
        planned: the runs.
        started: time of the sweep's start [s since 1970].
        in_turn: True where runs follow each other in one process, False where they run at once.
        together: True where the first run of a variant trains all its seeds.
    """

    def __init__(
        self,
        runs_dir: Path,
        planned: Sequence[PlannedRun],
        started: float,
        in_turn: bool,
        together: bool,
    ) -> None:
        self.runs_dir, self.started = runs_dir, started
        self.planned = {run.digest: run for run in planned}
        self.in_turn, self.together = in_turn, together
        self.current: tuple[PlannedRun, float] | None = None
        """The run that is going on, and its start."""
        self.done: dict[str, RunTimes] = {}
        self.failed: set[str] = set()
        self.refresh()

    @classmethod
    def begin(
        cls, runs_dir: Path, planned: Iterable[PlannedRun], in_turn: bool, together: bool
    ) -> SweepProgress:
        """Return the progress of a sweep that begins, and write its list for other processes."""
        runs = list({run.digest: run for run in planned}.values())
        plan = {
            "started": time.time(),
            "in_turn": in_turn,
            "together": together,
            "runs": [asdict(run) for run in runs],
        }
        name = digest_of(sorted(run.digest for run in runs))[:16]  # the same, where it is resumed
        write_json(runs_dir / FOLDER / PLANS / f"{name}.json", plan)
        return cls(runs_dir, runs, plan["started"], in_turn, together)

    @classmethod
    def all_in(cls, runs_dir: Path) -> list[SweepProgress]:
        """Return the progress of all sweeps in a folder of runs, the latest first."""
        found = []
        for path in (runs_dir / FOLDER / PLANS).glob("*.json"):
            with contextlib.suppress(OSError, CorruptFileError, KeyError, TypeError):
                plan = read_json(path)
                runs = [PlannedRun(**run) for run in plan["runs"]]
                found.append(
                    cls(runs_dir, runs, plan["started"], plan["in_turn"], plan["together"])
                )
        return sorted(found, key=lambda sweep: -sweep.started)

    @classmethod
    def forget_failures(cls, runs_dir: Path) -> None:
        """Delete the records of failures, but for those of sweeps that go on in other processes."""
        live = {sign.digest for sign, lives in signs(runs_dir / FOLDER) if lives}
        kept = {
            digest
            for sweep in cls.all_in(runs_dir)
            if not live.isdisjoint(sweep.planned)
            for digest in sweep.planned
        }
        for path in (runs_dir / "failed").glob("*/error.json"):
            if path.parent.name not in kept:
                shutil.rmtree(path.parent, ignore_errors=True)

    @classmethod
    def of_run(cls, runs_dir: Path, config: Mapping[str, Any]) -> SweepProgress | None:
        """Return the progress of the latest sweep with a run; None if no list has it.

        Args:
            runs_dir: folder of all runs.
            config: settings of the run.
        """
        digest = planned_run(config).digest
        return next((each for each in cls.all_in(runs_dir) if digest in each.planned), None)

    def refresh(self) -> None:
        """Read what is finished and failed; a run whose results are gone is not finished."""
        for digest in self.planned:
            with contextlib.suppress(OSError, CorruptFileError, TypeError):
                times = RunTimes(**read_json(self._path(digest)))
                if (Path(times.folder) / "summary.json").exists():
                    self.done[digest] = times
        records = (self.runs_dir / "failed" / digest / "error.json" for digest in self.planned)
        self.failed = {path.parent.name for path in records if path.exists()}

    def _path(self, digest: str) -> Path:
        return self.runs_dir / FOLDER / f"{digest}.json"

    @contextlib.contextmanager
    def run(self, config: Mapping[str, Any]) -> Iterator[RunTimes]:
        """Show the progress before a run, and take its times when it is finished.

        Args:
            config: settings of the run.

        Yields:
            The times, which the run fills in. A run without a folder counts as failed.
        """
        run, times = planned_run(config), RunTimes()
        self.refresh()
        self.current = run, time.monotonic()
        name = self.planned[run.digest].name if run.digest in self.planned else run.digest
        try:
            with sign_of_life(self.runs_dir / FOLDER, run.digest, name) as times.on_stage:
                with self._shown():
                    yield times
        finally:
            self.current = None
        if times.folder and run.digest in self.planned:
            earlier = self.done.get(run.digest)
            if earlier is None or times.episodes:
                self.done[run.digest] = times
                write_json(self._path(run.digest), times.record())

    def text(self) -> str:
        """Return the number of finished runs, of failed ones, and the time left, in one line."""
        failed = self.failed - self.done.keys()
        parts = [f"sweep: {len(self.done)} of {len(self.planned)} runs finished"]
        parts += [f"{len(failed)} failed"] if failed else []
        left = self.seconds_left()
        if len(self.done) + len(failed) < len(self.planned):
            parts.append("time left not known yet" if left is None else f"{duration(left)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """Return the time that the runs left take [s]; None where no run like them was measured."""
        ended = self.done.keys() | self.failed
        left = [run for digest, run in self.planned.items() if digest not in ended]
        if not self.in_turn:
            return self._left_by_rate(len(left))
        rollouts = [self._rollout_s(run) for run in left]
        trainings = [self._training_s(run) for run in self._untrained(left)]
        known = [value for value in (*rollouts, *trainings) if value is not None]
        if len(known) < len(rollouts) + len(trainings):
            return None
        spent = time.monotonic() - self.current[1] if self.current else 0.0
        return max(0.0, sum(known) - spent)

    def _left_by_rate(self, left: int) -> float | None:
        """Return the time left where runs run at once: that of those finished since the start."""
        paths = [self._path(digest) for digest in self.done]
        new = sum(path.exists() and path.stat().st_mtime > self.started for path in paths)
        return (time.time() - self.started) / new * left if new else None

    def _untrained(self, left: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the runs left that have to train; the first of a variant trains all its seeds."""
        if not self.together:
            return list(left)
        begun = {self.planned[digest].variant for digest in self.done}
        first = {run.variant: run for run in reversed(left)}
        return [run for run in first.values() if run.variant not in begun]

    def _rollout_s(self, run: PlannedRun) -> float | None:
        each = self._like(run, lambda times: times.episodes > 0, _seconds_per_episode)
        return None if each is None else each * run.episodes

    def _training_s(self, run: PlannedRun) -> float | None:
        return self._like(run, lambda times: times.trained, lambda times: times.training_s)

    def _like(
        self,
        run: PlannedRun,
        measured: Callable[[RunTimes], bool],
        seconds: Callable[[RunTimes], float],
    ) -> float | None:
        """Return the mean over measured runs of the same variant, or else of the same kind."""
        found = [(self.planned[key], seconds(t)) for key, t in self.done.items() if measured(t)]
        same = [value for other, value in found if other.variant == run.variant]
        alike = [value for other, value in found if run.baseline or not other.baseline]
        return mean(same or alike) if same or alike else None

    def last_line(self) -> str:
        """Return the line after the last run."""
        self.refresh()
        parts = [f"{self.text()} after {duration(time.time() - self.started)}", self.encoding()]
        return "\n".join(filter(None, parts))

    def encoding(self) -> str:
        """Return how many frames of how many scales were encoded and reused, in one line."""
        done = self.done.values()
        encoded = [f"{n:,}" for times in done for n in times.encoded.values()]
        reused = [n for times in done for n in times.reused.values()]
        if not encoded and not reused:
            return ""
        counts = [f"{encoded.count(n)} × {n} frames" for n in dict.fromkeys(encoded)]
        return (
            f"features of demonstrations, by encoder and scale: encoded {' and '.join(counts) or 0}"
            f", reused {len(reused)} times"
        )

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Show the line below what a run prints on a terminal; in a pipe, print it once."""
        if not (self.in_turn and MESSAGES.is_terminal):
            MESSAGES.print(self.text())
            yield
            return
        with live_progress(_TextOf(self), shown=True, transient=True) as line:
            line.add_task("", total=None)
            yield


def _seconds_per_episode(times: RunTimes) -> float:
    return times.rollout_s / times.episodes


class _TextOf(ProgressColumn):
    """The line of a sweep, whose time left goes down while a run goes on."""

    def __init__(self, sweep: SweepProgress) -> None:
        super().__init__()
        self.sweep = sweep

    def render(self, task: Task) -> Text:
        """Return the line."""
        return Text(self.sweep.text(), style="bold")
