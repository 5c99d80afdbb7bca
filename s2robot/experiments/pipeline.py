"""From an arm's settings to a trained, evaluated cell; every stage is made once and found again.

An *arm* is what is compared: camera, encoder, scales, readout, policy kind. A *cell* is one arm
trained with one seed and rolled out on one set of initial conditions. Demonstrations, frames,
features, the arm's head choice, policies and episodes lie on disk under names made of their
inputs, so a rerun, a resumed run and a neighbouring cell all take up what is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.envs.levels import get_level, levels_of_task
from s2robot.envs.pick_cube import CONTROL_DT_S, PickCubeEnv
from s2robot.errors import unknown
from s2robot.evaluation.baselines import is_baseline
from s2robot.evaluation.evaluate import EvalConfig, Summary, evaluate
from s2robot.evaluation.initial_states import InitialStates, ensure_initial_states
from s2robot.experiments.variant import Variant, VariantConfig
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    load_policy,
    read_header,
    save_policy,
)
from s2robot.policies.config import PolicyConfig
from s2robot.training.hyperparameter_search import (
    HyperparameterChoice,
    SearchConfig,
    search_hyperparameters,
)
from s2robot.training.trainer import FitResult, TrainConfig, fit
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import digest_of, locked, read_json, write_json
from s2robot.utils.provenance import provenance

console = Console()


@dataclass(frozen=True)
class TrainJob:
    """One policy to train: an arm, a network, a budget, a seed."""

    variant: VariantConfig = field(default_factory=VariantConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    search: SearchConfig | None = field(default_factory=SearchConfig)
    """Head search; None trains ``policy`` and ``train`` as they stand."""
    seed: int = 0
    runs_dir: Path = Path("runs")


def choose_hyperparameters(job: TrainJob, variant: Variant) -> HyperparameterChoice | None:
    """The arm's head, searched once on held-out demonstrations and then the same for every seed."""
    if job.search is None:
        return None
    identity = {
        **variant.identity(),
        "policy": dataclasses.asdict(job.policy),
        "train": dataclasses.asdict(job.train),
        "search": dataclasses.asdict(job.search),
    }
    cache = job.runs_dir / "heads" / f"{digest_of(identity)[:24]}.jsonl"
    data = variant.data
    with locked(cache), Progress(console=console) as progress:
        bar = progress.add_task("head search", total=job.search.trials)
        return search_hyperparameters(
            data,
            job.policy,
            job.train,
            job.search,
            cache_path=cache,
            on_trial=lambda _: progress.advance(bar),
            device=variant.config.device,
        )


def policy_folder(job: TrainJob, variant: Variant) -> Path:
    """Where a trained policy lies; the name is for people, the digest decides."""
    identity = {
        **variant.identity(),
        "policy": dataclasses.asdict(job.policy),
        "train": dataclasses.asdict(job.train),
        "search": None if job.search is None else dataclasses.asdict(job.search),
        "seed": job.seed,
    }
    scales = "".join(f"{s:g}" for s in variant.config.scales)
    words = [variant.config.level, variant.encoder_name.replace("/", "-")]
    if not variant.is_baseline:
        words += [f"s{scales}", variant.config.input_mode, variant.config.readout]
    name = "_".join([*words, job.policy.kind, f"seed{job.seed}", digest_of(identity)[:10]])
    return job.runs_dir / "cells" / name


def train_run(job: TrainJob, variant: Variant) -> Path:
    """Train one policy (or find it trained); returns the policy file's path."""
    folder = policy_folder(job, variant)
    path = folder / "policy.safetensors"
    with locked(folder / "train"):
        if path.exists():
            load_policy(path)  # verified, so that a damaged one is found here
            return path
        choice = choose_hyperparameters(job, variant)
        policy_config = job.policy if choice is None else choice.policy_config
        lr = job.train.lr if choice is None else choice.lr
        train_config = dataclasses.replace(job.train, lr=lr, seed=job.seed)
        result = _fit(variant, policy_config, train_config, folder / "training")
        header = _header(job, variant, policy_config, train_config, choice)
        save_policy(path, result.policy, header)
        write_json(folder / "history.json", list(result.history))
    return path


