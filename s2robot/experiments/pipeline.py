"""From a variant's settings to a trained and evaluated run; every stage is computed once.

A *variant* is what is compared: camera, encoder, scales, readout, policy kind. A *run* is one
variant, trained with one seed and rolled out on one set of initial states. Demonstrations, frames,
features, hyperparameters, policies and episodes are stored under names made of their inputs (see
``settings``). So a repeated run, a resumed run and a run that shares inputs all reuse them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.envs.pick_cube import CONTROL_DT_S, PickCubeEnv
from s2robot.evaluation.baselines import is_baseline
from s2robot.evaluation.evaluate import claim, evaluate
from s2robot.evaluation.initial_states import InitialStates, ensure_initial_states
from s2robot.evaluation.results import Summary
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.settings import policy_digest, run_record
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    load_policy,
    save_policy,
)
from s2robot.policies.config import PolicyConfig
from s2robot.training.hyperparameter_search import HyperparameterChoice, search_hyperparameters
from s2robot.training.trainer import FitResult, TrainConfig, fit
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import locked, read_json, write_json
from s2robot.utils.provenance import provenance

console = Console()


def choose_hyperparameters(job: TrainJob, variant: Variant) -> HyperparameterChoice | None:
    """Return the hyperparameters of one training seed, from a search of its own.

    The search is seeded by the training seed, so that the choice varies as the seeds do, and a
    comparison over seeds does not rest on one draw of it.

    Args:
        job: settings of the training.
        variant: its inputs.

    Returns:
        The choice on held-out demonstrations; None where the job has no search.

    Raises:
        DivergedError: every trial diverged.
    """
    if job.search is None:
        return None
    cache = job.runs_dir / "heads" / f"{policy_digest(job, variant)[:24]}.jsonl"
    data = variant.data
    with locked(cache), Progress(console=console) as progress:
        bar = progress.add_task("hyperparameter search", total=job.search.trials)
        return search_hyperparameters(
            data,
            job.policy,
            job.train,
            job.search,
            seed=job.seed,
            cache_path=cache,
            on_trial=lambda _: progress.advance(bar),
            device=variant.config.device,
        )


def policy_folder(job: TrainJob, variant: Variant) -> Path:
    """Return the folder of a trained policy; its name ends with a digest of all inputs.

    Args:
        job: settings of the training.
        variant: its inputs.
    """
    digest = policy_digest(job, variant)
    scales = "".join(f"{s:g}" for s in variant.config.scales)
    words = [variant.config.level, variant.encoder_name.replace("/", "-")]
    if not variant.is_baseline:
        words += [f"s{scales}", variant.config.input_mode, variant.config.readout]
    name = "_".join([*words, job.policy.kind, f"seed{job.seed}", digest[:10]])
    return job.runs_dir / "cells" / name


def train_run(job: TrainJob, variant: Variant) -> Path:
    """Train one policy, unless its file exists, and return the path of the file.

    Args:
        job: settings of the training.
        variant: its inputs.

    Raises:
        CorruptFileError: the policy file or a checkpoint is damaged.
        DivergedError: the training diverged.
    """
    folder = policy_folder(job, variant)
    path = folder / "policy.safetensors"
    with locked(folder / "train"):
        if path.exists():
            load_policy(path)  # verifies the file, so that a damaged one is found here
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
        demos_digest=demos.identity_digest,
        train=dataclasses.asdict(train_config),
        seed=job.seed,
        head={} if choice is None else choice.to_dict(),
        provenance=provenance(),
    )


def initial_states_for(job: EvalJob, env_kwargs: dict[str, Any]) -> InitialStates:
    """Return the fixed initial states of a level, drawn once and verified by their hash.

    Args:
        job: settings of the evaluation.
        env_kwargs: of the policy's environment.
    """
    level = job.level or env_kwargs["level"]
    folder = job.data_dir / "conditions"
    return ensure_initial_states(folder, level, job.split, job.n, env_kwargs, job.first)


def eval_folder(job: EvalJob, own_level: str | None) -> Path:
    """Return the folder of the episodes: ``out``, else the policy's; a folder there by level.

    Args:
        job: settings of the evaluation.
        own_level: the policy's level, whose episodes need no further folder.
    """
    beside = job.checkpoint.parent
    return job.out or (beside if job.level in (None, own_level) else beside / str(job.level))


def evaluate_policy(
    job: EvalJob,
    describe: Callable[[PolicyHeader, dict[str, Any]], dict[str, Any]] | None = None,
) -> Summary:
    """Roll a policy file out on fixed initial states and write rows and videos beside it.

    Args:
        job: settings of the evaluation.
        describe: the header and the content of ``run.json`` to that of ``cell.json``, which is
            written once the folder is taken; None writes none.

    Raises:
        MismatchError: the policy does not fit the level, or the folder holds other episodes.
        CorruptFileError: the policy file or the initial states are damaged.
    """
    policy, header = load_policy(job.checkpoint)
    encoder = None
    if not is_baseline(header.encoder["backbone"]):
        encoder = _rebuild_encoder(job, EncoderSpec.from_dict(header.encoder))
    initial_states = initial_states_for(job, header.env_kwargs)
    out = eval_folder(job, header.level)
    run = (policy, encoder, initial_states, job.rollout, out)
    claim(*run, header=header, fresh=job.fresh)
    if describe is not None:
        with locked(out / "evaluate"):
            record = describe(header, read_json(out / "run.json"))
            write_json(out / "cell.json", record)
    return evaluate(*run, header=header)


def _rebuild_encoder(job: EvalJob, spec: EncoderSpec) -> FrameEncoder:
    """Return the policy's encoder; bfloat16 is several times slower than float32 on a CPU."""
    dtype = None if job.dtype == "auto" else job.dtype
    if dtype is None and spec.dtype != "float32" and resolve_device(job.device).type == "cpu":
        dtype = "float32"
        console.print(f"encoder in float32 on the CPU (trained in {spec.dtype})")
    return FrameEncoder.from_spec(
        spec, weights=job.weights, device=job.device, dtype=dtype, runtime=job.runtime
    )


def execute_run(job: RunJob, log: Callable[[str], None] = console.print) -> Summary:
    """Train and evaluate one run; results that exist are reused.

    Args:
        job: settings of the run.
        log: gets one line about the run, and one about each level after the first.

    Returns:
        The summary of the first level.
    """
    variant = Variant(job.train.variant)
    log(
        f"run: {variant.config.level}, {variant.label}, {job.train.policy.kind}, "
        f"seed {job.train.seed}"
    )
    path = train_run(job.train, variant)
    summaries = {level: _evaluate_run(job, variant, path, level) for level in job.levels}
    for level in job.levels[1:]:
        log(f"on {level}: {summaries[level]}")
    return summaries[job.levels[0]]


def _evaluate_run(job: RunJob, variant: Variant, path: Path, level: str) -> Summary:
    """Roll one run's policy out on one level, and write its description for the report."""
    eval_job = EvalJob(
        checkpoint=path,
        level=level,
        split=job.split,
        n=job.n,
        first=job.first,
        rollout=job.rollout,
        weights=variant.config.weights,
        device=variant.config.device,
        runtime=variant.config.runtime,
        data_dir=variant.config.data_dir,
    )
    return evaluate_policy(
        eval_job, lambda header, claimed: run_record(job.train, variant, path, header, claimed)
    )


def failed_runs(runs_dir: Path) -> list[tuple[str, str]]:
    """Return the names and messages of runs that a sweep could not finish."""
    return [(p.parent.name, read_json(p)["error"]) for p in runs_dir.glob("failed/*/error.json")]
