"""Jobs: the settings of a training, of an evaluation, and of a run, which is both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from s2robot.encoder.spec import DTYPES
from s2robot.envs.tasks.loading import named_by_user
from s2robot.envs.tasks.names import check_stored, related_tasks
from s2robot.errors import unknown
from s2robot.evaluation.agents.config import ExternalConfig
from s2robot.evaluation.config import FIRST_SEEDS, EvalConfig
from s2robot.experiments.config import VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.runtimes import checked_name
from s2robot.training.config import SearchConfig, TrainConfig
from s2robot.utils.devices import check_device
from s2robot.utils.validation import require_integers, require_one_of


@dataclass(frozen=True)
class TrainJob:
    """Training of one policy: a variant, a network, a budget, a seed."""

    variant: VariantConfig = field(default_factory=VariantConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig | None = field(default_factory=SearchConfig)
    """Hyperparameter search, one for each training seed; None trains with ``policy`` and ``train``
    unchanged."""
    seed: int = 0
    """Seed of the training and of its hyperparameter search."""
    runs_dir: Path = Path("runs")
    """Folder of all runs."""

    def __post_init__(self) -> None:
        require_integers(self, 0, "seed")


@dataclass(frozen=True)
class TrainCommand(TrainJob):
    """What ``s2robot train`` does: a training, or on recorded data one of several seeds.

    Raises:
        ValueError: there are several seeds for a simulator's demonstrations.
    """

    seeds: int = 1
    """With ``data``: number of training seeds, from ``seed`` on, with one page of all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integers(self, 1, "seeds")
        if self.seeds > 1 and self.variant.data is None:
            listed = ",".join(str(self.seed + each) for each in range(min(self.seeds, 3)))
            raise ValueError(
                f"seeds is {self.seeds}, which is of recorded data (data=PATH); `s2robot sweep` "
                f"trains and evaluates several seeds in a simulator: seed={listed}"
            )


@dataclass(frozen=True)
class EvalJob:
    """Evaluation of a policy file, or of a policy that is not ours."""

    checkpoint: Path | None = None
    """The policy file."""
    external: ExternalConfig = field(default_factory=ExternalConfig)
    """A policy that is not ours, in place of `checkpoint`."""
    level: str | None = None
    """Level of the episodes: the policy's own (None), or one that differs in its appearance alone,
    whose episodes start from the same states."""
    task: str | None = None
    """Task by name, in place of `level`; a task with a module in its name is imported only if it is
    named here."""
    observations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a policy of recorded data (data=PATH): its cameras and observations by their keys in the
    data, and the task's names for them, where these differ; several are joined in order."""
    split: str = "test"
    """Split of the initial states: "test" or "selection"."""
    n: int = 64
    """Number of initial states."""
    rollout: EvalConfig = field(default_factory=EvalConfig)
    out: Path | None = None
    """Folder of the episodes; None puts them beside the policy."""
    weights: Path | None = None
    """File with the encoder's weights, for encoders that do not ship."""
    device: str = "auto"
    dtype: str = "auto"
    """Precision of the encoder; ``auto``: as in training, but float32 on a CPU that is slower in
    bfloat16."""
    runtime: str = "auto"
    """Runtime of the encoder; see ``FrameEncoder.use_runtime``. With "auto" all rows of a folder
    are made by one: that of its earlier rows, else the fastest for ``rollout.num_envs`` frames."""
    data_dir: Path = Path("data")
    """Folder with the initial states."""
    fresh: bool = False
    """Delete the episodes of an earlier evaluation first."""
    first: int = 0
    """Index of the first initial state in the split."""
    shard: str | None = None
    """Which part of the initial states to roll out, such as "2/8"; the last one that is finished
    merges all parts into the run. None: all of them."""
    int8_fallback: bool = True
    """Take another precision where frames do not fit the calibration of "openvino-int8"; without,
    a warning tells so and int8 stays."""

    def __post_init__(self) -> None:
        if self.policy is not None:
            self._check_external(self.policy)
        elif self.checkpoint is None:
            raise ValueError(
                "checkpoint is missing; give it as checkpoint=VALUE, or policy=MODULE:CALLABLE "
                "for a policy that is not ours"
            )
        elif self.external != ExternalConfig():
            raise ValueError("external.* are settings of policy=; a policy file takes none of them")
        if self.task is not None:
            object.__setattr__(self, "level", named_by_user(self.task))
        if self.level is not None:
            check_stored(self.level)
        _check_initial_states(self)
        if self.shard is not None and self.fresh:
            raise ValueError("fresh=true deletes a run; it is not allowed with a shard of one")
        require_one_of(self, {"dtype": ("auto", *DTYPES)})
        checked_name(self.runtime)
        check_device(self.device)

    def _check_external(self, policy: str) -> None:
        """Refuse what a policy that is not ours has no use for."""
        if self.checkpoint is not None:
            raise ValueError(
                f"policy is {policy!r} and checkpoint {self.checkpoint}; give one of them"
            )
        if self.task is None and self.level is None:
            raise ValueError(f"policy={policy} does not say its task; give task=, or level=")
        defaults = {each.name: each.default for each in fields(self)}
        given = [name for name in _OF_FILES if getattr(self, name) != defaults[name]]
        given += ["observations"] if self.observations else []
        given += [f"rollout.{name}" for name in ("reuse",) if self.rollout.reuse]
        given += ["rollout.tile_budget"] if self.rollout.tile_budget is not None else []
        if given:
            raise ValueError(
                f"{given[0]} is of policy files and their encoders; policy={policy} computes as "
                "it does itself: leave it out"
            )

    @property
    def policy(self) -> str | None:
        """Name of a policy that is not ours; None for a policy file."""
        return self.external.policy

    @property
    def policy_file(self) -> Path:
        """The policy file.

        Raises:
            ValueError: the policy is not ours.
        """
        if self.checkpoint is None:
            raise ValueError(f"policy={self.policy} has no policy file")
        return self.checkpoint

    @property
    def shard_numbers(self) -> tuple[int, int] | None:
        """Number of the shard, from 1, and number of all shards; None without shards."""
        return _shard_numbers(self.shard)