def _fit(variant: Variant, policy: PolicyConfig, config: TrainConfig, folder: Path) -> FitResult:
    data = variant.data
    with Progress(console=console) as progress:
        bar = progress.add_task(f"training, seed {config.seed}", total=config.epochs)

        def show(row: dict[str, float]) -> None:
            progress.update(bar, completed=row["epoch"])

        return fit(data, policy, config, folder, on_epoch=show, device=variant.config.device)


def _header(
    job: TrainJob,
    variant: Variant,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    choice: HyperparameterChoice | None,
) -> PolicyHeader:
    demos = variant.demos
    env = PickCubeEnv(**demos.env_kwargs)
    space = action_space_record(env.action_space, demos.control, 1 / CONTROL_DT_S)  # pyright: ignore[reportArgumentType]
    env.close()
    return PolicyHeader(
        policy_config=policy_config,
        encoder=variant.encoder_record,
        embedding_shape=variant.embedding_shape,
        proprio_keys=variant.proprio_keys,
        action_space=space,
        env_kwargs=demos.env_kwargs,
        frames={} if variant.is_baseline else variant.frames.source,
        demos_digest=demos.digest,
        train=dataclasses.asdict(train_config),
        seed=job.seed,
        head={} if choice is None else choice.to_dict(),
        provenance=provenance(),
    )


@dataclass(frozen=True)
class EvalJob:
    """A policy file to roll out."""

    checkpoint: Path
    level: str | None = None
    """Level to roll out on: the policy's own (None), or one that differs in its appearance alone,
    whose episodes then start from the same states."""
    split: str = "test"
    n: int = 64
    rollout: EvalConfig = field(default_factory=EvalConfig)
    out: Path | None = None
    weights: Path | None = None
    """File with the encoder's weights, for encoders that do not ship."""
    device: str = "auto"
    dtype: str = "auto"
    """Precision of the encoder; ``auto``: as trained on a GPU, float32 on a processor."""
    runtime: str = "eager"
    """What carries the encoder's work out; see ``FrameEncoder.use_runtime``."""
    data_dir: Path = Path("data")
    fresh: bool = False


def initial_states_for(job: EvalJob, env_kwargs: dict[str, Any]) -> InitialStates:
    """The fixed initial conditions of a level, made once and verified by their hash."""
    level = job.level or env_kwargs["level"]
    return ensure_initial_states(job.data_dir / "conditions", level, job.split, job.n, env_kwargs)


def eval_folder(job: EvalJob, own_level: str | None) -> Path:
    """Where episodes go: ``out``, else beside the policy; another level's in a folder there."""
    beside = job.checkpoint.parent
    return job.out or (beside if job.level in (None, own_level) else beside / str(job.level))


def evaluate_policy(job: EvalJob) -> Summary:
    """Roll a policy file out on fixed conditions; rows and videos go beside it."""
    policy, header = load_policy(job.checkpoint)
    encoder = None
    if not is_baseline(header.encoder["backbone"]):
        encoder = _rebuild_encoder(job, EncoderSpec.from_dict(header.encoder))
    initial_states = initial_states_for(job, header.env_kwargs)
    out = eval_folder(job, header.level)
    return evaluate(
        policy, encoder, initial_states, job.rollout, out, header=header, fresh=job.fresh
    )


def _rebuild_encoder(job: EvalJob, spec: EncoderSpec) -> FrameEncoder:
    """The policy's encoder; bfloat16 is several times slower than float32 on a processor."""
    dtype = None if job.dtype == "auto" else job.dtype
    if dtype is None and spec.dtype != "float32" and resolve_device(job.device).type == "cpu":
        dtype = "float32"
        console.print(f"encoder in float32 on the processor (trained in {spec.dtype})")
    return FrameEncoder.from_spec(
        spec, weights=job.weights, device=job.device, dtype=dtype, runtime=job.runtime
    )


