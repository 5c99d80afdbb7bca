"""Runs of a sequential sweep: their description before the first one, and each training seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2robot.errors import MismatchError
from s2robot.evaluation.identity import comparable
from s2robot.experiments.heartbeats import sign_of_life
from s2robot.experiments.jobs import RunJob
from s2robot.experiments.pipeline import execute_run
from s2robot.experiments.run_progress import FOLDER, RunTimes
from s2robot.experiments.settings import policy_settings
from s2robot.experiments.variant import Variant
from s2robot.utils.io import digest_of
from s2robot.utils.records import read_record


@dataclasses.dataclass(frozen=True)
class _Description:
    """The entry of ``cell.json`` that is read here."""

    settings: dict[str, Any]


_CHANGES_NO_ROW = ("workers", "videos", "video_size")
_OF_REAL_TIME = ("realtime", "latency_ms")


def planned_record(job: RunJob, variant: Variant) -> dict[str, Any]:
    """Return what is known of a run before it begins, under the names of ``cell.json``.

    Args:
        job: settings of the run.
        variant: its inputs.
    """
    encoder = variant.encoder
    left_out = _CHANGES_NO_ROW if job.rollout.realtime else (*_CHANGES_NO_ROW, *_OF_REAL_TIME)
    rollout = {k: v for k, v in dataclasses.asdict(job.rollout).items() if k not in left_out}
    task = {"level": job.levels[0], "split": job.split, "n": job.n}
    return {
        "name": variant.label,
        "level": job.levels[0],
        "label": variant.stored_label,
        "family": None if encoder is None else encoder.backbone.card.family,
        "policy_kind": job.train.policy.kind,
        "seed": job.train.seed,
        "conditions": task,
        "parameters": 0 if encoder is None else encoder.parameters_count,
        "gflops_per_frame": variant.gflops_per_frame,
        "settings": {
            "task": {"level": job.levels[0]},
            **policy_settings(job.train, variant),
            "rollout": rollout,
        },
    }


class SeedRuns:
    """Runs of several variants; each training seed has a block of initial states of its own.

    Args:
        jobs: settings of each variant's runs; their seed and block are replaced.
        metric: "success_once" or "success_at_end".
        names: of the variants, for people.
    """

    def __init__(self, jobs: Sequence[RunJob], metric: str, names: Sequence[str]) -> None:
        self.jobs, self.metric, self.names = jobs, metric, names
        self.times: list[RunTimes] = []
        """What each run of this call did, and how long that took."""
        self._keys: dict[int, str] = {}

    def rate(self, variant: int, seed: int, together: Sequence[int]) -> float:
        """Train and evaluate one seed, as `SeedRunner` describes it.

        Raises:
            MismatchError: the folder of the run holds more initial states.
        """
        job = dataclasses.replace(self._job(variant, seed), train_together=tuple(together))
        times = RunTimes()
        progress, name = job.train.runs_dir / FOLDER, f"{self.names[variant]}, seed {seed}"
        with sign_of_life(progress, digest_of(name)[:16], name) as times.on_stage:
            summary = execute_run(job, times=times)
        self.times.append(times)
        if summary.episodes != job.n:
            raise MismatchError(
                f"seed {seed} of variant {variant + 1} has {summary.episodes} episodes, not "
                f"{job.n}: another sweep added some. Give another folder with runs_dir="
            )
        if variant not in self._keys:
            self._keys[variant] = _key(Path(times.folder))
        return getattr(summary, self.metric).estimate

    def seconds_per_run(self) -> float | None:
        """Return the mean time of the runs that were not there before [s]; None without one."""
        new = [each for each in self.times if each.trained or each.episodes]
        return sum(each.training_s + each.rollout_s for each in new) / len(new) if new else None

    def key(self, variant: int) -> str | None:
        """Return the digest of the settings in a variant's finished runs; None if it has none."""
        return self._keys.get(variant)

    def _job(self, variant: int, seed: int) -> RunJob:
        job = self.jobs[variant]
        train = dataclasses.replace(job.train, seed=seed)
        return dataclasses.replace(job, train=train, first=seed * job.n)


def _key(folder: Path) -> str:
    """Return the digest of the settings in a finished run's ``cell.json``."""
    cell = read_record(_Description, folder / "cell.json", "repeat the command")
    return digest_of(comparable(cell.settings))