_OF_FILES = ("weights", "device", "dtype", "runtime", "int8_fallback", "shard")
"""Settings of an evaluation that a policy that is not ours has no use for."""


@dataclass(frozen=True)
class RunJob:
    """One run of a sweep: a training and its evaluations.

    Raises:
        ValueError: a level of ``eval_levels`` has another task than the variant's level.
    """

    train: TrainJob = field(default_factory=TrainJob)
    n: int = 64
    """Number of initial states."""
    split: str = "test"
    """Split of the initial states."""
    rollout: EvalConfig = field(default_factory=EvalConfig)
    eval_levels: tuple[str, ...] = ()
    """Levels of the evaluations, which differ in their appearance alone; empty: the variant's."""
    first: int = 0
    """Index of the first initial state in the split; so each seed can have a block of its own."""
    shard: str | None = None
    """Which part of the initial states to roll out, such as "2/8"; None: all of them."""
    train_together: tuple[int, ...] = ()
    """Seeds whose policies are trained with this one where they are missing; changes no result."""

    def __post_init__(self) -> None:
        _check_initial_states(self)
        if self.train.variant.data is not None:
            raise ValueError(
                f"data={self.train.variant.data} has no simulator for rollouts; `s2robot train "
                "data=PATH` trains a policy on it and measures its error on held-out episodes"
            )
        own = self.train.variant.level
        allowed = related_tasks(own)
        for level in self.eval_levels:
            if level not in allowed:
                raise unknown(f"level for policies of level {own!r} in eval_levels", level, allowed)

    @property
    def levels(self) -> list[str]:
        """Levels of the evaluations, each once."""
        return list(dict.fromkeys(self.eval_levels)) or [self.train.variant.level]


def _shard_numbers(text: str | None) -> tuple[int, int] | None:
    """Return number and count of a shard, ``2/8``; None for all initial states."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"shard is {text!r}; allowed: K/N with K from 1 to N, such as 2/8")
    return int(found[1]), int(found[2])


def _check_initial_states(job: EvalJob | RunJob) -> None:
    _shard_numbers(job.shard)
    require_one_of(job, {"split": FIRST_SEEDS})
    require_integers(job, 1, "n")
    require_integers(job, 0, "first")
    if job.shard is not None and job.rollout.measures_latency:
        raise ValueError(
            f"shard is {job.shard}, but real time measures the latency of one machine, and shards "
            "may run on several; give rollout.latency_ms, or leave shard out"
        )