@dataclass(frozen=True)
class RunJob:
    """One cell of a sweep: train, then evaluate."""

    train: TrainJob = field(default_factory=TrainJob)
    n: int = 64
    split: str = "test"
    rollout: EvalConfig = field(default_factory=EvalConfig)
    eval_levels: tuple[str, ...] = ()
    """Levels to roll the same policy out on, which differ in their appearance alone; none: its
    own."""

    def __post_init__(self) -> None:
        own = self.train.variant.level
        allowed = levels_of_task(own)
        for level in self.eval_levels:
            if level not in allowed:
                raise unknown(f"level for policies of level {own!r} in eval_levels", level, allowed)

    @property
    def levels(self) -> list[str]:
        """The levels to roll out on, each once."""
        return list(dict.fromkeys(self.eval_levels)) or [self.train.variant.level]


def execute_run(job: RunJob, say: Callable[[str], None] = console.print) -> Summary:
    """Train and evaluate one cell; what is already there is taken up, not made again.

    Returns the first level's summary; those of further ones are said.
    """
    variant = Variant(job.train.variant)
    say(
        f"run: {variant.config.level}, {variant.label}, {job.train.policy.kind}, "
        f"seed {job.train.seed}"
    )
    path = train_run(job.train, variant)
    summaries = {level: _evaluate_run(job, variant, path, level) for level in job.levels}
    for level in job.levels[1:]:
        say(f"on {level}: {summaries[level]}")
    return summaries[job.levels[0]]


def _evaluate_run(job: RunJob, variant: Variant, path: Path, level: str) -> Summary:
    """Roll one cell's policy out on one level and write what the report needs of it."""
    eval_job = EvalJob(
        checkpoint=path,
        level=level,
        split=job.split,
        n=job.n,
        rollout=job.rollout,
        weights=variant.config.weights,
        device=variant.config.device,
        runtime=variant.config.runtime,
        data_dir=variant.config.data_dir,
    )
    header = read_header(path)
    record = _run_record(job, variant, header, eval_job)
    write_json(eval_folder(eval_job, header.level) / "cell.json", record)
    return evaluate_policy(eval_job)


def _run_record(
    job: RunJob, variant: Variant, header: PolicyHeader, eval_job: EvalJob
) -> dict[str, Any]:
    initial_states = initial_states_for(eval_job, header.env_kwargs)
    encoder = variant.encoder
    starts = {"starts": initial_states.starts_sha256}
    return {
        "name": eval_job.checkpoint.parent.name,
        "level": initial_states.level,
        "rare_share": get_level(initial_states.level).rare_share,
        "label": variant.label,
        "encoder": header.encoder,
        "scales": [] if encoder is None else list(variant.config.scales),
        "input_mode": None if encoder is None else variant.config.input_mode,
        "readout": None if encoder is None else variant.config.readout,
        "policy_kind": header.policy_config.kind,
        "seed": header.seed,
        "conditions": {"hash": initial_states.sha256, "n": job.n, "split": job.split} | starts,
        "demos": {
            "digest": header.demos_digest,
            "n": variant.demos.num_episodes,
            "level": variant.demos.level,
        },
        "parameters": 0 if encoder is None else encoder.parameters_count,
        "gflops_per_frame": 0.0 if encoder is None else encoder.gflops_per_frame,
        "embedding_dim": int(torch.Size(header.embedding_shape).numel()),
        "head": header.head,
        "train": header.train,
        "provenance": header.provenance,
    }


def failed_runs(runs_dir: Path) -> list[tuple[str, str]]:
    """Names and messages of cells that a sweep could not finish."""
    return [(p.parent.name, read_json(p)["error"]) for p in runs_dir.glob("failed/*/error.json")]
